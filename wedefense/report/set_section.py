"""The section of one set: scores, errors, how far scores can be taken at their word, what is judged worst."""

from collections.abc import Iterator, Mapping
from typing import Any

from wedefense.experiment.folder import ExperimentFolder
from wedefense.metrics.catalogue import MAIN, METRICS, POINTS
from wedefense.report import calibration_plots, html, score_plots
from wedefense.report.html import Figure
from wedefense.report.listen import Players, worst
from wedefense.report.sections import both_classes, costs_of, show
from wedefense.scoring.calibration import Calibration
from wedefense.scoring.results import DURATION, ScoredSet

_MOST_BARS = 40
Drawn = tuple[str, str, Any]  # name, caption, matplotlib figure


def one_set(folder: ExperimentFolder | None, results: Mapping, scored: ScoredSet,
            calibration: Calibration | None = None, players: Players | None = None) -> str:
    result, name, classes = results["sets"][scored.name], scored.name, results["classes"]
    drawn = [*_of_scores(result, scored, classes), *_of_calibration(results, scored, calibration),
             *_of_durations(result)]
    parts = [show(folder, (Figure(f"{name}_{kind}", caption, figure) for kind, caption, figure in drawn))]
    if players and (table := worst(scored, classes, players)):
        title = f"Judged worst: the lowest scores of {classes[0]}, the highest of {classes[1]}"
        parts.append(html.folded(title, table, shown=True))
    return html.section(f"Set {name}", *parts)


def _of_scores(result: Mapping, scored: ScoredSet, classes: tuple[str, str]) -> Iterator[Drawn]:
    both = both_classes(scored)
    attacks = scored.meta.get("attack")
    if attacks is not None:
        attacks = [attack for attack, real in zip(attacks, scored.trials.is_bonafide) if not real]
    thresholds = {point.name: result[f"{key}_threshold"] for key, point in POINTS.items()}
    yield ("histogram", "Scores by class" + (" and attack" if attacks else ""),
           score_plots.score_histogram(*both, attacks, thresholds, classes))
    for title, found in result.get("breakdown", {}).items():
        if title not in ("spk", DURATION) and 1 < len(found["values"]) <= _MOST_BARS:
            yield (f"{MAIN}_by_{title}", f"{METRICS[MAIN].title} by {title}, with 95 % intervals",
                   score_plots.breakdown_bars(found, title, result[MAIN]))
    yield ("deciles", f"Errors at the {METRICS[MAIN].title} threshold by tenths of the scores; those far from it are "
           "sure and wrong", score_plots.decile_plot(*both, result[f"{MAIN}_threshold"], classes))


def _of_calibration(results: Mapping, scored: ScoredSet, calibration: Calibration | None) -> Iterator[Drawn]:
    both, costs, classes = both_classes(scored), costs_of(results), results["classes"]
    versions = {"": both}
    if calibration is not None and "calibrated" in results["sets"][scored.name]:
        versions = {"raw": both, "calibrated": (calibration.apply(both[0]), calibration.apply(both[1]))}
        yield ("before_and_after", "Scores before and after calibration",
               calibration_plots.before_and_after(versions, costs, classes))
    yield ("bayes_error", "Bayes error rate over priors: the gap to the minimum is lost by poor calibration",
           calibration_plots.bayes_error_plot(versions, costs, classes))
    yield ("reliability", "Reliability: what the scores promise and what is found, with 95 % intervals",
           calibration_plots.reliability_plot(versions, classes))


def _of_durations(result: Mapping) -> Iterator[Drawn]:
    found = result.get("breakdown", {}).get(DURATION)
    if found and len(found["values"]) > 1:
        yield (f"{MAIN}_by_{DURATION}", f"{METRICS[MAIN].title} by {DURATION}, with 95 % intervals",
               score_plots.parts_plot(found, DURATION, result[MAIN]))
