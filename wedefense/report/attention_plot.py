"""A picture of where a detector looks: layers as bars, heads over time."""

from collections.abc import Mapping

import numpy as np

from wedefense.report.style import BONAFIDE, LETTERS, SERIES, SMALL, described, new_figure

_WIDTH = 4.8           # inches
_COLOURS = SERIES[3:]  # those before mean bona fide, fake and calibrated


def attention_figure(layers: Mapping[str, np.ndarray], frames: np.ndarray | None, begin: float, shift: float,
                     head: str = "head"):
    """layers: name -> (layers,); frames: (heads, frames), `head`: what one is. What is not there is left out.

    Returns a matplotlib Figure.
    """
    heights = [1.3] * bool(layers) + ([1, 1.6] if frames is not None else [])
    figure, panels = new_figure((_WIDTH, 0.5 + sum(heights)), len(heights), heights, shared=False)
    panels = list(np.atleast_1d(panels))
    said = []
    if layers:
        _bars(panels[0], layers)
        said = [f"{name}: most from layer {int(weights.argmax())}" for name, weights in layers.items()]
    if frames is not None:
        _over_time(panels[-2], panels[-1], frames, begin, shift, head)
        peak = begin + int(frames.mean(axis=0).argmax()) * shift
        said.append(f"most attention over time at {peak:.2f} s")
    figure.align_ylabels(panels)
    return described(figure, f"Attention; {'; '.join(said)}.")


def _bars(axes, layers: Mapping[str, np.ndarray]) -> None:
    width = 0.8 / len(layers)
    for number, ((name, weights), colour) in enumerate(zip(layers.items(), _COLOURS)):
        places = np.arange(len(weights)) + (number - (len(layers) - 1) / 2) * width
        axes.bar(places, weights, width, color=colour, label=name)
    count = max(map(len, layers.values()))
    axes.set_xticks(range(0, count, max(round(count / 12), 1)))
    axes.set_xlabel("layer", fontsize=LETTERS)
    axes.set_ylabel("weight", fontsize=LETTERS)
    axes.grid(False, axis="x")
    if len(layers) > 1:
        axes.legend(fontsize=SMALL)


def _over_time(mean, heads, frames: np.ndarray, begin: float, shift: float, head: str) -> None:
    """The mean of all heads as steps, 1 where all frames count the same; each head against its own largest."""
    end = begin + frames.shape[1] * shift
    mean.stairs(frames.mean(axis=0) * frames.shape[1], np.linspace(begin, end, frames.shape[1] + 1), baseline=None,
                color=BONAFIDE, linewidth=0.9)
    mean.set_ylabel("mean", fontsize=LETTERS)
    mean.set_ylim(bottom=0)
    mean.tick_params(axis="x", labelbottom=False, length=0)
    ink = np.zeros((*frames.shape, 4), np.uint8)  # black; where a head does not look the paper shows
    ink[..., 3] = np.round(15 * frames / np.maximum(frames.max(axis=1, keepdims=True), 1e-12)) * 17
    heads.imshow(ink, aspect="auto", interpolation="none", extent=(begin, end, len(frames) - 0.5, -0.5))
    heads.set_ylabel(head, fontsize=LETTERS)
    heads.set_xlabel("seconds", fontsize=LETTERS)
    heads.yaxis.get_major_locator().set_params(integer=True)
    heads.grid(False)
    for axes in (mean, heads):
        axes.set_xlim(begin, end)
