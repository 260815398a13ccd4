"""Detectors on noise: one training step, one evaluation batch, on our front-end or on that of a peer.

Whoever is measured gets the same back-end (MHFA), loss and optimiser, random weights, and no layer drop, so that every
step does the same work.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from tools.bench.ssl_peers import Peer
from tools.bench.timing import precision
from wedefense.config.frontend import SSLOptions
from wedefense.config.heads import HEADS, LossOptions
from wedefense.config.models import MHFAOptions
from wedefense.config.pruning import PruningOptions
from wedefense.data.batch import Batch
from wedefense.frontend.features import LayerFeatures
from wedefense.frontend.ssl.architecture import Architecture
from wedefense.frontend.ssl.frontend import SSLFrontend
from wedefense.frontend.ssl.zoo import find_model
from wedefense.gpu import kernels_run_on
from wedefense.models.detector import Cmvn, Detector
from wedefense.models.losses import CrossEntropyLoss
from wedefense.models.mhfa import MHFA
from wedefense.pruning.gates import attach
from wedefense.train.modes import Mode
from wedefense.train.prune import Prune
from wedefense.train.recording import record
from wedefense.train.step import TrainStep
from wedefense.utils.distributed import World

MODELS = {"tiny": "wavlm_tiny", "large_tiny": "wavlm_large_tiny", "base": "wavlm_base_plus", "large": "wavlm_large"}
RATE = 16000


def architecture_of_size(size: str) -> Architecture:
    return replace(find_model(MODELS[size]).architecture, layer_drop=0.0)


def built_on(device: torch.device, build: Callable[[], nn.Module]) -> nn.Module:
    """The module with its random weights drawn on the device: a CPU takes long over those of a large model."""
    torch.manual_seed(0)
    try:
        with device:
            return build().to(device)
    except Exception:  # a package that names the CPU for some of its tensors; what is really wrong is raised below
        torch.manual_seed(0)
        return build().to(device)


class PeerFrontend(nn.Module):
    """The encoder of another package in the place of our front-end; all utterances have one length."""

    def __init__(self, peer: Peer, architecture: Architecture, frozen: bool):
        super().__init__()
        self.upstream, self.layers, self.frozen = peer.model, peer.layers, frozen
        self.feat_dim = architecture.dim
        self.num_layers = architecture.num_blocks + peer.has_first
        if frozen:
            self.upstream.requires_grad_(False)

    def train(self, mode: bool = True):
        super().train(mode)
        if self.frozen:
            self.upstream.eval()
        return self

    def forward(self, wav: Tensor, lengths: Tensor) -> LayerFeatures:
        with torch.no_grad() if self.frozen else contextlib.nullcontext():
            layers = self.layers(wav)
        frames = torch.full((len(wav),), layers[0].shape[1], device=wav.device)
        return LayerFeatures(list(layers), frames)


def our_frontend(architecture: Architecture, frozen: bool, **options) -> SSLFrontend:
    return SSLFrontend(SSLOptions(frozen=frozen, **options), RATE, architecture)


def detector_on(frontend: nn.Module) -> Detector:
    """MHFA with 32 heads and two classes on a front-end, features normalised as the recipes do."""
    backend = MHFA(MHFAOptions(head_nb=32), frontend.feat_dim, frontend.num_layers)
    head = HEADS.load("softmax")(HEADS.options("softmax")(), backend.embed_dim, 2)
    return Detector(frontend, backend, head, Cmvn(True, False, over_time=False))


def noise(samples: Sequence[int], device: torch.device | str = "cpu") -> Batch:
    """A batch as a loader gives it, of noise, moved to the device as the trainer moves it."""
    lengths = torch.tensor(samples)
    wav = 0.1 * torch.randn(len(samples), max(samples), generator=torch.Generator("cpu").manual_seed(1), device="cpu")
    wav = wav * (torch.arange(max(samples))[None, :] < lengths[:, None])
    keys = [f"noise{number}" for number in range(len(samples))]
    return Batch(keys, wav, lengths, torch.arange(len(samples)) % 2).to(device)


def pruned(detector: Detector) -> Mode:
    """Gates on all units of a detector, and the mode that prunes it by half."""
    attach(detector.pretrained.upstream)
    return Prune(PruningOptions(use_pruning_loss=True, target_sparsity=0.5), detector)


def training_step(detector: Detector, name: str, device: torch.device, mode: Mode | None = None,
                  records: bool = True) -> Callable[[Batch], None]:
    """Forward, backward and optimiser in the precision of this name; `records`: the encoder's launches, where a
    training would."""
    step = TrainStep(detector, CrossEntropyLoss(LossOptions(), ()), mode or Mode()).to(device).train()
    ours = isinstance(detector.frontend, SSLFrontend)
    records = records and ours and kernels_run_on(device)
    if ours:
        detector.frontend.upstream.graphs = None
    trained = [parameter for parameter in step.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=device.type == "cuda")

    def run(batch: Batch) -> None:
        if records and detector.frontend.upstream.graphs is None:
            record(detector.frontend.upstream, *batch.wav.shape, World(0, 1, 0, device))
        optimizer.zero_grad(set_to_none=True)
        with precision(name, device, ours) as forward:
            with forward():
                loss, _ = step(batch)
            loss.backward()
        optimizer.step()

    return run


def embedding_step(detector: Detector, name: str, device: torch.device) -> Callable[[Batch], Tensor]:
    """A batch to its embeddings, as stage 4 does it."""
    detector.to(device).eval()
    ours = isinstance(detector.frontend, SSLFrontend)

    def run(batch: Batch) -> Tensor:
        with torch.no_grad(), precision(name, device, ours) as forward, forward():
            return detector.embed(batch.wav, batch.lengths.tolist())

    return run
