"""The picture of a recording over time: its sound, the scores of its frames, what is called fake and what is."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wedefense.data.spans import Span
from wedefense.report.style import BONAFIDE, GREY, INK, LETTERS, PALE, SPOOF, described, new_figure
from wedefense.utils.tables import first_few

_WINDOW, _DECIBELS = 0.032, 70   # seconds of a spectrum; the range that is shown below the loudest
_LONG = 120                      # seconds from which on times are in minutes
_STEPS = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, *(7200 * 2 ** n for n in range(20)))
_AT_A_TIME = 2_000_000           # samples that are held at once
_MOST_STEPS = 2000               # of the scores; more are not told apart
_SEVERAL = 4                     # spectra whose mean stands in a column that lasts longer

Read = Callable[[int, int], np.ndarray]  # start, length -> mono samples


@dataclass(frozen=True)
class Sketch:
    """What is to be seen of the sound."""

    lowest: np.ndarray    # (columns,) the least sample, of 1 at full scale
    highest: np.ndarray   # (columns,)
    loudness: np.ndarray  # (frequencies, columns), of 1 at the loudest, in decibels
    rate: int
    seconds: float


@dataclass(frozen=True)
class Timeline:
    sound: Sketch
    scores: np.ndarray        # (frames,) higher = more bona fide
    shift: float              # seconds from one to the next
    threshold: float          # at or below it a frame is called fake
    predicted: Sequence[Span]
    true: Sequence[Span] = ()
    begin: float = 0.0        # seconds into the recording at which the sound begins; times are those of the recording


def sketch(read: Read, samples: int, rate: int, columns: int = 1000) -> Sketch:
    """The sound of a recording of any length, read in parts."""
    size = round(_WINDOW * rate)
    columns = max(min(columns, samples // 8), 1)
    edges = np.linspace(0, samples, columns + 1).astype(int)
    lowest, highest, powers = np.zeros(columns), np.zeros(columns), np.zeros((size // 2 + 1, columns))
    together = max(_AT_A_TIME // max(samples // columns, 1), 1)
    for first in range(0, columns, together):
        last = min(first + together, columns)
        begin = max(edges[first] - size, 0)
        wav = np.pad(read(int(begin), int(min(edges[last] + size, samples) - begin)), size)
        for column in range(first, last):
            start, end = edges[column] - begin + size, edges[column + 1] - begin + size
            own = wav[start:max(end, start + 1)]
            lowest[column], highest[column] = own.min(), own.max()
            centres = np.linspace(start, end, min(max((end - start) // size, 1), _SEVERAL) + 2)[1:-1].astype(int)
            frames = np.stack([wav[centre - size // 2:centre - size // 2 + size] for centre in centres])
            powers[:, column] = (np.abs(np.fft.rfft(frames * np.hanning(size))) ** 2).mean(axis=0)
    powers = (powers[:-1:2] + powers[1::2]) / 2
    decibels = 10 * np.log10(np.maximum(powers, 1e-12))
    loudness = 1 + (decibels - decibels.max()) / _DECIBELS
    return Sketch(lowest, highest, loudness.clip(min=0), rate, samples / rate)


def timeline_figure(shown: Timeline, size: tuple[float, float], title: str = ""):
    """A matplotlib Figure: waveform, spectrogram, scores with the threshold, and a bar of spans for each of both."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.ticker import MultipleLocator

    bars = {"true": shown.true, "called": shown.predicted} if shown.true else {"called": shown.predicted}
    figure, panels = new_figure(size, 4, (1.1, 2, 2, 0.3 + 0.3 * len(bars)))
    begin, end = shown.begin, shown.begin + shown.sound.seconds
    _sound(panels[0], panels[1], shown)
    _scores(panels[2], shown)
    _bars(panels[3], bars)
    for panel in panels[:3]:
        panel.tick_params(axis="x", length=0)
    panels[3].set_xlim(begin, end)
    if end >= _LONG:
        panels[3].xaxis.set_major_locator(MultipleLocator(next(step for step in _STEPS if step * 8 >= end - begin)))
    panels[3].xaxis.set_major_formatter(lambda x, _: _clock(x, end))
    panels[3].set_xlabel("seconds" if end < _LONG else "minutes:seconds", fontsize=LETTERS)
    line = Line2D([], [], color=INK, linestyle="--", linewidth=0.9)
    figure.legend([Patch(color=BONAFIDE), Patch(color=SPOOF), line], ["bona fide", "fake", "threshold"],
                  loc="outside lower center", ncols=3, fontsize=LETTERS, frameon=False)
    if title:
        figure.suptitle(title, fontsize=LETTERS, x=0.01, ha="left")
    figure.align_ylabels(panels)
    where = "; ".join(f"{name} fake {_fakes(spans)}" for name, spans in bars.items())
    return described(figure, f"Waveform, spectrogram, frame scores and the threshold {shown.threshold:.3g} over "
                             f"{shown.sound.seconds:.1f} s; {where}.")


