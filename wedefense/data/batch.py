"""What a loader gives: a batch, and the count of what had to be left out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from wedefense.data.augment.later import Later
from wedefense.data.spans import Span
from wedefense.utils.errors import InputError


@dataclass
class Batch:
    keys: list[str]
    wav: Tensor      # (batch, samples) float32, zeros after each utterance's end
    lengths: Tensor  # (batch,) int64
    labels: Tensor   # (batch,) int64; -1: none
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (key, reason) of what was left out for it
    later: Later | None = None  # filters that `wav` still lacks; None in all that a loader gives, but for what it lends
    spans: list[list[Span] | None] | None = None  # which stretches of `wav` are fake, in its own seconds; None: unknown

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device, non_blocking: bool = True) -> "Batch":
        """Audio and labels on a device; lengths stay on the host, which plans with them."""
        return replace(self, wav=self.wav.to(device, non_blocking=non_blocking),
                       labels=self.labels.to(device, non_blocking=non_blocking))

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Batch":
        """Its audio, and what that lacks, where `move` puts them."""
        later = self.later and replace(self.later, data=move(self.later.data))
        return replace(self, wav=move(self.wav), later=later)

    def __getstate__(self):  # on the way from a worker, small tensors would take a shared file each
        return {**self.__dict__, "lengths": self.lengths.numpy(), "labels": self.labels.numpy()}

    def __setstate__(self, state):
        self.__dict__.update(state, lengths=torch.from_numpy(state["lengths"]),
                             labels=torch.from_numpy(state["labels"]))


class SkipCounter:
    """How many utterances of an epoch could not be used; more than `limit` of them stops the run.

    `planned` is how many utterances the epoch has (on this rank, or on all where counts are summed).
    """

    def __init__(self, planned: int, limit: float = 0.01):
        self.planned, self.limit = planned, limit
        self.count = 0
        self._first: list[str] = []

    def add(self, skipped: Iterable[tuple[str, str]]) -> None:
        for key, reason in skipped:
            self.count += 1
            if len(self._first) < 3:
                self._first.append(f"{key}: {reason}")

    def told(self) -> str:
        """The first of them, and why."""
        more = f"; and {self.count - len(self._first)} more" if self.count > len(self._first) else ""
        return "; ".join(self._first) + more

    @property
    def exceeded(self) -> bool:
        return self.count > self.limit * self.planned

    def check(self) -> None:
        if self.exceeded:
            raise InputError(f"{self.count} of {self.planned} utterances could not be used "
                             f"(more than {self.limit:.0%}): {self.told()}. "
                             f"Mend or leave out these recordings and make the list again (stage 2)")
