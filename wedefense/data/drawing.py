"""Which utterances an epoch draws, where they are not all drawn equally often: mixtures and balance by any column."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from wedefense.config.sampling import Level, table_of
from wedefense.data.catalogue import Catalogue
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.random import generator
from wedefense.utils.tables import first_few, values_for


class Column:
    """A value for each utterance, as a number."""

    def __init__(self, name: str, values: Sequence[str]):
        self.name = name
        self.values = sorted(set(values))
        number = {value: index for index, value in enumerate(self.values)}
        self.numbers = np.fromiter((number[value] for value in values), np.int32, len(values))

    def counts(self, drawn: np.ndarray) -> dict[str, int]:
        """How often each value is among `drawn`, places of utterances."""
        found = np.bincount(self.numbers[drawn], minlength=len(self.values))
        return {value: int(count) for value, count in zip(self.values, found)}


def read_column(name: str, entries: Catalogue, indices: np.ndarray) -> Column:
    """The labels of a list, or a table utt2<name> that lies beside it, of the utterances `indices`."""
    if name == "label":
        return Column(name, [entries.label(index) or "-" for index in indices])
    path = Path(entries.origin).parent / table_of(name)
    if not path.exists():
        there = sorted(other.name.removeprefix("utt2") for other in path.parent.glob("utt2*"))
        raise InputError(f"dataset_args.sampling: {path}: no such table, so the column '{name}' is unknown"
                         f"{did_you_mean(name, ['label', *there])}")
    keys = entries.keys if len(indices) == len(entries) else [entries.keys[index] for index in indices]
    found = values_for(path, keys)
    values = [value for value in found if value is not None]
    if len(values) < len(found):
        missing = [key for key, value in zip(keys, found) if value is None]
        raise InputError(f"{path}: {len(missing)} of {len(indices)} utterances of {entries.origin} are not in this "
                         f"table: {first_few(missing)}")
    return Column(name, values)


class Drawing:
    """Utterances in strata, the utterances that have all values in common, and the share that each stratum gets."""

    def __init__(self, columns: Sequence[Column], levels: Sequence[Level], seed: int):
        self.columns, self._seed = columns, seed
        strata, shares = np.zeros(len(columns[0].numbers), np.int64), np.ones(1)
        for column, level in zip(columns, levels, strict=True):
            strata, shares = _split(strata, shares, column, level)
        order = np.argsort(strata, kind="stable")
        self.members = np.split(order, np.cumsum(np.bincount(strata))[:-1])  # places of utterances, stratum by stratum
        self.shares = shares
        self._done: list[np.ndarray] = [np.zeros(len(shares), np.int64)]  # drawn before each epoch
        self._count = 0

    def epoch(self, epoch: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """(count,) places of the utterances of an epoch, stratum by stratum, and which use in it each is.

        Each stratum goes on through its members where the epoch before stopped, so that none comes again before all
        others did; what an epoch draws depends on seed, epoch and count alone.
        """
        before, after = self._before(epoch, count), self._before(epoch + 1, count)
        drawn = [self._from_stratum(number, start, stop)
                 for number, (start, stop) in enumerate(zip(before.tolist(), after.tolist())) if stop > start]
        return tuple(np.concatenate(part) for part in zip(*drawn))

    def _from_stratum(self, number: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        members = self.members[number]
        first, last = start // len(members), (stop - 1) // len(members)
        passes = [generator(self._seed, one, f"members of stratum {number}").permutation(members)
                  for one in range(first, last + 1)]
        inside = slice(start - first * len(members), stop - first * len(members))
        return (np.concatenate(passes)[inside],
                np.repeat(np.arange(last - first + 1), len(members))[inside])

    def _before(self, epoch: int, count: int) -> np.ndarray:
        """How many each stratum has given before `epoch`."""
        if count != self._count:
            self._done, self._count = self._done[:1], count
        while len(self._done) <= epoch:
            self._done.append(self._done[-1] + self._quotas(len(self._done) - 1, count))
        return self._done[epoch]

    def seen(self, epochs: int, count: int) -> int:
        """How many utterances have come at least once in so many epochs."""
        return int(np.minimum(self._before(epochs, count), [len(members) for members in self.members]).sum())

    def _quotas(self, epoch: int, count: int) -> np.ndarray:
        """Whole numbers nearest to the shares of `count`: the strata stand in a random order on a line that is cut at
        equal distances, so that each is within one of its share and gets it on average."""
        rng = generator(self._seed, epoch, "shares of the strata")
        order = rng.permutation(len(self.shares))
        ends = np.cumsum(self.shares[order]) * count
        ends[-1] = count
        cuts = np.floor(np.round(ends, 9) + rng.random()).astype(np.int64)
        quotas = np.empty_like(cuts)
        quotas[order] = np.diff(cuts, prepend=0)
        return quotas

    def expected(self, column: Column) -> dict[str, float]:
        """The share of each value of a column among all that is drawn."""
        found = np.zeros(len(column.values))
        for members, share in zip(self.members, self.shares):
            np.add.at(found, column.numbers[members], share / len(members))
        return dict(zip(column.values, found.tolist()))

    def summary(self, column: Column, counts: Mapping[str, int]) -> str:
        """`corpus: a 75 (75.0 %, 0.5 times each), b 25 (25.0 %, 2.5 times each)`"""
        sizes = np.bincount(column.numbers, minlength=len(column.values))
        total = sum(counts.values())
        said = [f"{value} {counts[value]} ({100 * counts[value] / total:.1f} %, {counts[value] / size:.2f} times each)"
                for value, size in zip(column.values, sizes)]
        return f"{column.name}: {first_few(said, 12)}"


def _split(strata: np.ndarray, shares: np.ndarray, column: Column, level: Level) -> tuple[np.ndarray, np.ndarray]:
    """Each stratum cut by the values of a column, and its share among the parts."""
    values = len(column.values)
    pairs, inside, sizes = np.unique(strata * values + column.numbers, return_inverse=True, return_counts=True)
    parents, numbers = pairs // values, pairs % values
    if level.weights is None:
        parts = sizes.astype(np.float64) ** (0 if level.temperature is None else 1 / level.temperature)
    else:
        parts = _weights(column, level.weights)[numbers]
    whole = np.bincount(parents, weights=parts, minlength=len(shares))
    if (whole[shares > 0] == 0).any():
        raise InputError(f"dataset_args.sampling: the weights of '{column.name}' leave nothing to draw within a level "
                         f"before it; give one of {first_few(column.values, 8)} a weight above 0")
    return inside.ravel(), shares[parents] * parts / np.where(whole > 0, whole, 1)[parents]


def _weights(column: Column, weights: Mapping[str, float]) -> np.ndarray:
    unknown = [name for name in weights if name not in column.values]
    missing = [name for name in column.values if name not in weights]
    if unknown:
        raise InputError(f"dataset_args.sampling: no utterance has {column.name} '{unknown[0]}'"
                         f"{did_you_mean(unknown[0], column.values)}")
    if missing:
        raise InputError(f"dataset_args.sampling: {column.name} '{missing[0]}' has no weight; 0 leaves it out")
    return np.array([weights[name] for name in column.values], dtype=np.float64)
