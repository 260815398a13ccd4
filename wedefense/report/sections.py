"""The sections that reports are made of: results, curves, conditions, training, layers, settings."""

from collections.abc import Iterable, Mapping, Sequence

from wedefense.experiment import records
from wedefense.experiment.folder import NAMES, ExperimentFolder
from wedefense.experiment.provenance import provenance
from wedefense.metrics.catalogue import DETECTION, MAIN, METRICS, SUMMARY
from wedefense.metrics.classification import ClassificationResult
from wedefense.metrics.classification import headings as class_headings
from wedefense.metrics.classification import rates as class_rates
from wedefense.metrics.detection import DetectionCosts
from wedefense.report import det_plot, html, score_plots, training_plots
from wedefense.report.data_summary import data_summary
from wedefense.report.html import Figure, Row
from wedefense.scoring.results import (
    ScoredSet,
    breakdown_rows,
    counts,
    headings,
    interval_name,
    intervals,
    overview,
    rates,
)
from wedefense.utils.tables import read_lines


def results_and_det(folder: ExperimentFolder | None, results: Mapping, sets: Sequence[ScoredSet], *notes: str) -> str:
    """The table, and where there are scores their DET curves beside it."""
    rows, doubts = [], []
    for label, result in overview(results):
        numbers = rates(result)
        if "confidence" in result:
            numbers = [f"{number}\n{interval.replace('-', '–')}".rstrip()
                       for number, interval in zip(numbers, intervals(result))]
        rows.append(Row([_label(label, results, *counts(result)), *numbers]))
        doubts += [html.paragraph(f"{label}: {doubt}", "doubt") for doubt in result["doubts"]]
    doubts += [html.paragraph(f"calibration: {doubt}", "doubt") for doubt in results.get("calibration_doubts", [])]
    table = html.table([results.get("of", "set"), *headings()], rows)
    data = []
    if summary := data_summary(sets, results["classes"]):
        data = [html.paragraph("What was scored; small figures are the shortest and the longest:", "note"), summary]
    text = "\n".join([*doubts, table, *(html.paragraph(note, "note") for note in (*notes, _note(results))), *data])
    if not sets:
        return html.section("Results", text)
    det = det_figure({scored.name: both_classes(scored) for scored in sets}, costs_of(results), results["classes"])
    return html.section("Results", html.side_by_side(text, show(folder, [det])))


def range_note(result: Mapping) -> str:
    return (f"Each trial is a segment of {result['label_shift']:g} s in one of {result['n_utterances']} utterances, "
            f"scored every {result['frame_shift']:g} s. Counted in time instead of segments, the range EER is "
            f"{METRICS['range_eer'].number(result['range_eer'])} %.")


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
                 f"by {confidence['by']} (seed {confidence['seed']}). ")
    else:
        text += "Without confidence intervals, which the option bootstrap adds. "
    return f"{text}{results['calibration'][:1].upper()}{results['calibration'][1:]}."


def det_figure(systems: Mapping[str, det_plot.Scores], costs: DetectionCosts | None,
               classes: tuple[str, str]) -> Figure:
    return Figure("det", f"DET curve: misses against false alarms. {det_plot.det_notes(systems, classes)}",
                  det_plot.det_plot(systems, costs, classes))


def both_classes(scored: ScoredSet) -> det_plot.Scores:
    return scored.trials.bonafide, scored.trials.spoof


def costs_of(results: Mapping) -> DetectionCosts:
    return DetectionCosts(**next(iter(results["sets"].values()))["costs"])


def conditions(results: Mapping) -> str:
    """A table for every breakdown; that of the attacks lies open, except on the dev set. Empty without any."""
    parts = []
    for name, result in results["sets"].items():
        for title, found in result.get("breakdown", {}).items():
            if found["values"]:
                rows = [Row([_label(label, results, *cells[:2]),
                             *_with_interval(cells[2:], found["values"].get(label))],
                            "rule" if label == "mean" else "") for label, cells in breakdown_rows(found)]
                content = html.table([title, *headings()], rows)
                shown = title == "attack" and name != results["dev_set"]
                parts.append(html.folded(f"{name} by {title} ({len(found['values'])})", content, shown))
    return html.section("By condition", *parts) if parts else ""


