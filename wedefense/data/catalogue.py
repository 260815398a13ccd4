"""The utterances of a list, held in a few arrays.

Millions of small Python objects would be copied into every loader worker as their reference
counts are touched; arrays are shared.
"""

import os
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wedefense.utils.errors import InputError
from wedefense.utils.tables import first_few, values_for

_ODD = re.compile("[\\s\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Utterance:
    key: str
    label: str | None
    duration: float | None = None  # seconds, where the list knows it


class PackedStrings(Sequence):
    """A read-only list of strings in one block of bytes."""

    def __init__(self, strings: Iterable[str] = ()):
        self._bytes, self._ends = bytearray(), array("q")
        for text in strings:
            self.append(text)

    def append(self, text: str) -> None:
        self._bytes += text.encode(errors="surrogatepass")
        self._ends.append(len(self._bytes))

    def extend(self, other: "PackedStrings") -> None:
        before = len(self._bytes)
        self._bytes += other._bytes
        self._ends.extend(before + end for end in other._ends)

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self._ends:
            yield self._bytes[start:end].decode(errors="surrogatepass")
            start = end

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index):
        start = self._ends[index - 1] if index else 0
        return self._bytes[start:self._ends[index]].decode(errors="surrogatepass")


class Catalogue(Sequence):
    """Keys, labels and durations by position; `catalogue[i]` is an `Utterance`."""

    def __init__(self, keys: Iterable[str], labels: Iterable[str | None], durations: Iterable[float | None],
                 origin: str):
        self.keys = keys if isinstance(keys, PackedStrings) else PackedStrings(keys)
        if not len(self.keys):
            raise InputError(f"{origin}: the list is empty")
        odd = [key for key in self.keys if not key or _ODD.search(key)]
        if odd:
            raise InputError(f"{origin}: {len(odd)} keys are empty or hold blanks or control characters "
                             f"({first_few(map(repr, odd))}), which tables of keys cannot; name them otherwise")
        hashes = np.sort(np.fromiter(map(hash, self.keys), np.int64, len(self.keys)))
        if (hashes[1:] == hashes[:-1]).any():  # where all differ, so do the keys, in a tenth of a set's memory
            repeated = [key for key, count in Counter(self.keys).items() if count > 1]
            if repeated:
                raise InputError(f"{origin}: {len(repeated)} duplicate keys ({first_few(repeated)}); "
                                 f"make the list again from a wav.scp without them")
        self.origin = origin
        self.durations = np.fromiter((np.nan if d is None else d for d in durations), np.float64, len(self.keys))
        self._set_labels(labels)

    def _set_labels(self, labels: Iterable[str | None]) -> None:
        number: dict[str | None, int] = {}
        numbers = np.fromiter((number.setdefault(label, len(number)) for label in labels), np.int32, len(self.keys))
        self.label_names = sorted(label for label in number if label is not None)
        place = {name: i for i, name in enumerate(self.label_names)}
        places = np.array([-1 if label is None else place[label] for label in number], dtype=np.int32)
        self._label_numbers = places[numbers]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index):
        duration = self.durations[index]
        return Utterance(self.keys[index], self.label(index), None if np.isnan(duration) else float(duration))

    def label(self, index: int) -> str | None:
        number = self._label_numbers[index]
        return None if number < 0 else self.label_names[number]

    def relabel(self, path: str | os.PathLike) -> None:
        """Take the labels from a table like `utt2lab` instead; every utterance must stand in it."""
        labels = values_for(path, self.keys)
        missing = [key for key, label in zip(self.keys, labels) if label is None] if None in labels else []
        if missing:
            raise InputError(f"{self.origin}: {len(missing)} of {len(self)} utterances have no label in {path} "
                             f"({first_few(missing)})")
        self._set_labels(labels)

    def label_counts(self, indices: np.ndarray | slice = slice(None)) -> dict[str, int]:
        """How many of these utterances have each label."""
        numbers = self._label_numbers[indices]
        counts = np.bincount(numbers[numbers >= 0], minlength=len(self.label_names))
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
