"""The utterances of a list, held in a few arrays.

Millions of small Python objects would be copied into every loader worker as their reference
counts are touched; arrays are shared.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wedefense.utils.errors import InputError
from wedefense.utils.tables import first_few

_ODD = re.compile("[\\s\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Utterance:
    key: str
    label: str | None
    duration: float | None = None  # seconds, where the list knows it


class PackedStrings(Sequence):
    """A read-only list of strings in one block of bytes."""

    def __init__(self, strings: Iterable[str]):
        encoded = [text.encode(errors="surrogatepass") for text in strings]
        self._bytes = b"".join(encoded)
        self._ends = np.cumsum([len(text) for text in encoded], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index):
        start = self._ends[index - 1] if index else 0
        return self._bytes[start:self._ends[index]].decode(errors="surrogatepass")


class Catalogue(Sequence):
    """Keys, labels and durations by position; `catalogue[i]` is an `Utterance`."""

    def __init__(self, keys: list[str], labels: list[str | None], durations: list[float | None], origin: str):
        if not keys:
            raise InputError(f"{origin}: the list is empty")
        odd = [key for key in keys if not key or _ODD.search(key)] if _ODD.search("".join(keys)) or "" in keys else []
        if odd:
            raise InputError(f"{origin}: {len(odd)} keys are empty or hold blanks or control characters "
                             f"({first_few(map(repr, odd))}), which tables of keys cannot; name them otherwise")
        repeated = [key for key, count in Counter(keys).items() if count > 1] if len(set(keys)) < len(keys) else []
        if repeated:
            raise InputError(f"{origin}: {len(repeated)} duplicate keys ({first_few(repeated)}); "
                             f"make the list again from a wav.scp without them")
        self.origin = origin
        self.keys = PackedStrings(keys)
        self.durations = np.array([np.nan if d is None else d for d in durations], dtype=np.float64)
        self._set_labels(labels)

    def _set_labels(self, labels: list[str | None]) -> None:
        self.label_names = sorted({label for label in labels if label is not None})
        number = {name: i for i, name in enumerate(self.label_names)}
        self._label_numbers = np.array([-1 if label is None else number[label] for label in labels], dtype=np.int32)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index):
        duration = self.durations[index]
        return Utterance(self.keys[index], self.label(index), None if np.isnan(duration) else float(duration))

    def label(self, index: int) -> str | None:
        number = self._label_numbers[index]
        return None if number < 0 else self.label_names[number]

    def relabel(self, table: Mapping[str, str]) -> None:
        """Take the labels from `utt2lab`-like `table` instead; every utterance must stand in it."""
        missing = [key for key in self.keys if key not in table]
        if missing:
            raise InputError(f"{self.origin}: {len(missing)} of {len(self)} utterances have no label "
                             f"in the label table ({first_few(missing)})")
        self._set_labels([table[key] for key in self.keys])

    def label_counts(self) -> dict[str, int]:
        counts = np.bincount(self._label_numbers[self._label_numbers >= 0], minlength=len(self.label_names))
        return dict(zip(self.label_names, counts.tolist()))

    def label_ids(self, ids: Mapping[str, int], strict: bool = True) -> np.ndarray:
        """(utterances,) int64; a label that `ids` lacks is an error, or -1 where `strict` is off."""
        unknown = [name for name in self.label_names if name not in ids]
        unlabelled = int((self._label_numbers < 0).sum())
        if strict and unknown:
            raise InputError(f"{self.origin}: unknown labels {first_few(unknown)} (known: {first_few(ids, 8)})")
        if strict and unlabelled:
            first = self.keys[int(np.argmax(self._label_numbers < 0))]
            raise InputError(f"{self.origin}: {unlabelled} of {len(self)} utterances have no label, first '{first}'")
        by_number = np.array([ids.get(name, -1) for name in self.label_names] + [-1], dtype=np.int64)
        return by_number[self._label_numbers]  # number -1 takes the last


def label_ids(labels: Iterable[str]) -> dict[str, int]:
    """Ids by sorted name.

    >>> label_ids(["spoof", "bonafide", "spoof"])
    {'bonafide': 0, 'spoof': 1}
    """
    return {label: number for number, label in enumerate(sorted(set(labels)))}
