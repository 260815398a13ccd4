"""The classes of a model: their order, their counts, and which of them are bona fide."""

import math
import os
from dataclasses import dataclass

import numpy as np

from wedefense.utils.bonafide import BONAFIDE_NAMES
from wedefense.utils.errors import InputError
from wedefense.utils.tables import read_table, write_table


@dataclass(frozen=True)
class Labels:
    """The classes of a model in the order of its logits, how often each came in training, and what it weighed there."""

    names: tuple[str, ...]
    counts: tuple[int, ...]
    weights: tuple[float, ...] = ()  # of the classes in the loss, where it had any

    @property
    def bonafide(self) -> np.ndarray:
        """(classes,) bool"""
        return np.array([name.lower() in BONAFIDE_NAMES for name in self.names])

    @property
    def has_bonafide(self) -> bool:
        return bool(self.bonafide.any() and not self.bonafide.all())

    @property
    def log_priors(self) -> np.ndarray:
        """(classes,) What the logits hold of how often a class came: one that weighs twice as much came twice."""
        counts = np.array(self.counts, dtype=np.float64) * (self.weights or 1.0)
        return np.log(counts / counts.sum())

    def ids(self) -> dict[str, int]:
        return {name: index for index, name in enumerate(self.names)}

    def is_bonafide(self, ids: np.ndarray) -> np.ndarray:
        return self.bonafide[ids]

    def save(self, path: str | os.PathLike) -> None:
        weights = [f" {weight!r}" for weight in self.weights] or [""] * len(self.names)
        write_table(path, {name: f"{index} {count}{weight}"
                           for index, (name, count, weight) in enumerate(zip(self.names, self.counts, weights))})

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Labels":
        if not os.path.exists(path):
            raise InputError(f"{path}: no such file; training writes it (stage 3)")
        lines = [(name, *value.split()) for name, value in read_table(path).items()]
        try:
            rows = sorted((int(index), int(count), name, *map(float, weight)) for name, index, count, *weight in lines)
            ids, counts, names, *weights = zip(*rows, strict=True)
            if len(weights) > 1 or not all(0 < weight < math.inf for column in weights for weight in column):
                raise ValueError
        except ValueError:
            raise InputError(f"{path}: expected lines `LABEL ID COUNT`, with a WEIGHT above 0 where the loss had some, "
                             "as training writes them") from None
        if ids != tuple(range(len(ids))):
            raise InputError(f"{path}: the ids must be 0 to {len(ids) - 1}, each once, found "
                             f"{', '.join(map(str, ids[:8]))}; take the file that training wrote")
        if min(counts) < 1:
            raise InputError(f"{path}: the counts must be 1 or more, found {min(counts)}; take the file that training "
                             "wrote")
        return cls(names, counts, *weights)
