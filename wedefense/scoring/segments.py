"""Scores of segments on disk: written by every rank in stage 4, held against the true spans in stage 7."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wedefense.data.span_checks import known_ranges
from wedefense.experiment.folder import Embeddings, ExperimentFolder
from wedefense.metrics.evaluation import BootstrapOptions
from wedefense.metrics.localization import SHIFTS, FrameScores, localization_metrics
from wedefense.metrics.segments import commensurable, read_frame_scores
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few, read_lines

if TYPE_CHECKING:
    from torch import Tensor

_MOST_DRAWN = 2e9  # pieces of all resamples together: a minute or two


class SegmentWriter(contextlib.ExitStack):
    """The lines of one rank, for each resolution a file."""

    def __init__(self, folder: Embeddings, resolutions: Sequence[int], rank: int):
        super().__init__()
        self.streams = {ms: self.enter_context(atomic_write(folder.segments_of(rank, ms), "w")) for ms in resolutions}

    def add(self, key: str, logits: "Mapping[int, Tensor]") -> bool:
        from wedefense.models.localizer import log_odds  # with torch, which stage 7 does without

        for ms, stream in self.streams.items():
            stream.write(f"{key} {' '.join(f'{score:.6g}' for score in log_odds(logits[ms]).tolist())}\n")
        return True


def put_together(folder: Embeddings, resolutions: Sequence[int], ranks: int) -> list[Path]:
    """One file for each resolution, of what every rank wrote; those of other resolutions go."""
    for ms in set(folder.resolutions()) - set(resolutions):
        folder.segments(ms).unlink()
    for ms in resolutions:
        parts = [folder.segments_of(rank, ms) for rank in range(ranks)]
        lines = sorted(line for part in parts for line in read_lines(part))
        with atomic_write(folder.segments(ms), "w") as stream:
            stream.writelines(f"{line}\n" for line in lines)
        for part in parts:
            part.unlink()
    return [folder.segments(ms) for ms in resolutions]


def localize_sets(exp_dir: ExperimentFolder, data: Path, names: Sequence[str], dev_set: str | None,
                  resamples: int) -> dict[str, dict[str, dict]]:
    """Set -> ms of the head -> `localization_metrics`, of the sets whose segments are scored and whose spans are known.

    The finest head is judged at its own resolution and all coarser ones, the others at their own. Thresholds for
    decisions are those of `dev_set`.
    """
    results: dict[str, dict[str, dict]] = {}
    finest = min((ms for name in names for ms in exp_dir.embeddings(name).resolutions()), default=0)
    for ms in sorted({ms for name in names for ms in exp_dir.embeddings(name).resolutions()}):
        shifts = [shift for shift in SHIFTS if shift > ms / 1000 - 1e-9 and commensurable(shift, ms / 1000)]
        sets = {name: found for name in names if (found := read_set(exp_dir.embeddings(name), data / name, ms))}
        for name, found in sets.items():
            dev = sets.get(dev_set) if dev_set not in (None, name) else None
            try:
                results.setdefault(name, {})[str(ms)] = {"decides": name == dev_set} | localization_metrics(
                    found, shifts if ms == finest else [ms / 1000], dev, _bootstrap(found, resamples))
            except InputError as error:
                raise InputError(f"{data / name}, segments of {ms} ms: {error}") from None
    return results


def read_set(folder: Embeddings, data: Path, ms: int, quiet: bool = False) -> FrameScores | None:
    """The scores of segments and the true spans of a set; None where one of both is not known."""
    labels = data / "segments"
    if not folder.segments(ms).is_file():
        return None
    if not labels.is_file():
        get_logger().warning("%s: no such file, so nobody knows where '%s' is fake and its segments are not judged",
                             labels, data.name)
        return None
    scores, ranges = read_frame_scores(folder.segments(ms)), known_ranges(labels)
    unknown = [name for name in scores if name not in ranges]
    if len(unknown) == len(scores):
        raise InputError(f"{labels}: names none of the {len(scores)} utterances of {folder.segments(ms)}")
    if unknown and not quiet:
        get_logger().warning("%s: %d of %d utterances have no spans and are not judged: %s", labels, len(unknown),
                             len(scores), first_few(unknown))
    both = [name for name in scores if name in ranges]
    return FrameScores({name: scores[name] for name in both}, {name: ranges[name] for name in both}, ms / 1000)


def _bootstrap(found: FrameScores, resamples: int) -> BootstrapOptions | None:
    """Fewer resamples of large sets, whose intervals are narrow."""
    if not resamples:
        return None
    pieces = sum(len(scores) for scores in found.scores.values())
    return BootstrapOptions(min(resamples, max(100, int(_MOST_DRAWN / pieces))), by="utterance")
