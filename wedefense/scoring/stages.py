"""Stages 4 to 6 on an experiment folder: embeddings, logits, log-likelihood ratios."""

import hashlib
import json
import os
import time
from pathlib import Path

import torch

from wedefense.config.schema import Config
from wedefense.data.labels import Labels
from wedefense.data.loader import eval_loader
from wedefense.experiment.arks import read_scp, write_ark
from wedefense.experiment.folder import ExperimentFolder
from wedefense.models.detector import Detector
from wedefense.scoring.embed import embeddings_of, head_logits
from wedefense.scoring.llr import llr
from wedefense.utils.distributed import World, barrier, gather
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.log import get_logger
from wedefense.utils.precision import resolve_for_inference
from wedefense.utils.tables import write_table

log = get_logger()


def embed_set(detector: Detector, config: Config, labels: Labels, weights: Path, exp_dir: str | os.PathLike, name: str,
              data: str, data_type: str, world: World, skip_bad: bool = False, precision: str = "auto") -> None:
    """The embedding of every utterance of a list, each computed on exactly one rank.

    Nothing is done again when the embeddings were made from the same weights and list in the same precision.
    """
    folder = ExperimentFolder(exp_dir).embeddings(name)
    if not Path(data).is_file():
        raise InputError(f"{data}: no such list; stage 2 makes it for the sets it is called with")
    arithmetic = resolve_for_inference(precision, config.chosen_precision, world.device)
    source = {"weights": _digest(weights), "list": _digest(data), "skip_bad": skip_bad, "precision": arithmetic.name}
    if gather(folder.source.is_file() and json.loads(folder.source.read_text()) == source)[0]:
        log.info("%s: up to date (same weights, same list, same precision)", folder.root)
        return
    started, detector = time.time(), detector.to(world.device)
    loader = eval_loader(data, data_type, config.dataset_args, config.dataloader_args, labels.ids(),
                         rank=world.rank, world_size=world.size, skip_bad=skip_bad, min_samples=detector.min_samples)
    with arithmetic.scope():
        vectors = ((key, vector.numpy()) for keys, embeddings, _ in embeddings_of(detector, loader, world, name)
                   for key, vector in zip(keys, embeddings))
        entries = write_ark(folder.ark(world.rank), vectors)
    skipped = [item for part in gather(list(loader.skipped)) for item in part]
    parts = gather(entries)
    if world.is_main:
        merged = {key: entry for part in parts for key, entry in part.items()}
        write_table(folder.scp, dict(sorted(merged.items())))
        if skipped:
            write_table(folder.left_out, dict(skipped))
            log.warning("%s: %d utterances could not be read and are left out, see %s",
                        data, len(skipped), folder.left_out)
        with atomic_write(folder.source, "w") as stream:
            json.dump(source, stream)
        log.info("%s: %d embeddings in %.1f s", folder.root, len(merged), time.time() - started)
    barrier()


def logits_set(detector: Detector, exp_dir: str | os.PathLike, name: str) -> Path:
    """The logits of a set from its embeddings, by the head."""
    folder = ExperimentFolder(exp_dir)
    keys, embeddings = read_scp(folder.embeddings(name).scp)
    logits = head_logits(detector.eval(), torch.from_numpy(embeddings)).numpy()
    posteriors = folder.posteriors(name)
    write_table(posteriors.scp, write_ark(posteriors.ark, zip(keys, logits)))
    return posteriors.scp


def llr_set(exp_dir: str | os.PathLike, name: str, labels: Labels) -> Path:
    """Log-likelihood ratios of a set from its logits and the training priors."""
    posteriors = ExperimentFolder(exp_dir).posteriors(name)
    keys, logits = read_scp(posteriors.scp)
    scores = llr(logits, labels)
    with atomic_write(posteriors.llr, "w") as stream:
        stream.writelines(f"{key} {score:.8g}\n" for key, score in zip(keys, scores))
    return posteriors.llr


def _digest(path: str | os.PathLike) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
