"""A picture of what was cut."""

import os

TITLES = {"conv": "convolution channels", "head": "attention heads", "interm": "feed-forward units"}


def draw_kept(before: dict[str, list[int]], after: dict[str, list[int]], path: str | os.PathLike,
              title: str = "") -> None:
    """A row for each kind of unit, a cell for each layer: shaded by the share that is left, labelled with counts."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    columns = max(map(len, before.values()))
    figure, axes = plt.subplots(len(before), 1, figsize=(2.4 + 0.62 * columns, 0.5 + 1.15 * len(before)),
                                squeeze=False, layout="constrained")
    for axis, (unit, counts) in zip(axes[:, 0], before.items()):
        shares = [[left / count if count else 0 for left, count in zip(after[unit], counts)]]
        image = axis.imshow(shares, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        for layer, (left, count) in enumerate(zip(after[unit], counts)):
            colour = "black" if count and left / count > 0.6 else "white"
            axis.text(layer, 0, f"{left}\nof {count}", ha="center", va="center", color=colour, fontsize=7)
        axis.set_xlim(-0.5, columns - 0.5)
        axis.set_xticks(range(len(counts)), range(len(counts)), fontsize=8)
        axis.set_yticks([])
        axis.set_title(f"{TITLES[unit]}, by layer", fontsize=9, loc="left")
        axis.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes[:, 0].tolist(), label="share kept", shrink=0.8)
    if title:
        figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=120)
    plt.close(figure)
