"""Filters that come last in an utterance's augmentation: done at once with numpy, or later on a device."""

from typing import ClassVar

import numpy as np


class Ending:
    """A filter whose numbers are all drawn; the call does it, (samples,) -> (samples,).

    The rest is what a device needs instead, which knows the formula by `kind`.
    """

    kind: ClassVar[str]
    filters: list[np.ndarray]
    level = 1.0          # a factor of the formula

    @property
    def has_signal(self) -> bool:
        return False

    @property
    def advances(self) -> list[int]:
        """Samples that each filter's output is moved ahead."""
        raise TypeError(f"{type(self).__name__} does not say")

    def __call__(self, wav: np.ndarray) -> np.ndarray:
        raise TypeError(f"{type(self).__name__} does nothing")

    def signal(self, samples: int) -> np.ndarray:
        """(samples,) float32 that the formula takes besides the utterance, if it `has_signal`."""
        raise TypeError(f"{type(self).__name__} has no signal")


class EndsInFilter:
    """A step that may leave a filter for later; called, it does everything."""

    def begin(self, wav: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Ending | None]:
        """(samples,) up to the filter, and the filter; all is drawn from `rng` here."""
        raise TypeError(f"{type(self).__name__} has no filter")

    def __call__(self, wav: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(samples,) -> (samples,)"""
        wav, ending = self.begin(wav, rng)
        return wav if ending is None else ending(wav)


def begin(step, wav: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Ending | None]:
    """`step.begin` of any step: one that ends in no filter is done."""
    return step.begin(wav, rng) if isinstance(step, EndsInFilter) else (step(wav, rng), None)
