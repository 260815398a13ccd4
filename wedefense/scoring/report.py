"""report.html of an experiment: results with their confidence, curves, weights, settings, in one file."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wedefense.metrics import plots
from wedefense.metrics.detection import DetectionCosts
from wedefense.metrics.table import COLUMNS
from wedefense.scoring import experiment, figures, page
from wedefense.scoring.calibration import Calibration
from wedefense.scoring.page import Figure, Row
from wedefense.scoring.results import (ScoredSet, breakdown_rows, counts, headings, interval_name, intervals, overview,
                                       rates)
from wedefense.utils.files import atomic_write

_MOST_BARS = 40


def write_report(exp_dir: str | os.PathLike, results: Mapping, sets: Sequence[ScoredSet] = (),
                 calibration: Calibration | None = None) -> Path:
    """Write report.html and figures/*.png; what the folder lacks is left out, and said so.

    The curves of detection are drawn from the scores in `sets`.
    """
    folder = Path(exp_dir)
    config = experiment.read_config(folder)
    content = [_introduction(config), _results(results)]
    if sets:
        content.append(_det(folder, results, sets))
    content += [_set(folder, results, scored, calibration) for scored in sets]
    content += [_tables(results), _training(folder), _layers(folder), _config(config), _environment(config)]
    path = folder / "report.html"
    with atomic_write(path, "w") as stream:
        stream.write(page.page(f"{folder.resolve().name}: results", *content))
    return path


def _introduction(config) -> str:
    parts = []
    if config is not None:
        content = config[1]
        data = content.get("dataset_args") or {}
        parts = [str(content[key]) if not label else f"{label} {content[key]}" for key, label in (
            ("model", ""), ("optimizer", ""), ("num_epochs", "epochs"), ("seed", "seed")) if content.get(key) is not None]
        if data.get("frontend"):
            parts.insert(0, _frontend_name(data))
    return page.paragraph(", ".join([*parts, f"reported {time.strftime('%Y-%m-%d %H:%M')}"]), "note")


def _frontend_name(data: Mapping) -> str:
    options = data.get(f"{data['frontend']}_args") or {}
    name = (options.get("upstream_args") or {}).get("name")
    return f"{data['frontend']} {name}" if name else data["frontend"]


def _results(results: Mapping) -> str:
    rows, doubts = [], []
    for label, result in overview(results):
        numbers = rates(result)
        if "confidence" in result:
            numbers = [f"{number}\n{interval.replace('-', '–')}" for number, interval in zip(numbers, intervals(result))]
        rows.append(Row([_label(label, results, *counts(result)), *numbers]))
        doubts += [page.paragraph(f"{label}: {doubt}", "doubt") for doubt in result["doubts"]]
    return page.section("Results", *doubts, page.table(["set", *headings()], rows), page.paragraph(_note(results), "note"))


def _label(name: str, results: Mapping, *amounts: str) -> str:
    """The name, and on a second line how many trials of each class, where that is said."""
    return name + "\n" * any(amounts) + ", ".join(f"{n} {kind}" for n, kind in zip(amounts, results["classes"]) if n)


def _note(results: Mapping) -> str:
    result = next(iter(results["sets"].values()))
    costs, confidence = result["costs"], result.get("confidence")
    first, second = results["classes"]
    text = (f"A higher score means more {first}. Costs: P({second}) {costs['p_spoof']:g}, miss {costs['c_miss']:g}, "
            f"false alarm {costs['c_fa']:g}. ")
    if confidence:
        text += (f"Small figures: {interval_name(result)}, {confidence['resamples']} bootstrap resamples "
                 f"by {confidence['by']}. ")
    else:
        text += "No intervals: rerun stage 7 with --bootstrap 1000. "
    return f"{text}{results['calibration'][:1].upper()}{results['calibration'][1:]}."


def _det(folder: Path, results: Mapping, sets: Sequence[ScoredSet]) -> str:
    drawn = plots.det_plot({scored.name: _classes(scored) for scored in sets}, _costs(results))
    drawn.axes[0].tick_params(axis="x", labelrotation=45, labelsize=8)  # probit ticks crowd on a small figure
    return page.section("Detection error trade-off", _figures(folder, [
        Figure("det", "DET curve: misses against false alarms, each point a threshold", figures.png(drawn))]))


def _set(folder: Path, results: Mapping, scored: ScoredSet, calibration: Calibration | None) -> str:
    """Histogram, calibration and conditions of one set."""
    result, name = results["sets"][scored.name], scored.name
    bonafide, spoof = _classes(scored)
    attacks = scored.meta.get("attack")
    if attacks is not None:
        attacks = [attack for attack, real in zip(attacks, scored.trials.is_bonafide) if not real]
    thresholds = {"EER": result["eer_threshold"], "minimum DCF": result["min_dcf_threshold"],
                  "Bayes": result["act_dcf_threshold"]}
    drawn = [("histogram", "Scores by class" + (" and attack" if attacks else ""),
              plots.score_histogram(bonafide, spoof, attacks, thresholds))]
    versions = [("", "", bonafide, spoof)]
    if "calibrated" in result:
        versions.append(("_calibrated", ", calibrated", calibration.apply(bonafide), calibration.apply(spoof)))
    for ending, words, b, s in versions:
        drawn.append((f"bayes_error{ending}", f"Bayes error rate over priors{words}: the gap is lost by poor calibration",
                      plots.bayes_error_plot(b, s, _costs(results))))
        drawn.append((f"reliability{ending}", f"Reliability{words}", plots.reliability_plot(b, s)))
    for title, found in result.get("breakdown", {}).items():
        if title != "spk" and 1 < len(found["values"]) <= _MOST_BARS:
            drawn.append((f"eer_by_{title}", f"EER by {title}", plots.breakdown_bars(found, title, result["eer"])))
    return page.section(f"Set {name}", _figures(folder, (
        Figure(f"{name}_{kind}", caption, figures.png(figure)) for kind, caption, figure in drawn)))


def _classes(scored: ScoredSet):
    return scored.trials.bonafide, scored.trials.spoof


def _costs(results: Mapping) -> DetectionCosts:
    return DetectionCosts(**next(iter(results["sets"].values()))["costs"])


def _tables(results: Mapping) -> str:
    """A table for every breakdown; that of the attacks lies open, except on the dev set."""
    parts = []
    for name, result in results["sets"].items():
        for title, found in result.get("breakdown", {}).items():
            if found["values"]:
                rows = [Row([_label(label, results, *cells[:2]), *cells[2:]], "rule" if label == "mean" else "")
                        for label, cells in breakdown_rows(found)]
                content = page.table([title, *headings()], rows)
                shown = title == "attack" and name != results["dev_set"]
                parts.append(page.folded(f"{name} by {title} ({len(found['values'])})", content, shown))
    return page.section("By condition", *(parts or [_absent("the data folder has no utt2attack, utt2codec or the like")]))


def _training(folder: Path) -> str:
    history = experiment.read_history(folder)
    if history is None:
        return page.section("Training", _absent("there is no history.json"))
    made = [Figure(f"training_{name}", caption, data)
            for name, caption, data in figures.training_curves(history["rows"], history.get("best"))]
    last = history["rows"][-1]
    seconds = sum(row.get("seconds", 0) for row in history["rows"])
    text = f"{last['epoch']} epochs in {_duration(seconds)}."
    best = history.get("best")
    if best:
        metric = best["metric"].removeprefix("val_")
        heading, factor, decimals = COLUMNS.get(metric, (metric, 1, 4))
        value = f"{factor * best['value']:.{decimals}f}{' %' * heading.endswith('%')}"
        text += f" Best validation {heading.removesuffix(' %')} in epoch {best['epoch']}: {value}."
    return page.section("Training", page.paragraph(text), _figures(folder, made))


def _layers(folder: Path) -> str:
    weights = experiment.layer_weights(folder)
    if weights is None:
        return page.section("Layers", _absent("there is no models/avg_model.pt"))
    if not weights:
        return page.section("Layers", _absent("the back-end does not weight layers"))
    caption = "What the back-end takes of each layer of the front-end"
    return page.section("Layers", _figures(folder, [Figure("layers", caption, figures.layer_weight_bars(weights))]))


def _config(config) -> str:
    if config is None:
        return page.section("Configuration", _absent("there is no config.yaml"))
    return page.section("Configuration", page.preformatted(config[0]))


def _environment(config) -> str:
    found = experiment.environment()
    if config is not None and "seed" in config[1]:
        found["seed"] = str(config[1]["seed"])
    rows = [Row([name, value]) for name, value in found.items()]
    return page.section("Environment", page.paragraph("When this report was made:", "note"), page.table(["", ""], rows, "text"))


def _figures(folder: Path, made: Iterable[Figure]) -> str:
    """Write each as figures/<name>.png, and embed it."""
    made = list(made)
    for figure in made:
        with atomic_write(folder / "figures" / f"{figure.name}.png") as stream:
            stream.write(figure.png)
    return page.figures(made)


def _absent(why: str) -> str:
    return page.paragraph(f"Left out: {why}.", "note")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
