"""Results as aligned text."""

from collections.abc import Mapping, Sequence

from wedefense.metrics.catalogue import METRICS, ORDERED
from wedefense.utils.visible import visible

_COUNTS = {"n_bonafide": "bona fide", "n_target": "target", "n_nontarget": "nontarget", "n_spoof": "spoof"}


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned: the first to the left, the others to the right; an empty row is a blank line."""
    rows = [[visible(cell) for cell in row] for row in rows]
    full = [header, *(row for row in rows if row)]
    widths = [max(len(row[i]) for row in full) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        return "  ".join(cells).rstrip()

    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([line(header), rule, *(line(row) if row else "" for row in rows)])


def result_table(result: Mapping, rocch: bool = False) -> str:
    """An evaluation (of evaluate_detection or evaluate_sasv): pooled, interval, and each breakdown."""
    keys = [key for key in ORDERED if key in result and (rocch or METRICS[key].shown)]
    counts = [key for key in _COUNTS if key in result]
    rows = [["pooled", *_cells(result, counts, keys)]]
    if "confidence" in result:
        rows += interval_rows(result["confidence"], len(counts), keys)
    for title, parts in result.get("breakdown", {}).items():
        rows += [[], [f"by {title}", *[""] * (len(counts) + len(keys))]]
        rows += [[f"  {name}", *_cells(values, counts, keys)] for name, values in parts["values"].items()]
        if len(parts["values"]) > 1:
            blank = [""] * len(counts)
            rows.append(["  mean", *blank, *_rates(parts["macro"], keys)])
            rows.append([f"  worst: {parts['worst']}", *blank, *_rates(parts["values"][parts["worst"]], keys)])
    lines = [text_table(["", *(_COUNTS[key] for key in counts), *(METRICS[key].heading for key in keys)], rows)]
    return "\n".join([*lines, "", _thresholds(result), *_incomplete(result)])


def _cells(result: Mapping, counts: Sequence[str], keys: Sequence[str]) -> list[str]:
    return [str(result[key]) for key in counts] + _rates(result, keys)


def _rates(result: Mapping, keys: Sequence[str]) -> list[str]:
    return [METRICS[key].number(result[key]) if key in result else "" for key in keys]


def interval_rows(confidence: Mapping, counts: int, keys: Sequence[str]) -> list[list[str]]:
    """Lower ends and upper ends, one below the other, so that a line has 80 columns."""
    by = "" if confidence["by"] == "trial" else f" by {confidence['by']}"
    ends = [[METRICS[key].number(confidence[key][end]) if key in confidence else "" for key in keys] for end in (0, 1)]
    return [[name, *[""] * counts, *cells]
            for name, cells in zip((f"  {100 * confidence['level']:g} % from{by}", "       to"), ends)]


def _thresholds(result: Mapping) -> str:
    found = {key.removesuffix("_threshold"): value for key, value in result.items() if key.endswith("_threshold")}
    return "thresholds: " + ", ".join(f"{_threshold_title(key)} {value:.6g}" for key, value in found.items())


def _threshold_title(key: str) -> str:
    if key in METRICS:
        return METRICS[key].title
    metric, _, system = key.rpartition("_")  # one of the two thresholds of a metric: t_eer_cm
    return f"{METRICS[metric].title} ({system.upper()})"


def _incomplete(result: Mapping) -> list[str]:
    lines = []
    for title, parts in result.get("breakdown", {}).items():
        left = parts["incomplete"]
        if left:
            shown = ", ".join(f"{name} ({count})" for name, count in list(left.items())[:8])
            more = f" and {len(left) - 8} more" if len(left) > 8 else ""
            lines.append(f"by {title}, of one class only (trials): {shown}{more}")
    return lines
