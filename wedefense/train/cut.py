"""From a trained experiment with gates to a smaller experiment without them."""

import json
import shutil
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from wedefense.models.detector import Detector, public_weights
from wedefense.pruning.export import kept_units, public_checkpoint, public_form
from wedefense.pruning.figures import draw_kept
from wedefense.pruning.settle import settle
from wedefense.pruning.size import SAMPLES, Size
from wedefense.pruning.surgery import cut, without_gates
from wedefense.train import checkpoint
from wedefense.train.prune import final_target
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write

FOLDER = "pruned_model"
TOLERANCE = 1e-4  # of the largest output value: how far the cut encoder may be from the gated one


def cut_experiment(exp_dir: str | Path, config, detector: Detector) -> dict:
    """Decide, cut, verify and write `pruned_model/`; `detector` is left cut. Returns what to tell."""
    exp_dir, gated = Path(exp_dir), detector.frontend.upstream.eval()
    folder = exp_dir / FOLDER
    size = Size(gated, "multiply-adds" if config.target_macs else "parameters")
    target = final_target(config.pruning, size)
    settled = settle(gated, size, target)
    small = cut(gated)
    told = {"measure": size.measure, "target_sparsity": target, "expected_sparsity": settled.expected,
            "rounded_sparsity": settled.rounded, "sparsity": settled.final, "shift": settled.shift,
            "layers": settled.layers,
            "difference": _verified(gated, small)}
    for measure in ("parameters", "multiply-adds"):
        told[measure] = {"before": int(Size(gated, measure).original), "after": int(Size(small, measure).original)}
    told["seconds"] = {"before": forward_time(without_gates(gated)), "after": forward_time(small)}
    told["units"] = {"before": kept_units(gated.architecture), "after": kept_units(small.architecture)}
    detector.frontend.upstream = small
    _write(exp_dir, folder, detector, told)
    return told


def _write(exp_dir: Path, folder: Path, detector: Detector, told: dict) -> None:
    (folder / "models").mkdir(parents=True, exist_ok=True)
    checkpoint.save(folder / "models" / "avg_model.pt", public_weights(detector))
    checkpoint.save_architecture(folder, detector)
    for name in ("label2id", "history.json"):
        if (exp_dir / name).is_file():
            shutil.copyfile(exp_dir / name, folder / name)
    small = detector.frontend.upstream
    if not small.architecture.mel_bins:  # the published format knows the wav2vec 2.0 family
        public = public_form(small)
        checkpoint.save(folder / "pytorch_model.bin", public_checkpoint(public))
        detector.frontend.upstream = public
        checkpoint.save(folder / "whole_pytorch_model.bin", public_weights(detector))
        detector.frontend.upstream = small
    (exp_dir / "figures").mkdir(exist_ok=True)
    draw_kept(told["units"]["before"], told["units"]["after"], exp_dir / "figures" / "pruning.png",
              f"{100 * told['sparsity']:.1f} % of the {told['measure']} removed")
    for target in (exp_dir, folder):
        with atomic_write(target / "pruning.json", "w") as stream:
            json.dump(told, stream, indent=1)


@torch.no_grad()
def _verified(gated: nn.Module, small: nn.Module) -> float:
    """The largest difference over all layers between the gated and the cut encoder, on noise."""
    wav, lengths = noise(2)
    lengths[1] = lengths[1] * 2 // 3
    pairs = list(zip(gated(wav, lengths).layers, small(wav, lengths).layers, strict=True))
    difference = max((one - other).abs().max().item() for one, other in pairs)
    largest = max(one.abs().max().item() for one, _ in pairs)
    if not difference <= TOLERANCE * max(largest, 1.0):
        raise InputError(f"the cut encoder differs from the gated one by {difference:.3g} (largest output "
                         f"{largest:.3g}); nothing was written. Please report this with the config")
    return difference


@torch.no_grad()
def forward_time(encoder: nn.Module, repeats: int = 5) -> float:
    """The least of some forward passes of `SAMPLES` of audio."""
    wav, lengths = noise(1)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        encoder(wav, lengths)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def noise(batch: int) -> tuple[Tensor, Tensor]:
    wav = 0.1 * torch.randn(batch, SAMPLES, generator=torch.Generator().manual_seed(0))
    return wav, torch.full((batch,), SAMPLES)
