"""What a frozen front-end said of utterances it has heard before."""

import hashlib

import torch
from torch import Tensor, nn

from wedefense.utils.features import LayerFeatures


class FeatureCache:
    """Calls a front-end for new utterances alone, and keeps their layers in memory until it is full.

    An utterance is known by its samples, so that augmented or cropped audio is never taken for another.
    """

    def __init__(self, gib: float):
        self.free = int(gib * 2**30)
        self.known: dict[bytes, Tensor] = {}  # digest of the samples -> (layers, frames, dim)

    @torch.no_grad()
    def __call__(self, frontend: nn.Module, wav: Tensor, lengths: Tensor) -> LayerFeatures:
        digests = [hashlib.blake2b(samples[:length].numpy().tobytes(), digest_size=16).digest()
                   for samples, length in zip(wav.cpu(), lengths.tolist())]
        found = {digest: self.known[digest] for digest in digests if digest in self.known}
        new = [row for row, digest in enumerate(digests) if digest not in found]
        if new:
            features = frontend(wav[new], lengths[new])
            for place, row in enumerate(new):
                frames = int(features.lengths[place])
                found[digests[row]] = torch.stack([layer[place, :frames] for layer in features.layers]).cpu()
                self._keep(digests[row], found[digests[row]])
        return _batch([found[digest] for digest in digests], wav.device)

    def _keep(self, digest: bytes, layers: Tensor) -> None:
        if layers.nbytes <= self.free:
            self.known[digest] = layers
            self.free -= layers.nbytes


def _batch(utterances: list[Tensor], device: torch.device) -> LayerFeatures:
    """Utterances (layers, frames, dim) -> layers (batch, frames, dim), padded with zeros"""
    lengths = torch.tensor([one.shape[1] for one in utterances])
    count, _, dim = utterances[0].shape
    layers = torch.zeros(count, len(utterances), int(lengths.max()), dim, dtype=utterances[0].dtype)
    for row, one in enumerate(utterances):
        layers[:, row, :one.shape[1]] = one
    return LayerFeatures(list(layers.to(device)), lengths.to(device))
