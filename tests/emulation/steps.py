"""Training steps and embeddings on the emulated device, and what they launch.

    python -m tests.emulation.steps    # launches of a step at the real depths (widths do not change them)
"""

from dataclasses import replace

import torch
from torch import nn

from tests.emulation.cuda import emulated_cuda
from tests.emulation.device import Emulation, Seen
from wedefense.config.frontend import SSLOptions, WhisperOptions
from wedefense.config.heads import HEADS, LossOptions
from wedefense.config.localization import LocalizationOptions
from wedefense.config.models import BACKENDS
from wedefense.config.pruning import DistillOptions, PruningOptions
from wedefense.data.batch import Batch
from wedefense.data.spans import Span
from wedefense.frontend.ssl.architecture import Architecture, full_blocks
from wedefense.frontend.ssl.frontend import SSLFrontend
from wedefense.frontend.ssl.zoo import find_model
from wedefense.frontend.whisper import WhisperFrontend
from wedefense.models.detector import Cmvn, Detector
from wedefense.models.localizer import Localizer
from wedefense.models.losses import CrossEntropyLoss
from wedefense.pruning.gates import attach
from wedefense.train.modes import Mode
from wedefense.train.prune import Prune
from wedefense.train.step import TrainStep

EQUAL, MIXED, OTHERS = [5000, 5000], [4000, 2001, 3000], [3500, 1000]  # samples


def ssl_frontend(architecture: Architecture, frozen: bool = False, **options) -> nn.Module:
    torch.manual_seed(0)
    if architecture.mel_bins:
        return WhisperFrontend(WhisperOptions(frozen=frozen, **options), 16000, architecture)
    return SSLFrontend(SSLOptions(frozen=frozen, **options), 16000, architecture)


def step_on(frontend: nn.Module, backend: str = "SSL_BACKEND_MHFA", mode=None,
            localization: LocalizationOptions | None = None, **parts) -> TrainStep:
    """A training step around a front-end, on the CPU still; `mode`: makes one of a detector."""
    small = {"embed_dim": 16, "head_nb": 4, "compression_dim": 16, "num_scale": 3, "multi_reso_active": ("8", "utt")}
    cls = BACKENDS.options(backend)
    options = cls(**{key: value for key, value in small.items() if key in cls.__dataclass_fields__})
    backend = BACKENDS.load(backend)(options, frontend.feat_dim, frontend.num_layers)
    head = HEADS.load("softmax")(HEADS.options("softmax")(), backend.embed_dim, 2)
    if localization is not None:
        parts["localizer"] = Localizer(localization, backend, frontend.frame_shift)
    detector = Detector(frontend, backend, head, Cmvn(True, False, over_time=False), **parts)
    return TrainStep(detector, CrossEntropyLoss(LossOptions(), ()), mode(detector) if mode else Mode()).train()


def pruning(**distillation):
    options = PruningOptions(use_pruning_loss=True, target_sparsity=0.5, distillation=DistillOptions(**distillation))
    return lambda detector: Prune(options, detector)


def gated(architecture: Architecture, **distillation) -> TrainStep:
    frontend = ssl_frontend(architecture)
    attach(frontend.upstream)
    return step_on(frontend, mode=pruning(**distillation))


def batch_of(lengths: list[int], cuda: Emulation) -> Batch:
    wav = torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(1)).cumsum(1) * 0.01
    keys = [f"u{number}" for number in range(len(lengths))]
    spans = [[Span(0, 0.04, "bonafide"), Span(0.04, length / 16000, "spoof")] for length in lengths]
    return Batch(keys, wav, torch.tensor(lengths), torch.arange(len(lengths)) % 2, spans=spans).to(cuda.device)


def sized_batch(lengths: list[int], cuda: Emulation) -> Batch:
    """Without values, for an emulated device of sizes."""
    wav = torch.empty(len(lengths), max(lengths), device=cuda.device)
    labels = (torch.arange(len(lengths)) % 2).to(cuda.device)
    return Batch([f"u{number}" for number in range(len(lengths))], wav, torch.tensor(lengths), labels)


def run_step(step: TrainStep, batch: Batch, amp: bool = True) -> torch.Tensor:
    """Forward and backward; -> the loss."""
    step.zero_grad()
    with torch.autocast("cuda", torch.bfloat16, enabled=amp):
        loss, _ = step(batch)
    loss.backward()
    return loss


def watched_step(step: TrainStep, cuda: Emulation, *warm: list[int], lengths: list[int]) -> Seen:
    """A step on a batch of `lengths`, after others have made what is made once."""
    for others in warm:
        run_step(step, batch_of(others, cuda))
    batch = batch_of(lengths, cuda)
    with cuda.watch() as seen:
        run_step(step, batch)
    return seen


def deep(name: str, blocks: int) -> Architecture:
    """The switches of a published model at its depth, at the width of the tiny ones."""
    shape = find_model(name).architecture
    return replace(shape, blocks=full_blocks(blocks, shape.total_heads, shape.blocks[0].ff_dim))


def main() -> None:
    base, large = deep("wavlm_tiny", 12), deep("wavlm_large_tiny", 24)
    cases = {"WavLM base, frozen": step_on(ssl_frontend(base, frozen=True)),
             "WavLM base, full": step_on(ssl_frontend(base)),
             "WavLM large, full": step_on(ssl_frontend(large)), "WavLM base, gated": gated(base),
             "WavLM large, gated": gated(large), "WavLM base, gated, taught": gated(base, layers=1.0, logits=1.0)}
    for name, step in cases.items():
        with emulated_cuda() as cuda:
            step.to(cuda.device)
            for kind, warm, lengths in (("fixed crops", EQUAL, EQUAL), ("mixed", MIXED, OTHERS)):
                print(f"{name:<27}{kind:<13}{watched_step(step, cuda, warm, lengths=lengths)}", flush=True)


if __name__ == "__main__":
    main()