def _with_interval(cells: Sequence[str], found: Mapping | None) -> list[str]:
    """Under the main rate how far it can be trusted."""
    cells, at = list(cells), SUMMARY.index(MAIN)
    if found and f"{MAIN}_interval" in found:
        cells[at] += "\n" + "–".join(METRICS[MAIN].number(end) for end in found[f"{MAIN}_interval"])
    return cells


def classification(folder: ExperimentFolder | None, found: Mapping[str, ClassificationResult]) -> list[str]:
    """Accuracy and confusion of each set."""
    rows = [Row([f"{name}\n{int(result.confusion.sum())} utterances", *class_rates(vars(result))])
            for name, result in found.items()]
    note = ("Unweighted accuracy is the mean over the classes of the share that is right (UAR); macro F1 is the mean "
            "of their F1.")
    figures = [Figure(f"{name}_confusion", f"Confusion of set {name}: per cent of each true class",
                      score_plots.confusion_plot(result.confusion, result.classes)) for name, result in found.items()]
    table = html.table(["set", *class_headings()], rows)
    return [html.section("Results", table, html.paragraph(note, "note"), show(folder, figures))]


def training(folder: ExperimentFolder) -> str:
    history = records.read_history(folder)
    if history is None:
        return html.section("Training", absent(f"there is no {NAMES.history}"))
    figures = [Figure(f"training_{name}", caption, drawn)
               for name, caption, drawn in training_plots.training_curves(history["rows"], history.get("best"))]
    last = history["rows"][-1]
    seconds = sum(row.get("seconds", 0) for row in history["rows"])
    text = f"{last['epoch']} epoch{'s' * (last['epoch'] > 1)} in {_duration(seconds)}"
    text += _trained_on(provenance(folder).get("trained_on"))
    best = history.get("best")
    if best:
        metric = METRICS[best["metric"].removeprefix("val_")]
        value = f"{best['value']:.4f}"
        if metric.of == DETECTION:
            value = f"{metric.number(best['value'])}{' %' * metric.percent}"
        text += f" Best validation {metric.title} in epoch {best['epoch']}: {value}."
    return html.section("Training", html.paragraph(text), show(folder, figures))


def _trained_on(found: Mapping | None) -> str:
    """What the list of a training held, by its record."""
    if found is None:
        return "."
    kinds = ", ".join(f"{count} {label}" for label, count in found.get("by_class", {}).items())
    kinds = kinds or f"{found['classes']} classes"
    hours = f", {found['hours']:.3g} h" if "hours" in found else ""
    return f", from a list of {found['utterances']} utterances{hours}: {kinds}."


def layers(folder: ExperimentFolder) -> str:
    weights = records.layer_weights(folder)
    if weights is None:
        return html.section("Layers", absent(f"there is no {NAMES.average}"))
    if not weights:
        return html.section("Layers", absent("the back-end does not weight layers"))
    caption = "What the back-end takes of each layer of the front-end, against an even share"
    return html.section("Layers", show(folder, [Figure("layers", caption, training_plots.layer_weight_bars(weights))]))


def configuration(folder: ExperimentFolder) -> str:
    if not folder.config.is_file():
        return html.section("Configuration", absent(f"there is no {NAMES.config}"))
    lines = read_lines(folder.config)
    return html.section("Configuration", html.folded(f"{NAMES.config}, {len(lines)} lines",
                                                     html.preformatted("\n".join(lines))))


def environment(seed: int | None = None) -> str:
    found = records.environment() | ({} if seed is None else {"seed": str(seed)})
    rows = [Row([name, value]) for name, value in found.items()]
    table = html.table(["", ""], rows, "text")
    return html.section("Environment", html.paragraph("When this report was made:", "note"), table)


def show(folder: ExperimentFolder | None, figures: Iterable[Figure]) -> str:
    """Embed each figure; with a folder it is written there in every form too."""
    figures = list(figures)
    if folder is not None:
        for figure in figures:
            figure.save(folder)
    return html.figures(figures)


def absent(why: str) -> str:
    return html.paragraph(f"Left out: {why}.", "note")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
