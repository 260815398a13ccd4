"""What a frozen front-end said of utterances it has heard before."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wedefense.frontend.features import LayerFeatures, Lengths, frame_mask, on_host
from wedefense.utils.devices import numbers_on, pinned_for


@dataclass
class _Part:
    """Some rows of a batch: layers (layers, rows, frames, dim), zero past an utterance's end."""

    rows: list[int]
    counts: list[int]
    layers: Tensor


class FeatureCache:
    """Calls a front-end for new utterances alone, and keeps their layers in memory until it is full.

    An utterance is known by its samples, so that augmented or cropped audio is never taken for another. To see them
    is the one time that a batch waits for its device: new layers travel to the host meanwhile, and are there by the
    next batch.
    """

    def __init__(self, gib: float):
        self.free = int(gib * 2**30)
        self.known: dict[bytes, Tensor] = {}  # digest of the samples -> (layers, frames, dim)
        self._arriving: list[tuple[list[bytes], _Part]] = []

    @torch.no_grad()
    def __call__(self, frontend: nn.Module, wav: Tensor, lengths: Lengths) -> LayerFeatures:
        lengths = on_host(lengths)
        samples = wav.cpu()  # waits for the device: all that was sent to the host before has arrived
        self._keep_arrived()
        digests = [hashlib.blake2b(row[:length].numpy().tobytes(), digest_size=16).digest()
                   for row, length in zip(samples, lengths)]
        old = [row for row, digest in enumerate(digests) if digest in self.known]
        new = [row for row, digest in enumerate(digests) if digest not in self.known]
        parts = []
        if old:
            parts.append(_of_known(old, [self.known[digests[row]] for row in old], wav.device))
        if new:
            features = frontend(wav.index_select(0, numbers_on(tuple(new), wav.device)), [lengths[row] for row in new])
            parts.append(_of_features(new, features))
            self._send([digests[row] for row in new], parts[-1])
        return _joined(parts, wav.device)

    def _send(self, digests: list[bytes], part: _Part) -> None:
        """New layers on their way to the host, if any of them finds room."""
        if self.free < min(part.counts) * part.layers[:, 0, 0].nbytes:
            return
        layers, there = part.layers, part.layers.device.type == "cpu"
        host = layers if there else pinned_for(layers).copy_(layers, non_blocking=True)
        self._arriving.append((digests, _Part(part.rows, part.counts, host)))
        if there:
            self._keep_arrived()

    def _keep_arrived(self) -> None:
        for digests, part in self._arriving:
            for place, (digest, frames) in enumerate(zip(digests, part.counts)):
                layers = part.layers[:, place, :frames]
                if digest not in self.known and layers.nbytes <= self.free:
                    self.known[digest] = layers.clone()
                    self.free -= layers.nbytes
        self._arriving.clear()


def _of_features(rows: list[int], features: LayerFeatures) -> _Part:
    counts = list(on_host(features.lengths) if features.counts is None else features.counts)
    layers = torch.stack([layer[:, :max(counts)] for layer in features.layers])
    if min(counts) < max(counts):
        padding = ~frame_mask(numbers_on(tuple(counts), layers.device), max(counts))
        layers = layers.masked_fill(padding[:, :, None], 0)
    return _Part(rows, counts, layers)


def _of_known(rows: list[int], utterances: list[Tensor], device: torch.device) -> _Part:
    """Utterances (layers, frames, dim)."""
    counts = [one.shape[1] for one in utterances]
    count, _, dim = utterances[0].shape
    layers = torch.zeros(count, len(rows), max(counts), dim, dtype=utterances[0].dtype,
                         pin_memory=device.type == "cuda")
    for row, one in enumerate(utterances):
        layers[:, row, :one.shape[1]] = one
    return _Part(rows, counts, layers.to(device, non_blocking=True))


def _joined(parts: list[_Part], device: torch.device) -> LayerFeatures:
    counts = [count for _, count in sorted((row, count) for part in parts
                                           for row, count in zip(part.rows, part.counts))]
    layers = parts[0].layers
    if len(parts) > 1:
        layers = layers.new_zeros(len(layers), len(counts), max(counts), layers.shape[3])
        for part in parts:
            layers[:, :, :part.layers.shape[2]].index_copy_(1, numbers_on(tuple(part.rows), device),
                                                            part.layers.to(layers.dtype))
    return LayerFeatures(list(layers), numbers_on(tuple(counts), device), counts)
