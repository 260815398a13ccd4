"""From a trained experiment with gates to a smaller experiment without them."""

import json
import os
import shutil
import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from wedefense.config.loader import save_config
from wedefense.config.pruning import PruningOptions
from wedefense.config.schema import Config
from wedefense.experiment import checkpoint, lineage
from wedefense.experiment.folder import ExperimentFolder, folder_of
from wedefense.experiment.load import Experiment
from wedefense.models.detector import Detector, public_weights
from wedefense.pruning.constraint import sparsity_text
from wedefense.pruning.public_form import kept_units, public_checkpoint, public_form
from wedefense.pruning.settle import settle
from wedefense.pruning.size import SAMPLES, Size
from wedefense.pruning.surgery import cut, without_gates
from wedefense.report.pruning_section import picture
from wedefense.train.prune import final_target
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.log import get_logger

log = get_logger()

MISSED = 0.01     # by more than this the learnt sparsity is worth a warning
TOLERANCE = 1e-4  # of the largest output value: how far the cut encoder may be from the gated one


def cut_experiment(exp_dir: str | os.PathLike, experiment: Experiment, unpruned: str | None = None) -> dict:
    """Write the cut experiment, unless that of these weights is there already. Returns what to tell of it.

    The report sets the results of `unpruned`, an experiment, beside those of this one; without it the one that
    training started from.
    """
    folder, config = ExperimentFolder(exp_dir), experiment.config
    step = lineage.cutting(folder, config, experiment.weights, unpruned)
    if not step.is_up_to_date():
        with step.making() as outputs:
            _cut(folder, config, experiment.detector, unpruned)
            save_config(config_of_cut(config, folder.cut), folder.cut.config)
            outputs += [path for path in folder.cut.written if path.is_file()]
    return json.loads(folder.cut.pruning.read_text(encoding="utf-8"))


def _cut(folder: ExperimentFolder, config: Config, detector: Detector, unpruned: str | None) -> None:
    """Decide, cut, verify and write; `detector` is left cut."""
    gated = detector.pretrained.upstream.eval()
    size = Size(gated, "multiply-adds" if config.target_macs else "parameters")
    target = final_target(config, size)
    settled = settle(gated, size, target)
    if abs(settled.expected - target) > MISSED:
        log.warning("training brought the sparsity to %.1f %%, asked were %.1f %%: the cut moves gates that were not "
                    "trained for it. Train longer, or raise initial_reg_lr", 100 * settled.expected, 100 * target)
    small = cut(gated)
    report = {"measure": size.measure, "target_sparsity": target, "expected_sparsity": settled.expected,
              "rounded_sparsity": settled.rounded, "sparsity": settled.final, "shift": settled.shift,
              "layers": settled.layers,
              "difference": _verified(gated, small)}
    for measure in ("parameters", "multiply-adds"):
        report[measure] = {"before": int(Size(gated, measure).original), "after": int(Size(small, measure).original)}
    report["seconds"] = dict(zip(("before", "after"), forward_times(without_gates(gated), small)))
    report["units"] = {"before": kept_units(gated.architecture), "after": kept_units(small.architecture)}
    before = folder_of(config.model_init) if unpruned is None and config.model_init else unpruned
    if before is not None and ExperimentFolder(before).config.is_file():
        report["unpruned"] = os.path.relpath(before, folder)
    detector.pretrained.upstream = small
    _write(folder, detector, report)


def config_of_cut(config: Config, folder: ExperimentFolder) -> Config:
    """A config that builds the cut detector, and fine-tunes it without pruning on."""
    data = config.dataset_args
    frontend = data.frontend_options
    upstream = replace(frontend.upstream_args, pruning_units="")
    public, _ = folder.public_form
    if public.is_file():
        upstream = replace(upstream, path_or_url=str(public))
    data = data.with_frontend_options(replace(frontend, upstream_args=upstream))
    return replace(config, exp_dir=str(folder), model_init=None, dataset_args=data, **vars(PruningOptions()))


def report_lines(report: dict) -> list[str]:
    """What a cut did, line by line."""
    lines = [f"asked     {sparsity_text(report['target_sparsity'])} of the {report['measure']}",
             f"got       {sparsity_text(report['sparsity'])} (learnt {100 * report['expected_sparsity']:.1f} %, as the "
             f"gates round {100 * report['rounded_sparsity']:.1f} %)"]
    for name, unit in (("parameters", "M"), ("multiply-adds", "M for 2 s")):
        before, after = report[name]["before"], report[name]["after"]
        lines.append(f"{name:<14}{before / 1e6:10.3f} -> {after / 1e6:10.3f} {unit} ({100 * after / before:.1f} %)")
    before, after = report["seconds"]["before"], report["seconds"]["after"]
    return lines + [
        f"forward       {1e3 * before:10.1f} -> {1e3 * after:10.1f} ms for 2 s ({before / after:.2f} x as fast)",
        f"verified  the cut encoder differs from the gated one by at most {report['difference']:.2g}"]


def _write(folder: ExperimentFolder, detector: Detector, report: dict) -> None:
    cut_folder = folder.cut
    cut_folder.models.mkdir(parents=True, exist_ok=True)
    checkpoint.save(cut_folder.average, public_weights(detector))
    checkpoint.save_architecture(cut_folder, detector)
    for source, target in ((folder.labels, cut_folder.labels), (folder.history, cut_folder.history),
                           (folder.training, cut_folder.training)):
        if source.is_file():
            shutil.copyfile(source, target)
    small = detector.pretrained.upstream
    if not small.architecture.mel_bins:  # the published format knows the wav2vec 2.0 family
        public, (encoder, whole) = public_form(small), cut_folder.public_form
        checkpoint.save(encoder, public_checkpoint(public))
        detector.pretrained.upstream = public
        checkpoint.save(whole, public_weights(detector))
        detector.pretrained.upstream = small
    picture(report).save(folder)
    for written in (folder, cut_folder):
        with atomic_write(written.pruning, "w") as stream:
            json.dump(report, stream, indent=1)


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
def forward_times(*encoders: nn.Module, repeats: int = 8) -> list[float]:
    """The least seconds that each takes for `SAMPLES` of audio, in turns, so that a busy moment hits all alike."""
    wav, lengths = noise(1)
    times: list[list[float]] = [[] for _ in encoders]
    for _ in range(repeats + 1):
        for encoder, own in zip(encoders, times):
            start = time.perf_counter()
            encoder(wav, lengths)
            own.append(time.perf_counter() - start)
    return [min(own[1:]) for own in times]


def noise(batch: int) -> tuple[Tensor, Tensor]:
    wav = 0.1 * torch.randn(batch, SAMPLES, generator=torch.Generator().manual_seed(0))
    return wav, torch.full((batch,), SAMPLES)