def _fakes(spans: Sequence[Span]) -> str:
    return first_few([f"{span[0]:.2f} to {span[1]:.2f} s" for span in spans if span[2] == "spoof"], 8) or "nowhere"


def _sound(wave, spectrum, shown: Timeline) -> None:
    sound, begin = shown.sound, shown.begin
    middle = begin + (np.arange(len(sound.lowest)) + 0.5) * sound.seconds / len(sound.lowest)
    wave.fill_between(middle, sound.lowest, sound.highest, color=GREY, linewidth=0.3)
    reach = max(float(np.abs([sound.lowest, sound.highest]).max()), 1e-4)
    wave.set(ylim=(-1.05 * reach, 1.05 * reach), yticks=[])
    wave.set_ylabel("wave", fontsize=LETTERS)
    ink = np.zeros((*sound.loudness.shape, 4), np.uint8)  # black, and what is silent lets the paper through
    ink[..., 3] = np.round(255 * sound.loudness / 17) * 17  # sixteen steps, which the eye takes for all
    spectrum.imshow(ink, origin="lower", aspect="auto", interpolation="none",
                    extent=(begin, begin + sound.seconds, 0, sound.rate / 2000))
    spectrum.set_ylabel("kHz", fontsize=LETTERS)
    spectrum.grid(False)


def _scores(axes, shown: Timeline) -> None:
    """As steps, a frame each, and the last one lasts to the end; of very many a step is the median of some, in a band
    from the least to the greatest."""
    together = -(-len(shown.scores) // _MOST_STEPS)
    begins = np.arange(0, len(shown.scores), together)
    edges = np.append(shown.begin + begins * shown.shift, shown.begin + shown.sound.seconds)
    scores = np.array([np.median(shown.scores[first:first + together]) for first in begins])
    low, high = float(min(shown.scores.min(), shown.threshold)), float(max(shown.scores.max(), shown.threshold))
    margin = 0.06 * (high - low) or 1.0
    if together > 1:
        axes.stairs(np.maximum.reduceat(shown.scores, begins), edges, color=PALE, fill=True, linewidth=0,
                    baseline=np.minimum.reduceat(shown.scores, begins))
    below = np.minimum(scores, shown.threshold)
    axes.stairs(below, edges, baseline=shown.threshold, fill=True, color=SPOOF, alpha=0.35, linewidth=0)
    axes.stairs(scores, edges, baseline=None, color=BONAFIDE, linewidth=0.9)
    axes.axhline(shown.threshold, color=INK, linewidth=0.9, linestyle="--")
    axes.set_ylim(low - margin, high + margin)
    axes.set_ylabel("score", fontsize=LETTERS)


def _bars(axes, bars: dict[str, Sequence[Span]]) -> None:
    for row, spans in enumerate(bars.values()):
        for label, colour in (("bonafide", BONAFIDE), ("spoof", SPOOF)):
            own = [(span[0], span[1] - span[0]) for span in spans if span[2] == label]
            axes.broken_barh(own, (row - 0.38, 0.76), facecolors=colour, linewidth=0)
    axes.set_yticks(range(len(bars)), list(bars))
    axes.set_ylim(len(bars) - 0.5, -0.5)
    axes.grid(False)


def _clock(seconds: float, end: float) -> str:
    """Seconds, or minutes and seconds in what lasts minutes.

    >>> _clock(3.5, 10.0), _clock(75.0, 600.0), _clock(3675.0, 7200.0)
    ('3.5', '1:15', '1:01:15')
    """
    if end < _LONG:
        return f"{seconds:g}"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def window_of(spans: Sequence[Span], begin: float, end: float) -> list[Span]:
    """What of the spans lies between two times."""
    cut = [Span(max(span[0], begin), min(span[1], end), span[2]) for span in spans]
    return [span for span in cut if span.end > span.start and not math.isclose(span.end, span.start)]
