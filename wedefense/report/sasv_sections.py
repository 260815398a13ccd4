"""The sections of a page about spoofing-aware speaker verification."""

from collections.abc import Mapping
from typing import Any

from wedefense.metrics.catalogue import METRICS
from wedefense.metrics.sasv_keys import NONTARGET, SPOOF, TARGET, SasvTrials
from wedefense.report import html, score_plots, sections
from wedefense.report.html import Figure, Row

_KIND_NAMES = {NONTARGET: "nontarget", SPOOF: "spoof"}


def page_sections(trials: SasvTrials, result: Mapping) -> list[str]:
    keys = [key for key in METRICS if key in result]
    header = [METRICS[key].heading for key in keys]
    amounts = "{n_target} target, {n_nontarget} nontarget, {n_spoof} spoof".format
    table = html.table(["trials", *header], [Row([f"all\n{amounts(**result)}", *_numbers(result, keys)])])
    parts = [html.section("Results", table, html.paragraph(_note(result), "note")), _curves(trials, result)]
    tables = []
    for title, found in result.get("breakdown", {}).items():
        rows = [Row([f"{name}\n{amounts(**values)}", *_numbers(values, keys)])
                for name, values in found["values"].items()]
        if len(rows) > 1:
            rows.append(Row(["mean", *_numbers(found["macro"], keys)], "rule"))
            rows.append(Row([f"worst: {found['worst']}", *_numbers(found["values"][found["worst"]], keys)]))
        if rows:
            tables.append(html.folded(f"by {title} ({len(found['values'])})", html.table([title, *header], rows), True))
    return [*parts, html.section("By condition", *tables) if tables else ""]


def _numbers(result: Mapping, keys: list[str]) -> list[str]:
    return [METRICS[key].number(result[key]) if key in result else "" for key in keys]


def _note(result: Mapping) -> str:
    costs, asv = result["costs"], result["asv"]
    return ("A higher score means more target (ASV, SASV) or more bona fide (CM). Priors: target "
            f"{costs['p_target']:g}, nontarget {costs['p_nontarget']:g}, spoof {costs['p_spoof']:g}; costs: miss "
            f"{costs['c_miss']:g}, accepted nontarget {costs['c_fa']:g}, accepted spoof {costs['c_fa_spoof']:g}. The "
            f"ASV system of the t-DCF misses {100 * asv['miss']:.3g} % and accepts {100 * asv['fa_nontarget']:.3g} % "
            f"of the nontargets and {100 * asv['fa_spoof']:.3g} % of the spoofs.")


def _curves(trials: SasvTrials, result: Mapping) -> str:
    """A DET curve for each kind of score, and how it spreads over the kinds of trials."""
    target, spoof = trials.kinds == TARGET, trials.kinds == SPOOF
    # name: (scores, who should score high, who should not, their names, key of each threshold)
    systems: dict[str, tuple[Any, Any, Any, tuple[str, str], dict[str, str]]] = {
        "CM": (trials.cm, ~spoof, spoof, ("bona fide", "spoof"), {"min t-DCF": "min_tdcf", "t-EER": "t_eer_cm"}),
        "ASV": (trials.asv, target, trials.kinds == NONTARGET, ("target", "nontarget"), {"t-EER": "t_eer_asv"}),
        "SASV": (trials.sasv, target, ~target, ("target", "nontarget or spoof"), {"a-DCF": "a_dcf"}),
    }
    systems = {name: system for name, system in systems.items() if system[0] is not None}
    curves = {f"{name}, {classes[0]} against {classes[1]}": (scores[high], scores[low])
              for name, (scores, high, low, classes, _) in systems.items()}
    drawn = [sections.det_figure(curves, None, ("trials to accept", "trials to reject"))]
    for name, (scores, high, _, classes, thresholds) in systems.items():
        rest = ~high
        kinds = None if name == "CM" else [_KIND_NAMES[kind] for kind in trials.kinds[rest].tolist()]
        at = {title: result[f"{key}_threshold"] for title, key in thresholds.items() if f"{key}_threshold" in result}
        names = classes if name != "ASV" else ("target", "nontarget or spoof")
        histogram = score_plots.score_histogram(scores[high], scores[rest], kinds, at, names)
        drawn.append(Figure(f"{name}_histogram", f"{name} scores", histogram))
    return html.section("Scores", sections.show(None, drawn))
