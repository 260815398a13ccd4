"""Running a detector over a loader."""

from collections.abc import Iterator

import torch
from torch import Tensor

from wedefense.data.ahead import ahead
from wedefense.models.detector import Detector
from wedefense.utils.distributed import World
from wedefense.utils.log import progress
from wedefense.utils.out_of_memory import in_halves


@torch.no_grad()
def embeddings_of(detector: Detector, loader, world: World, description: str) -> Iterator[tuple[list, Tensor, Tensor]]:
    """(keys, embeddings (batch, embed_dim), label ids) of every batch of this rank, with a progress bar."""
    detector.eval()
    sharded = is_sharded(detector)
    with progress(total=len(loader), desc=description, unit="batch", disable=not world.is_main) as bar:
        seconds = 0.0
        for batch in ahead(loader, world.device):
            moved = batch.to(world.device)
            lengths = batch.lengths.tolist()
            embeddings = in_halves(detector.embed, moved.wav, lengths, batch.keys, detector.sample_rate, sharded)
            embeddings = embeddings.float().cpu()
            seconds += sum(lengths) / detector.sample_rate
            bar.set_postfix_str(f"{seconds / 3600 / max(bar.format_dict['elapsed'], 1e-9):.3g} audio h/s",
                                refresh=False)
            bar.update()
            yield batch.keys, embeddings, batch.labels


def is_sharded(detector: Detector) -> bool:
    """Whether each rank holds a share of its parameters, so that all must call it as often."""
    return any(hasattr(parameter, "full_tensor") for parameter in detector.parameters())


@torch.no_grad()
def head_logits(detector: Detector, embeddings: Tensor) -> Tensor:
    """(utterances, embed_dim) -> (utterances, classes) in float32, on the CPU."""
    device = next(detector.parameters()).device
    with torch.autocast(device.type, enabled=False):
        return detector.projection(embeddings.to(device)).float().cpu()
