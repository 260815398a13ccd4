"""Licences of what is loaded and read, and the papers to cite."""

import fnmatch
import re
from pathlib import Path

import yaml

from wedefense.config.models import BACKENDS
from wedefense.data.layouts import read_layouts
from wedefense.detect.published import MODELS as DETECTORS
from wedefense.frontend.names import CONFORMERS, WHISPERS
from wedefense.frontend.ssl.zoo import MODELS as ENCODERS

ROOT = Path(__file__).parents[2]
INTRO = """WeDefense itself is under the Apache License 2.0. A detector that you train or load also rests on a
pretrained encoder and on corpora, each with terms of its own. What is stated here is what their publishers say; their
pages decide."""
_OTHERS = "methods and metrics"  # that no table of the code names


def encoders() -> dict[str, str]:
    """Name of each pretrained encoder -> its hub id or the file that it is fetched as."""
    own = {name: model.hub_id or model.files[0] for name, model in ENCODERS.items() if not model.seed}
    return own | WHISPERS | {name: model.hub_id for name, model in CONFORMERS.items()}


def licences() -> str:
    table = yaml.safe_load(Path(__file__).with_name("licences.yaml").read_text(encoding="utf-8"))
    lines = ["# Licences", "", INTRO, "", "## Pretrained encoders", "", "| name | from | licence | said by |",
             "|---|---|---|---|"]
    for name, source in encoders().items():
        row = next(row for row in table["encoders"] if fnmatch.fnmatch(name, row["names"]))
        lines.append(f"| `{name}` | `{source}` | {row['licence']} | {row.get('source', '')} |")
    lines += ["", "Names that end in `_tiny` are seeded random weights.", "", "## Published detectors", "",
              "| name | from | licence | paper |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {f'`{model.hub_id}`' if model.hub_id else model.where} | {model.licence} | {model.paper} |"
              for name, model in DETECTORS.items()]
    lines += ["", "## Corpora", "", "| corpus | licence | page |", "|---|---|---|"]
    layouts = read_layouts(ROOT / "tools/layouts.yaml").values()
    rows = [(layout.title, layout.licence, layout.page) for layout in layouts]
    rows += [(row["title"], row["licence"], row["page"]) for row in table["corpora"]]
    for title, licence, page in sorted(rows, key=lambda row: row[0].lower()):
        lines.append(f"| {title} | {licence} | {f'<{page}>' if page.startswith('http') else page} |")
    return "\n".join(lines) + "\n"


def entries() -> dict[str, dict[str, str]]:
    """Heading of docs/references.bib -> key -> entry, a field in each line."""
    found: dict[str, dict[str, str]] = {}
    heading = ""
    for line in (ROOT / "docs/references.bib").read_text(encoding="utf-8").splitlines():
        if line.startswith("%"):
            heading = line.strip("% ")
        elif line:
            head, fields = re.fullmatch(r"(@\w+\{[\w-]+), (.+)\}", line).groups()
            broken = re.sub(r"\}, (?=\w+ = \{)", "},\n  ", fields)
            found.setdefault(heading, {})[head.partition("{")[2]] = f"{head},\n  {broken}\n}}"
    return found


def to_cite() -> dict[str, dict[str, list[str]]]:
    """Kind -> name in configs or commands, or what is used -> keys of docs/references.bib."""
    table = yaml.safe_load(Path(__file__).with_name("citations.yaml").read_text(encoding="utf-8"))
    corpora = [*read_layouts(ROOT / "tools/layouts.yaml"), "voxceleb", "iemocap", "musan", "rirs"]
    names = {"back-ends": BACKENDS.names(), "encoders": encoders(), "detectors": DETECTORS, "corpora": corpora,
             _OTHERS: table[_OTHERS]}
    found: dict[str, dict[str, list[str]]] = {}
    for kind, wanted in names.items():
        for name in wanted:
            keys = next((keys for pattern, keys in table[kind].items() if fnmatch.fnmatch(name, pattern)), None)
            assert keys is not None, f"{name}: none of the {kind} of tools/docs/citations.yaml"
            found.setdefault(kind, {})[name] = [keys] * bool(keys) if isinstance(keys, str) else keys
    return found


def citations() -> str:
    lines = ["# Citations", "", "Please cite the methods and corpora that you use. All entries as one file: "
             "[references.bib](references.bib).", ""]
    for kind, found in to_cite().items():
        together: dict[str, list[str]] = {}
        for name, keys in found.items():
            together.setdefault(", ".join(f"`{key}`" for key in keys) or "no paper that we know of", []).append(
                name if kind == _OTHERS else f"`{name}`")
        lines += [f"## For {kind}", "", "| what | cite |", "|---|---|"]
        lines += [f"| {', '.join(names)} | {keys} |" for keys, names in together.items()] + [""]
    for heading, found in entries().items():
        lines += [f"## {heading}", "", "```bibtex", "\n\n".join(found.values()), "```", ""]
    return "\n".join(lines)
