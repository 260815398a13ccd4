"""Running a detector over a loader."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from wedefense.data.ahead import ahead
from wedefense.data.spans import Span
from wedefense.models.detector import Detector
from wedefense.utils.distributed import World
from wedefense.utils.log import progress
from wedefense.utils.out_of_memory import in_halves


class Heard(NamedTuple):
    """What a detector makes of a batch, on the CPU."""

    keys: list[str]
    embeddings: Tensor                  # (batch, embed_dim) float32
    labels: Tensor                      # (batch,) ids
    segments: list[dict[int, Tensor]]   # of each utterance, by ms: logits (segments, 2); none of one that does not say
    spans: Sequence[Sequence[Span] | None] | None  # where it is fake, if the list says so


@torch.no_grad()
def heard(detector: Detector, loader, world: World, description: str) -> Iterator[Heard]:
    """Every batch of this rank, with a progress bar."""
    detector.eval()
    sharded = is_sharded(detector)
    with progress(total=len(loader), desc=description, unit="batch", disable=not world.is_main) as bar:
        seconds = 0.0
        for batch in ahead(loader, world.device):
            lengths = batch.lengths.tolist()
            embeddings, segments = in_halves(partial(_said, detector, world.device), batch.wav, lengths, batch.keys,
                                             detector.sample_rate, sharded, _joined)
            seconds += sum(lengths) / detector.sample_rate
            bar.set_postfix_str(f"{seconds / 3600 / max(bar.format_dict['elapsed'], 1e-9):.3g} audio h/s",
                                refresh=False)
            bar.update()
            yield Heard(batch.keys, embeddings, batch.labels, segments, batch.spans)


def _said(detector: Detector, device: torch.device, wav: Tensor,
          lengths: Sequence[int]) -> tuple[Tensor, list[dict[int, Tensor]]]:
    """Embeddings (batch, embed_dim), and the logits of each utterance's segments."""
    wav = wav.to(device, non_blocking=True)
    if detector.localizer is None:
        return detector.embed(wav, lengths).float().cpu(), [{} for _ in lengths]
    embeddings, segments = detector.embed_and_locate(wav, lengths)
    assert segments is not None
    rows = {ms: segments.rows(ms) for ms in segments.logits}
    return embeddings.float().cpu(), [{ms: found[i] for ms, found in rows.items()} for i in range(len(lengths))]


def _joined(parts: list) -> tuple[Tensor, list[dict[int, Tensor]]]:
    embeddings, segments = zip(*parts)
    return torch.cat(embeddings), [row for rows in segments for row in rows]


def is_sharded(detector: Detector) -> bool:
    """Whether each rank holds a share of its parameters, so that all must call it as often."""
    return any(hasattr(parameter, "full_tensor") for parameter in detector.parameters())


@torch.no_grad()
def head_logits(detector: Detector, embeddings: Tensor) -> Tensor:
    """(utterances, embed_dim) -> (utterances, classes) in float32, on the CPU."""
    device = next(detector.parameters()).device
    with torch.autocast(device.type, enabled=False):
        return detector.projection(embeddings.to(device)).float().cpu()
