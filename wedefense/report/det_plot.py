"""Miss against false alarm rates: in one frame on all pages, so that figures can be laid beside one another."""

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np

from wedefense.metrics.catalogue import METRICS, POINTS
from wedefense.metrics.confidence import wilson
from wedefense.metrics.detection import CLASSES, DetCurve, DetectionCosts, det_curve, detection_metrics
from wedefense.report.style import FAINT, GREY, SERIES, described, new_figure

Scores = tuple[np.ndarray, np.ndarray]  # bona fide, spoof

FRAME = 0.001, 0.6     # rates between which a DET figure is drawn
FINE = 0.00001, 0.6    # but of systems with an equal error rate below half a per cent
_FINE_BELOW = 0.005
_TICKS = (0.00001, 0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6)
_MOST_BANDS = 4        # more of them hide one another
_MOST_FLOORS = 2       # that are worth their words
_EACH = 0.95 ** 0.5    # level of each rate's interval: both hold with 95 %
_SIZES = {"o": 11.0, "s": 7.5, "^": 4.5}  # of markers: one inside the other where they coincide
_NEAR, _GROWN = 0.08, 5.0                 # systems' markers that coincide: on normal-deviate axes; points


def det_plot(systems: Mapping[str, Scores], costs: DetectionCosts | None = DetectionCosts(),
             classes: tuple[str, str] = CLASSES):
    """Miss against false alarm rate on normal-deviate axes, with the points at which metrics are reached.

    A rate of zero, which has no place on such axes, is drawn at half a trial, and dashed; a point outside the frame is
    marked on its edge, thinly. Bands are of Wilson intervals of both rates at each threshold. Without costs only what
    takes none is marked.
    """
    figure, axes = new_figure((4.8, 5.7))
    points = {key: point for key, point in POINTS.items() if costs or not point.takes_costs}
    results = {name: asdict(detection_metrics(*scores, costs or DetectionCosts())) for name, scores in systems.items()}
    edges = FINE if min(result["eer"] for result in results.values()) < _FINE_BELOW else FRAME
    placed: list[tuple[str, np.ndarray]] = []
    thin = False
    for index, (name, (bonafide, spoof)) in enumerate(systems.items()):
        colour, result = SERIES[index % len(SERIES)], results[name]
        curve, floors = det_curve(bonafide, spoof), _floors(bonafide, spoof)
        _draw_line(axes, curve, floors, colour,
                   f"{name}: {', '.join(METRICS[key].phrase(result[key]) for key in points)}")
        if len(systems) <= _MOST_BANDS:
            axes.fill(*_band(curve, len(bonafide), len(spoof)), color=colour, alpha=0.13, linewidth=0)
        for key, point in points.items():
            at = result[f"{key}_threshold"]
            rates = ((np.mean(spoof >= at), np.mean(bonafide < at)) if point.accepts_equal else
                     (np.mean(spoof > at), np.mean(bonafide <= at)))
            place = np.array(_probit(*rates, floors))
            inside = np.clip(place, *_limits(edges))
            thin |= (outside := bool(np.any(inside != place)))
            around = sum(marker == point.marker and np.abs(other - inside).max() < _NEAR for marker, other in placed)
            placed.append((point.marker, inside))
            axes.plot(*inside, point.marker, color=colour, markersize=_SIZES[point.marker] + _GROWN * around,
                      markerfacecolor="none", markeredgewidth=0.8 if outside else 1.8, zorder=5, clip_on=False)
    _frame(axes, edges)
    for point in points.values():
        axes.plot([], [], point.marker, color=GREY, linestyle="none", markersize=_SIZES[point.marker],
                  markerfacecolor="none", markeredgewidth=1.8, label=point.marked)
    axes.set(xlabel=f"false alarm rate: {classes[1]} accepted (%)", ylabel=f"miss rate: {classes[0]} rejected (%)")
    axes.legend()
    found = "; ".join(f"{name} has {', '.join(METRICS[key].phrase(results[name][key]) for key in points)}"
                      for name in systems)
    return described(figure, f"Misses of {classes[0]} against false alarms of {classes[1]}, both axes from "
                     f"{100 * edges[0]:g} to {100 * edges[1]:g} %, lower left is better. {found}."
                     + " Markers on the edge, thin, lie beyond it." * thin)


