"""Stages 4 to 6 on an experiment folder: embeddings, logits, log-likelihood ratios."""

import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from wedefense.config.schema import Config
from wedefense.data.labels import Labels
from wedefense.data.loader import eval_loader
from wedefense.experiment import lineage
from wedefense.experiment.arks import read_scp, write_ark
from wedefense.experiment.folder import Embeddings, ExperimentFolder
from wedefense.models.detector import Detector
from wedefense.scoring.embed import head_logits, heard
from wedefense.scoring.llr import llr
from wedefense.scoring.segments import SegmentWriter, put_together
from wedefense.utils.distributed import World, barrier, gather
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.log import get_logger
from wedefense.utils.precision import resolve_for_inference
from wedefense.utils.tables import write_table

log = get_logger()


def to_hear(config: Config, eval_frms: int | None) -> Config:
    """The config with another `eval_frms`, which is an option of scoring too."""
    return config if eval_frms is None else replace(config, dataset_args=replace(config.dataset_args,
                                                                                 eval_frms=eval_frms))


def embed_set(detector: Detector, config: Config, labels: Labels, weights: Path, exp_dir: str | os.PathLike, name: str,
              data: str, data_type: str, world: World, skip_bad: bool = False, precision: str = "auto") -> None:
    """The embedding of every utterance of a list, each computed on exactly one rank.

    Nothing is done again when they are of the same weights, settings, utterances, audio, code and precision.
    """
    folder = ExperimentFolder(exp_dir).embeddings(name)
    if not Path(data).is_file():
        raise InputError(f"{data}: no such list; stage 2 makes it for the sets it is called with")
    arithmetic = resolve_for_inference(precision, config.chosen_precision, world.device)
    step = lineage.embedding(ExperimentFolder(exp_dir), name, weights, config, data, data_type, skip_bad,
                             arithmetic.name) if world.is_main else None
    if gather(step and step.is_up_to_date())[0]:
        return
    if step:
        for path in (step.record, folder.scp):  # old places in new files would be of others
            path.unlink(missing_ok=True)
    barrier()
    started, detector = time.time(), detector.to(world.device)
    loader = eval_loader(data, data_type, config.dataset_args, config.dataloader_args, labels.ids(),
                         rank=world.rank, world_size=world.size, skip_bad=skip_bad, min_samples=detector.min_samples)
    resolutions = () if detector.localizer is None else detector.localizer.options.resolutions
    with arithmetic.scope(), SegmentWriter(folder, resolutions, world.rank) as writer:
        entries = write_ark(folder.ark(world.rank), (
            (key, vector.numpy()) for found in heard(detector, loader, world, name)
            for key, vector, row in zip(found.keys, found.embeddings, found.segments) if writer.add(key, row)))
    skipped = [item for part in gather(list(loader.skipped)) for item in part]
    parts = gather(entries)
    if step:
        with step.making() as outputs:
            outputs += _write_embeddings(folder, parts, dict(skipped), data)
            outputs += put_together(folder, resolutions, len(parts))
        log.info("%s: %d embeddings in %.1f s", folder.root, sum(map(len, parts)), time.time() - started)
    barrier()


def _write_embeddings(folder: Embeddings, parts: list[dict], skipped: dict[str, str], data: str) -> list[Path]:
    """The table of what every rank wrote, and of what could not be read; returns all that was written."""
    write_table(folder.scp, dict(sorted((key, entry) for part in parts for key, entry in part.items())))
    arks = [folder.ark(rank) for rank in range(len(parts))]
    for path in folder.arks():
        if path not in arks:
            path.unlink()  # of more ranks, earlier
    if not skipped:
        folder.left_out.unlink(missing_ok=True)
        return [folder.scp, *arks]
    write_table(folder.left_out, skipped)
    log.warning("%s: %d utterances could not be read and are left out, see %s", data, len(skipped), folder.left_out)
    return [folder.scp, *arks, folder.left_out]


def logits_set(detector: Detector, weights: Path, exp_dir: str | os.PathLike, name: str) -> Path:
    """The logits of a set from its embeddings, by the head of the weights that made them."""
    folder = ExperimentFolder(exp_dir)
    step, posteriors = lineage.logits(folder, name, weights), folder.posteriors(name)
    with step.making() as outputs:
        posteriors.scp.unlink(missing_ok=True)
        keys, embeddings = read_scp(folder.embeddings(name).scp)
        logits = head_logits(detector.eval(), torch.from_numpy(embeddings)).numpy()
        write_table(posteriors.scp, write_ark(posteriors.ark, zip(keys, logits)))
        outputs += [posteriors.scp, posteriors.ark]
    return posteriors.scp


def llr_set(exp_dir: str | os.PathLike, name: str, labels: Labels) -> Path:
    """Log-likelihood ratios of a set from its logits and the training priors."""
    step, posteriors = lineage.llrs(ExperimentFolder(exp_dir), name), ExperimentFolder(exp_dir).posteriors(name)
    with step.making() as outputs:
        keys, logits = read_scp(posteriors.scp)
        scores = llr(logits, labels)
        with atomic_write(posteriors.llr, "w") as stream:
            stream.writelines(f"{key} {score:.8g}\n" for key, score in zip(keys, scores))
        outputs.append(posteriors.llr)
    return posteriors.llr
