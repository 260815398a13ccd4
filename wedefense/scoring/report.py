"""report.html of an experiment: results with their confidence, curves, weights, settings, in one file."""

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from wedefense.metrics.table import COLUMNS, number
from wedefense.scoring import experiment, figures, page
from wedefense.scoring.page import Figure, Row
from wedefense.scoring.results import RATES
from wedefense.utils.files import atomic_write


def write_report(exp_dir: str | os.PathLike, results: Mapping) -> Path:
    """Write report.html and figures/*.png; what the folder lacks is left out, and said so."""
    folder = Path(exp_dir)
    config = experiment.read_config(folder)
    content = [_introduction(config), _results(results), _breakdowns(results), _training(folder), _layers(folder),
               _config(config), _environment(config)]
    path = folder / "report.html"
    with atomic_write(path, "w") as stream:
        stream.write(page.page(f"{folder.resolve().name}: results", *content))
    return path


def _introduction(config) -> str:
    made = f"Made {time.strftime('%Y-%m-%d %H:%M')}."
    if config is None:
        return page.paragraph(made, "note")
    content = config[1]
    data = content.get("dataset_args") or {}
    parts = [f"{content[key]}" if not label else f"{label} {content[key]}"
             for key, label in (("model", ""), ("optimizer", ""), ("num_epochs", "epochs:"), ("seed", "seed:"))
             if content.get(key) is not None]
    if data.get("frontend"):
        parts.insert(1, f"on {_frontend_name(data)}")
    return page.paragraph(f"{', '.join(parts)}. {made}", "note")


def _frontend_name(data: Mapping) -> str:
    options = data.get(f"{data['frontend']}_args") or {}
    name = (options.get("upstream_args") or {}).get("name")
    return f"{data['frontend']} {name}" if name else data["frontend"]


def _results(results: Mapping) -> str:
    rows, doubts = [], []
    for name, result in results["sets"].items():
        rows.append(Row([name, *_counts(result), *_rates(result)]))
        interval = result.get("confidence")
        if interval:
            rows.append(Row([f"{100 * interval['level']:g} % interval", "", "", *(
                f"{number(key, interval[key][0])} – {number(key, interval[key][1])}" for key in RATES)], "minor"))
        doubts += [page.paragraph(f"{name}: {doubt}", "doubt") for doubt in result["doubts"]]
    note = _interval_note(results)
    return page.section("Results", *doubts, page.table(_header("set"), rows), page.paragraph(note, "note"))


def _interval_note(results: Mapping) -> str:
    result = next(iter(results["sets"].values()))
    costs = result["costs"]
    text = (f"Costs: P(spoof) {costs['p_spoof']:g}, miss {costs['c_miss']:g}, false alarm {costs['c_fa']:g}; "
            "a higher score means more bona fide.")
    interval = result.get("confidence")
    if not interval:
        return f"{text} No intervals: rerun stage 7 with --bootstrap 1000."
    return f"{text} Intervals from {interval['resamples']} bootstrap resamples by {interval['by']}."


def _breakdowns(results: Mapping) -> str:
    parts = []
    for name, result in results["sets"].items():
        for title, found in result.get("breakdown", {}).items():
            if found["values"]:
                parts.append(page.folded(f"{name} by {title} ({len(found['values'])})", _breakdown_table(title, found)))
    return page.section("By condition", *(parts or [_absent("the data folder has no utt2attack, utt2codec or the like")]))


def _breakdown_table(title: str, found: Mapping) -> str:
    rows = [Row([name, *_counts(result), *_rates(result)]) for name, result in found["values"].items()]
    if len(rows) > 1:
        rows.append(Row(["mean", "", "", *_rates(found["macro"])], "rule"))
        rows.append(Row([f"worst: {found['worst']}", "", "", *_rates(found["values"][found["worst"]])]))
    return page.table(_header(title), rows)


def _header(first: str) -> list[str]:
    return [first, "bona fide", "spoof", *(COLUMNS[key][0] for key in RATES)]


def _counts(result: Mapping) -> list[str]:
    return [str(result["n_bonafide"]), str(result["n_spoof"])]


def _rates(result: Mapping) -> list[str]:
    return [number(key, result[key]) for key in RATES]


def _training(folder: Path) -> str:
    history = experiment.read_history(folder)
    if history is None:
        return page.section("Training", _absent("there is no history.json"))
    made = figures.training_curves(history["rows"], history.get("best"))
    last = history["rows"][-1]
    seconds = sum(row.get("seconds", 0) for row in history["rows"])
    text = f"{last['epoch']} epochs in {_duration(seconds)}."
    best = history.get("best")
    if best:
        text += f" Best {best['metric'].removeprefix('val_')} in epoch {best['epoch']}: {best['value']:.4g}."
    return page.section("Training", page.paragraph(text), _figures(folder, made))


def _layers(folder: Path) -> str:
    weights = experiment.layer_weights(folder)
    if weights is None:
        return page.section("Layers", _absent("there is no models/avg_model.pt"))
    if not weights:
        return page.section("Layers", _absent("the back-end does not weight layers"))
    caption = "What the back-end takes of each layer of the front-end"
    return page.section("Layers", _figures(folder, {caption: figures.layer_weight_bars(weights)}))


def _config(config) -> str:
    if config is None:
        return page.section("Configuration", _absent("there is no config.yaml"))
    return page.section("Configuration", page.preformatted(config[0]))


def _environment(config) -> str:
    found = experiment.environment()
    if config is not None and "seed" in config[1]:
        found["seed"] = str(config[1]["seed"])
    rows = [Row([name, value]) for name, value in found.items()]
    return page.section("Environment", page.paragraph("When this report was made:", "note"), page.table(["", ""], rows))


def _figures(folder: Path, made: Mapping[str, bytes]) -> str:
    """Write each as figures/<caption in small letters>.png and embed it."""
    for caption, data in made.items():
        name = re.sub(r"[^a-z0-9]+", "_", caption.lower()).strip("_")
        with atomic_write(folder / "figures" / f"{name}.png") as stream:
            stream.write(data)
    return page.figures([Figure(data, caption) for caption, data in made.items()])


def _absent(why: str) -> str:
    return page.paragraph(f"Left out: {why}.", "note")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