def det_notes(systems: Mapping[str, Scores], classes: tuple[str, str] = CLASSES) -> str:
    """What the figure's bands and dashes are."""
    notes = []
    if len(systems) <= _MOST_BANDS:
        notes.append("Bands: both rates with 95 % at each threshold, trials taken as independent.")
    floors = {name: f"of {len(bonafide)} {classes[0]} {100 * 0.5 / len(bonafide):.2g} %, of {len(spoof)} "
                    f"{classes[1]} {100 * 0.5 / len(spoof):.2g} %" for name, (bonafide, spoof) in systems.items()}
    none = list(dict.fromkeys(floors.values()))
    if 1 < len(none) <= _MOST_FLOORS:
        none = [f"{name} {text}" for name, text in floors.items()]
    which = f": {'; '.join(none)}" if len(none) <= _MOST_FLOORS else " of the class"
    return " ".join([*notes, f"Dashed: no error counted, drawn at half a trial{which}."])


def _floors(bonafide: np.ndarray, spoof: np.ndarray) -> tuple[float, float]:
    """Half a false alarm, half a miss."""
    return 0.5 / len(spoof), 0.5 / len(bonafide)


def _draw_line(axes, curve: DetCurve, floors: tuple[float, float], colour: str, label: str) -> None:
    """Solid where both errors were counted, else dashed."""
    line = _probit(curve.far, curve.frr, floors)
    first = int(np.argmax(curve.frr > 0))                           # the first threshold that misses
    last = len(curve.far) - int(np.argmax(curve.far[::-1] > 0))     # after the last that accepts a spoof
    for part, style, name in ((slice(first, last), "-", label), (slice(0, first + 1), (0, (2, 2)), None),
                              (slice(max(last - 1, 0), None), (0, (2, 2)), None)):
        axes.plot(*_thin([x[part] for x in line]), color=colour, linewidth=1.6, linestyle=style,
                  drawstyle="steps-post", label=name)


def _band(curve: DetCurve, bonafides: int, spoofs: int) -> np.ndarray:
    """(2, corners) a polygon: worst rates along the curve, then the best ones back."""
    (far_low, far_high), (frr_low, frr_high) = wilson(curve.far, spoofs, _EACH), wilson(curve.frr, bonafides, _EACH)
    nothing = 1e-7, 1e-7
    worst, best = (_thin(_probit(far, frr, nothing), 0.015) for far, frr in ((far_high, frr_high), (far_low, frr_low)))
    return np.concatenate((np.stack(worst), np.stack(best)[:, ::-1]), axis=1)


def _probit(far, frr, floors: tuple[float, float]) -> list[np.ndarray]:
    from scipy.special import ndtri

    return [ndtri(np.clip(rate, floor, 1 - floor)) for rate, floor in zip((far, frr), floors)]


def _thin(line: list[np.ndarray], step: float = 0.004) -> list[np.ndarray]:
    """The line without the points that no eye can tell from the one before: 680,000 trials fit into a report."""
    if len(line[0]) < 2:
        return line
    cells = np.floor(np.stack(line) / step)
    moves = np.any(cells[:, 1:] != cells[:, :-1], axis=0)
    kept = np.concatenate(([True], moves)) | np.concatenate((moves, [True]))  # both ends of every move
    return [x[kept] for x in line]


def _limits(edges: tuple[float, float]) -> np.ndarray:
    from scipy.special import ndtri

    return ndtri(np.array(edges))


def _frame(axes, edges: tuple[float, float]) -> None:
    from scipy.special import ndtri

    ticks = [tick for tick in _TICKS if edges[0] <= tick <= edges[1]]
    limits = _limits(edges)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ndtri(ticks), [f"{100 * tick:g}" for tick in ticks])
    axes.set(xlim=limits, ylim=limits, aspect="equal")
    axes.plot(limits, limits, color=FAINT, linewidth=0.8, linestyle=":", zorder=0)
