"""Which utterances each rank reads at each step."""

from collections.abc import Iterator

import numpy as np

from wedefense.data.drawing import Drawing
from wedefense.utils.errors import InputError
from wedefense.utils.random import generator

Item = tuple[int, int, int]  # (epoch, index of the utterance, how often this epoch has used it already)


class TrainSampler:
    """Batches of one rank for one epoch after another, from any step on.

    A global step takes the same utterances whatever the number of ranks that share it: the epoch's
    order is cut into global batches, and each rank takes its slice of each.
    """

    def __init__(self, indices: np.ndarray, count: int, batch_size: int, *, rank: int = 0, world_size: int = 1,
                 seed: int = 0, shuffle: bool = True, groups: np.ndarray | None = None, window: int = 2500,
                 lengths: np.ndarray | None = None, drawing: Drawing | None = None):
        """`indices`: the utterances to draw from; `count`: how many an epoch has, before it is cut into batches.

        `groups` (one for each of `indices`) keeps utterances of a group close: groups are permuted, and
        an utterance moves by at most `window` places. `lengths` (the same) makes batches of utterances of like length.
        `drawing` says how often each of them comes; without it, all do equally often.
        """
        self._indices, self._groups, self._lengths, self.drawing = indices, groups, lengths, drawing
        self._seed, self._shuffle, self._window = seed, shuffle, window
        self._batch_size, self._rank, self._world_size = batch_size, rank, world_size
        self.steps = count // world_size // batch_size
        if not self.steps:
            raise InputError(f"{count} utterances do not fill one batch of {batch_size} on {world_size} ranks; "
                             f"lower dataloader_args.batch_size or raise dataset_args.sample_num_per_epoch")
        self.set_epoch(0)

    def set_epoch(self, epoch: int, start_step: int = 0) -> None:
        self._epoch, self._start = epoch, start_step

    def __len__(self) -> int:
        return max(0, self.steps - self._start)

    @property
    def count(self) -> int:
        """Utterances of an epoch, over all ranks."""
        return self.steps * self._batch_size * self._world_size

    def __iter__(self) -> Iterator[list[Item]]:
        indices, occurrences = self._order(self.count)
        for step in range(self._start, self.steps):
            begin = (step * self._world_size + self._rank) * self._batch_size
            places = slice(begin, begin + self._batch_size)
            yield [(self._epoch, i, o) for i, o in zip(indices[places].tolist(), occurrences[places].tolist())]

    def _order(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The first `count` utterances of this epoch, and which pass over the list each comes from."""
        if self.drawing is not None:
            places, uses = self.drawing.epoch(self._epoch, count)
            rng = generator(self._seed, self._epoch, "order of the epoch")
            order = self._shuffled(places, rng) if self._shuffle else np.argsort(places, kind="stable")
            return self._indices[places[order]], uses[order]
        passes = -(-count // len(self._indices))
        order = np.concatenate([self._pass(number) for number in range(passes)])
        return order[:count], np.repeat(np.arange(passes), len(self._indices))[:count]

    def summary(self) -> str:
        """What this epoch draws, in words, and how much of the list has come by its end."""
        assert self.drawing is not None
        places, _ = self.drawing.epoch(self._epoch, self.count)
        seen = self.drawing.seen(self._epoch + 1, self.count)
        return "\n  ".join([
            f"drawn in epoch {self._epoch + 1}: {len(places)} utterances, {len(np.unique(places))} of the list's "
            f"{len(self._indices)}; {100 * seen / len(self._indices):.1f} % of them so far",
            *(self.drawing.summary(column, column.counts(places)) for column in self.drawing.columns)])

    def _pass(self, number: int) -> np.ndarray:
        if not self._shuffle:
            return self._indices
        rng = generator(self._seed, self._epoch, "order of the epoch", number)
        if self._lengths is None and self._groups is None:
            return rng.permutation(self._indices)
        return self._indices[self._shuffled(np.arange(len(self._indices)), rng)]

    def _shuffled(self, places: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A random order of the utterances at `places`: like lengths in a batch, or near to their groups."""
        if self._lengths is not None:
            return self._by_length(self._lengths[places], rng)
        if self._groups is None:
            return rng.permutation(len(places))
        groups = self._groups[places]
        order = np.argsort(rng.permutation(groups.max() + 1)[groups], kind="stable")
        moved = np.arange(len(order)) + rng.random(len(order)) * self._window
        return order[np.argsort(moved)]

    def _by_length(self, lengths: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Blocks of a global batch each, of utterances next to one another in length; what fills none comes last."""
        order = rng.permutation(len(lengths))
        order = order[np.argsort(lengths[order], kind="stable")]
        size = self._batch_size * self._world_size
        whole = len(order) // size * size
        odd = rng.integers(len(order) - whole + 1) if whole else 0  # which are left over changes with the epoch
        blocks = order[odd:odd + whole].reshape(-1, size)
        return np.concatenate([*rng.permutation(blocks), order[:odd], order[odd + whole:]])


def length_batches(durations: np.ndarray, batch_size: int, max_seconds: float, *, rank: int = 0,
                   world_size: int = 1) -> list[list[int]]:
    """Batches of utterances of like length, longest first; over the ranks, each utterance comes once.

    A batch holds at most `batch_size` utterances and `max_seconds` with its padding, or one utterance.
    """
    batches: list[list[int]] = []
    room = 0
    for index in np.argsort(-durations, kind="stable").tolist():
        if not room:
            longest = max(durations[index], 1e-3)
            room = max(1, min(batch_size, int(max_seconds / longest)))
            batches.append([])
        batches[-1].append(index)
        room -= 1
    return batches[rank::world_size]
