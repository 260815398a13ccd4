"""Validation on the whole development set, the same answer on every rank."""

from collections.abc import Iterable
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor

from wedefense.data.labels import Labels
from wedefense.data.span_crops import frame_targets
from wedefense.metrics.catalogue import DETECTION, LOCALIZATION, METRICS, MONITORS
from wedefense.metrics.detection import detection_metrics, eer
from wedefense.metrics.keys import LABELS
from wedefense.models.detector import Detector
from wedefense.models.localizer import FAKE, log_odds
from wedefense.scoring.embed import Heard, head_logits, heard, is_sharded
from wedefense.scoring.llr import llr
from wedefense.train.localization import SegmentLoss
from wedefense.utils.bonafide import BONAFIDE_NAMES
from wedefense.utils.distributed import World, gather
from wedefense.utils.errors import InputError
from wedefense.utils.tables import first_few


def check_labels(counts: dict[str | None, int], labels: Labels, source: str) -> None:
    """Every class of a development set is one of training, and detection has both kinds: known before epoch 1."""
    strange = {label: count for label, count in counts.items() if label not in labels.names}
    if strange:
        told = [f"{'none' if label is None else repr(label)} ({count} utterances)" for label, count in strange.items()]
        raise InputError(f"{source}: labels that training lacks: {first_few(told, 5)}; it knows "
                         f"{first_few(labels.names, 5)}. {_cure([*labels.names, *strange])}, or train "
                         "without validation: --val_data null")
    names = [name for name in counts if name is not None]
    if labels.has_bonafide and len({name.lower() in BONAFIDE_NAMES for name in names}) < 2:
        raise InputError(f"{source}: all {sum(counts.values())} utterances are labelled {', '.join(names)}, and "
                         "validation needs bona fide and spoof. Take a set with both, or train without validation: "
                         "--val_data null")


def _cure(labels: Iterable[str | None]) -> str:
    """For sets that call the two classes by words of their own, and for all others."""
    means = {label: LABELS.get(str(label).lower()) for label in labels}
    if None in means.values():
        return "Mend the labels (--val_label names a table of them)"
    pairs = {label: "bonafide" if meaning else "spoof" for label, meaning in means.items()}
    words = " ".join(f"{label}={meaning}" for label, meaning in pairs.items() if label != meaning)
    return f"They say the same in other words; give all sets one for each in stage 2: --labels '{words}'"


Known = dict[int, tuple[np.ndarray, np.ndarray]]  # ms -> logits (segments, 2) and targets (segments,) of an utterance


class Validator:
    """Scores a labelled set without augmentation, each item exactly once over the ranks."""

    def __init__(self, loader, labels: Labels, world: World, monitor: str):
        if not labels.has_bonafide and METRICS[monitor].of == DETECTION:
            raise InputError(f"monitor: '{monitor}' needs a bona fide class among the labels "
                             f"({', '.join(labels.names[:5])} ...); use --monitor accuracy or loss")
        if METRICS[monitor].of == LOCALIZATION and not loader.has_spans:
            raise InputError(f"monitor: '{monitor}' needs to know where the utterances of val_data are fake, and its "
                             "list has no spans; make it from a data folder with `segments` (stage 2)")
        self.loader, self.labels, self.world, self.monitor = loader, labels, world, monitor

    def __call__(self, detector: Detector, criterion) -> dict[str, float]:
        was_training = detector.training
        most = max(gather(len(self.loader)))
        mine: list[tuple[str, Tensor, int, Known]] = []
        for found in heard(detector, self.loader, self.world, "validation"):
            mine += zip(found.keys, head_logits(detector, found.embeddings), found.labels.tolist(), _known(found))
        self._keep_company(detector, most - len(self.loader))
        detector.train(was_training)
        rows = sorted((row for part in gather(mine) for row in part), key=lambda row: row[0])
        logits = torch.stack([row for _, row, _, _ in rows]).float()    # (utterances, classes)
        truth = torch.tensor([label for _, _, label, _ in rows])
        metrics = self._metrics(detector, criterion, logits, truth)
        if detector.localizer is None:
            return metrics
        metrics |= _of_segments([known for *_, known in rows], SegmentLoss(detector.localizer.options))
        if METRICS[self.monitor].of == LOCALIZATION and self.monitor not in metrics:
            raise InputError(f"monitor: '{self.monitor}' needs bona fide segments and fake ones, and those of val_data "
                             "are all of one class; take a set with both, or --monitor eer")
        return metrics

    @torch.no_grad()
    def _keep_company(self, detector: Detector, times: int) -> None:
        """Of parameters in shares: call the detector as often as the rank that has the most batches does."""
        if not is_sharded(detector):
            return
        silence = torch.zeros(1, detector.min_samples, device=self.world.device)
        for _ in range(times):
            head_logits(detector, detector.embed_and_locate(silence, [detector.min_samples])[0])

    def _metrics(self, detector: Detector, criterion, logits: Tensor, truth: Tensor) -> dict[str, float]:
        device = self.world.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            loss = detector.projection.loss(logits.to(device), truth.to(device), criterion).item()
        metrics = {"loss": loss, "accuracy": (logits.argmax(dim=1) == truth).float().mean().item()}
        if self.labels.has_bonafide:
            scores = llr(logits.numpy(), self.labels)
            bonafide = self.labels.is_bonafide(truth.numpy())
            found = asdict(detection_metrics(scores[bonafide], scores[~bonafide]))
            metrics |= {name: found[name] for name in MONITORS if name in found}
        return metrics


def _known(found: Heard) -> list[Known]:
    """Of each utterance of a batch the segments whose class is known."""
    if found.spans is None:
        return [{} for _ in found.keys]
    rows: list[Known] = []
    for logits, spans in zip(found.segments, found.spans):
        rows.append({ms: (own.numpy(), frame_targets([spans], ms / 1000, len(own))[0].numpy())
                     for ms, own in logits.items() if spans is not None})
    return rows


@torch.no_grad()
def _of_segments(rows: list[Known], segment_loss: SegmentLoss) -> dict[str, float]:
    """Loss and EER at each resolution; `segment_eer` is that of the finest."""
    metrics: dict[str, float] = {}
    for ms in sorted({ms for row in rows for ms in row}):
        logits, targets = (np.concatenate(part) for part in zip(*(row[ms] for row in rows if ms in row)))
        logits, targets = torch.from_numpy(logits[targets >= 0]), torch.from_numpy(targets[targets >= 0])
        loss, _ = segment_loss.of_segments(logits[None], targets[None])
        metrics[f"segment_loss_{ms}"] = loss.item()
        scores, is_fake = log_odds(logits).numpy(), (targets == FAKE).numpy()
        if is_fake.any() and not is_fake.all():
            metrics[f"segment_eer_{ms}"] = eer(scores[~is_fake], scores[is_fake])
            metrics.setdefault("segment_eer", metrics[f"segment_eer_{ms}"])
    return metrics
