"""What the scored sets consist of, in one table."""

from collections.abc import Sequence

import numpy as np

from wedefense.report import html
from wedefense.report.html import Row
from wedefense.scoring.results import DURATION, ScoredSet


def data_summary(sets: Sequence[ScoredSet], classes: Sequence[str]) -> str:
    """Of each set: trials, values of each condition, hours, durations; empty where only trials are known."""
    titles = list(dict.fromkeys(title for scored in sets for title in scored.meta if title != DURATION))
    if not titles and all(scored.seconds is None for scored in sets):
        return ""
    rows = []
    for scored in sets:
        real, seconds = scored.trials.is_bonafide, scored.seconds
        values = [str(len(set(np.array(scored.meta[title])[~real]) if title == "attack" else set(scored.meta[title])))
                  if title in scored.meta else "" for title in titles]
        lasting = ["", ""] if seconds is None else [
            f"{seconds.sum() / 3600:.3g}", f"{np.median(seconds):.2f}\n{seconds.min():.2f}–{seconds.max():.2f}"]
        left = str(scored.left_out["count"]) if scored.left_out else ""
        rows.append([scored.name, str(int(real.sum())), str(int((~real).sum())), *values, *lasting, left])
    header = ["set", *classes, *titles, "hours", "median s", "not read"]
    shown = [i for i in range(len(header)) if any(row[i] for row in rows)]
    return html.table([header[i] for i in shown], [Row([row[i] for i in shown]) for row in rows])
