"""Notebooks of `docs/notebooks` as pages: what they say and their code."""

import json
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs/notebooks"


def cells(path: Path) -> list[tuple[str, str]]:
    """(markdown or code, text) of each cell."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return [(cell["cell_type"], "".join(cell["source"])) for cell in content["cells"]]


def pages() -> dict[str, str]:
    """Path in the site -> Markdown."""
    return {f"notebooks/{path.stem}.md": _page(path) for path in sorted(FOLDER.glob("*.ipynb"))}


def _page(path: Path) -> str:
    (_, head), *rest = cells(path)
    blocks = [text if kind == "markdown" else f"```python\n{text}\n```" for kind, text in rest]
    return "\n\n".join([head, f"[{path.name}]({path.name}) opens in Jupyter.", *blocks]) + "\n"
