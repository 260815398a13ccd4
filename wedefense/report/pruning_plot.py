"""A picture of what was cut."""

from wedefense.report.style import BONAFIDE, INK, PALE, PAPER, SIZE, SMALL, described

TITLES = {"conv": "convolution channels", "head": "attention heads", "interm": "feed-forward units"}


def kept_figure(before: dict[str, list[int]], after: dict[str, list[int]]):
    """A panel for each kind of unit, a bar for each layer: as long as the share that is left, labelled with counts.

    Returns a matplotlib figure.
    """
    from matplotlib.figure import Figure

    most = max(map(len, before.values()))
    figure = Figure(figsize=(SIZE[0], 0.8 + 0.23 * most), layout="constrained")
    panels = figure.subplots(1, len(before), squeeze=False)[0]
    for axes, (unit, counts) in zip(panels, before.items()):
        layers = range(len(counts))
        shares = [left / count if count else 0 for left, count in zip(after[unit], counts)]
        axes.barh(layers, [1] * len(counts), 0.8, color=PALE)
        axes.barh(layers, shares, 0.8, color=BONAFIDE)
        for layer, left, count, share in zip(layers, after[unit], counts, shares):
            inside = share > 0.5
            axes.text(share - 0.03 if inside else share + 0.03, layer, f"{left} of {count}", va="center", fontsize=7,
                      ha="right" if inside else "left", color=PAPER if inside else INK)
        axes.set_xlim(0, 1)
        axes.set_ylim(most - 0.5, -0.5)  # the first layer on top
        axes.set_xticks([])
        axes.set_yticks(layers, layers, fontsize=7)
        axes.tick_params(length=0)
        axes.set_title(TITLES[unit], fontsize=SMALL, loc="left")
        axes.spines[:].set_visible(False)
    panels[0].set_ylabel("layer", fontsize=SMALL)
    said = "; ".join(f"{sum(after[unit])} of {sum(counts)} {TITLES[unit]}" for unit, counts in before.items())
    return described(figure, f"What is left of each layer, as bars with counts: {said}.")
