"""The endings of a batch in one piece of memory, to go where they are done.

What an utterance becomes hangs on itself alone: endings go together only where their filters take the same room.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wedefense.data.augment.endings import Ending

SPARE = 8192          # floats that an ending may take besides as many as the utterance has samples
_LEAST_FRONT = 512


class Layout(NamedTuple):
    """How endings of one kind and size lie in memory, one part behind the other."""

    kind: str
    filters: int   # of each ending
    front: int     # samples that a filter's output comes late, its own advance made good
    width: int     # of a filter, with zeros before and after
    samples: int   # of the utterance
    signal: bool   # whether each brings one

    def floats(self) -> int:
        """Of each ending."""
        return 2 + self.filters * self.width + self.signal * self.samples


class Group(NamedTuple):
    """Some endings alike, as tensors of one device."""

    layout: Layout
    rows: Tensor           # (endings,) int32: the utterances' places in the batch
    levels: Tensor         # (endings, 1)
    filters: Tensor        # (endings, filters, width)
    signals: Tensor | None  # (endings, samples)


@dataclass(frozen=True)
class Later:
    """What is still to be done to a batch: `data`, (floats,) float32, of groups of `counts[i]` times `layouts[i]`."""

    data: Tensor
    layouts: tuple[Layout, ...]
    counts: tuple[int, ...]

    def groups(self) -> Iterator[Group]:
        start = 0
        for layout, n in zip(self.layouts, self.counts):
            sizes = [n, n, n * layout.filters * layout.width, n * layout.signal * layout.samples]
            rows, levels, filters, signals = self.data[start:start + sum(sizes)].split(sizes)
            yield Group(layout, rows.view(torch.int32), levels[:, None],
                        filters.view(n, layout.filters, layout.width),
                        signals.view(n, layout.samples) if layout.signal else None)
            start += sum(sizes)


def layout(ending: Ending, samples: int) -> Layout | None:
    """For an utterance of so many samples; None where the ending takes too much room to go anywhere."""
    advances = ending.advances
    front = max(_LEAST_FRONT, 1 << max(0, max(advances) - 1).bit_length())
    behind = max(len(taps) - advance for taps, advance in zip(ending.filters, advances))
    width = min(_rung(front + behind), front + samples)  # what lies behind the samples falls outside
    found = Layout(ending.kind, len(ending.filters), front, width, samples, ending.has_signal)
    return found if found.floats() <= samples + SPARE else None


def _rung(length: int) -> int:
    """The next of 2, 3, 4, 6, 8, 12, 16 ...: few sizes, so few plans of Fourier transforms."""
    power = 1 << max(1, (length - 1).bit_length())
    return 3 * power // 4 if length <= 3 * power // 4 else power


def pack(endings: Sequence[Ending | None], samples: int, empty: Callable[[int], Tensor]) -> Later | None:
    """The endings of utterances of so many samples, None for one without; in memory of `empty(floats)`."""
    alike: dict[Layout, list[int]] = {}
    for place, ending in enumerate(endings):
        if ending is not None:
            found = layout(ending, samples)
            assert found is not None  # what takes too much room was done at once
            alike.setdefault(found, []).append(place)
    if not alike:
        return None
    counts = tuple(len(places) for places in alike.values())
    later = Later(empty(sum(n * layout.floats() for layout, n in zip(alike, counts))), tuple(alike), counts)
    for group, places in zip(later.groups(), alike.values()):
        group.rows.numpy()[:] = places
        for number, place in enumerate(places):
            ending = endings[place]
            assert ending is not None
            _write(ending, group, number)
    return later


def _write(ending: Ending, group: Group, number: int) -> None:
    front, width, samples = group.layout[2:5]
    filters = group.filters[number].numpy()
    filters[:] = 0
    for row, taps, advance in zip(filters, ending.filters, ending.advances):
        taps = taps[:width - front + advance]
        row[front - advance:front - advance + len(taps)] = taps
    group.levels[number] = ending.level
    if group.signals is not None:
        group.signals[number].numpy()[:] = ending.signal(samples)
