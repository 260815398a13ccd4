"""Pictures of one recording's log-likelihood ratios over its time, by window and by frame."""

from collections.abc import Sequence

import numpy as np

from wedefense.report.style import BONAFIDE, INK, LETTERS, SIZE, SPOOF, described, new_figure

_SIZE = (2 * SIZE[0], 3.2)


def steps_figure(llrs: np.ndarray, edges: np.ndarray, threshold: float, title: str = ""):
    """(pieces,) as steps between (pieces + 1,) seconds; what lies below the threshold is filled."""
    figure, axes = new_figure(_SIZE)
    axes.stairs(np.minimum(llrs, threshold), edges, baseline=threshold, fill=True, color=SPOOF, alpha=0.35, linewidth=0,
                label="below the threshold")
    axes.stairs(llrs, edges, baseline=None, color=BONAFIDE, linewidth=1.4, label="log-likelihood ratio")
    axes.axhline(threshold, color=INK, linewidth=1, linestyle="--", label=f"threshold {threshold:.3g}")
    low, high = min(float(llrs.min()), threshold), max(float(llrs.max()), threshold)
    margin = 0.06 * (high - low) or 1.0
    axes.set(xlabel="seconds", ylabel="LLR (higher: more bona fide)", xlim=(edges[0], edges[-1]),
             ylim=(low - margin, high + margin))
    if title:
        axes.set_title(title, fontsize=LETTERS, loc="left")
    axes.legend()
    lowest = int(llrs.argmin())
    below = float(np.diff(edges)[llrs < threshold].sum())
    return described(figure, f"Log-likelihood ratio over {edges[-1] - edges[0]:.2f} s, {llrs.min():.3f} to "
                     f"{llrs.max():.3f}, the lowest at {edges[lowest]:.2f} s; {below:.2f} s lie below the threshold "
                     f"{threshold:.3g}.")


def windows_figure(starts: Sequence[float], ends: Sequence[float], llrs: Sequence[float], threshold: float, title: str):
    """The same for windows, which may overlap: where they do, the mean of theirs."""
    edges = np.unique([*starts, *ends])
    return steps_figure(means_at((edges[1:] + edges[:-1]) / 2, starts, ends, llrs), edges, threshold, title)


def means_at(times: np.ndarray, starts: Sequence[float], ends: Sequence[float], llrs: Sequence[float]) -> np.ndarray:
    """(times,) the mean of the windows that each time lies in."""
    inside = (np.array(starts)[:, None] <= times) & (times < np.array(ends)[:, None])  # (windows, times)
    return inside.T @ np.array(llrs) / inside.sum(axis=0)
