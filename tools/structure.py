"""How the house stands: packages and floors, imports that run upward, what is long, what adding a part touches.

    python tools/structure.py [--root CHECKOUT]

What adding a part would touch is counted on the parts that are there: the files of wedefense/ that name one of them,
by its registered name, its class or its options (of a metric: its field of the result; of a reader of a corpus: the
word, in wedefense/ and tools/). A name that is a common word is counted too often: look at the
part that fewest files name, and at the median.
"""

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median_low
from typing import NamedTuple

# Highest first, each package alone on its floor; a file imports only from its own or lower ones.
FLOORS = ("bin", "cli", "api", "train", "detect", "report", "scoring", "experiment", "models", "pruning", "data",
          "frontend", "config", "metrics", "gpu", "utils")
MOST_FILE_LINES, MOST_FUNCTION_LINES = 300, 60


class Source(NamedTuple):
    """A file of the package, read once."""

    path: Path    # from the root
    module: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        return (self.module.split(".") + [""])[1]


class Part(NamedTuple):
    """Something that others may add one more of, and the words by which files name it."""

    kind: str
    name: str
    strings: set[str]  # its name where a string is just that
    words: set[str]    # identifiers of any use: attributes, keywords, fields
    classes: set[str]  # defined or imported


def read_sources(root: Path) -> list[Source]:
    found = []
    for path in sorted((root / "wedefense").rglob("*.py")):
        text, own = path.read_text(encoding="utf-8"), path.relative_to(root)
        parts = own.with_suffix("").parts
        found.append(Source(own, ".".join(parts[:-1] if parts[-1] == "__init__" else parts), text, ast.parse(text)))
    return found


def floor(module: str) -> int | None:
    """0 is the highest; `wedefense` itself lies below all, and None is what has no floor."""
    top, *inner = module.split(".")
    if top != "wedefense":
        return None
    return len(FLOORS) if not inner else FLOORS.index(inner[0]) if inner[0] in FLOORS else None


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, anywhere in a file; `from wedefense import train` is one of the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, node.module
            if node.module == "wedefense":
                yield from ((node.lineno, f"wedefense.{alias.name}") for alias in node.names if alias.name in FLOORS)


def upward(sources: list[Source]) -> list[str]:
    """`path:line imports module` of every import from a higher floor."""
    found = []
    for source in sources:
        own = floor(source.module)
        for line, module in imports(source.tree):
            target = floor(module)
            if own is not None and target is not None and target < own:
                found.append(f"{source.path}:{line} imports {module}")
    return found


def packages(sources: list[Source]) -> Iterator[str]:
    """A line for each package from the highest down: what it holds and what it imports."""
    names = {source.package for source in sources} - {""}
    yield f"{'floor':<6}{'package':<12}{'files':>6}{'lines':>7}  imports"
    for name in sorted(names, key=lambda name: (floor(f"wedefense.{name}") is None, floor(f"wedefense.{name}"))):
        own = [source for source in sources if source.package == name]
        used = {module.split(".")[1] for source in own for _, module in imports(source.tree)
                if module.startswith("wedefense.")} - {name}
        used = sorted(used, key=lambda other: FLOORS.index(other) if other in FLOORS else -1)
        number = floor(f"wedefense.{name}")
        yield (f"{'none' if number is None else number:<6}{name:<12}{len(own):>6}"
               f"{sum(len(source.text.splitlines()) for source in own):>7}  {' '.join(used)}")


def long_files(sources: list[Source]) -> list[str]:
    counted = [(len(source.text.splitlines()), source.path) for source in sources]
    return [f"{lines:>4}  {path}" for lines, path in sorted(counted, reverse=True) if lines > MOST_FILE_LINES]


def long_functions(sources: list[Source]) -> list[str]:
    found = [(node.end_lineno - node.lineno + 1, f"{source.path}:{node.lineno} {node.name}") for source in sources
             for node in ast.walk(source.tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return [f"{lines:>4}  {place}" for lines, place in sorted(found, reverse=True) if lines > MOST_FUNCTION_LINES]


def registered(sources: list[Source]) -> Iterator[Part]:
    """The rows of every `Registry(kind, {name: Row("module:Class", Options)})`."""
    for source in sources:
        constants = {node.targets[0].id: node.value for node in source.tree.body
                     if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}
        for node in ast.walk(source.tree):
            if (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Registry" and len(node.args) > 1
                    and isinstance(node.args[1], ast.Dict)):
                for key, row in zip(node.args[1].keys, node.args[1].values):
                    row = constants.get(getattr(row, "id", None), row)
                    if isinstance(key, ast.Constant) and isinstance(row, ast.Call):
                        yield _row(node.args[0].value, key.value, row)


def _row(kind: str, name: str, row: ast.Call) -> Part:
    target = row.args[0].value if row.args and isinstance(row.args[0], ast.Constant) else ""
    classes = {target.rpartition(":")[2]} | {option.id for option in row.args[1:] if isinstance(option, ast.Name)}
    return Part(kind, name, {name}, {f"{name}_args"}, classes)


def others(sources: list[Source], root: Path) -> Iterator[Part]:
    """What stands in no registry: metrics, readers of corpora."""
    for node in (node for source in sources for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)):
        fields = [line.target.id for line in node.body if isinstance(line, ast.AnnAssign)]
        if node.name == "DetectionResult":
            yield from (Part("metric", name, {name}, {name}, set()) for name in fields
                        if not name.startswith("n_") and not name.endswith("_threshold"))
    own = {path.stem for path in (root / "tools" / "prepare").glob("*.py")} - {"corpus", "table"}
    rows = [name for path in (root / "tools").glob("layouts.yaml")
            for name in re.findall(r"^(\w+):", path.read_text(encoding="utf-8"), re.MULTILINE)]
    yield from (Part("reader", name, set(), set(), set()) for name in sorted({*own, *rows}))


def naming(part: Part, sources: list[Source], root: Path) -> list[str]:
    """The files that name a part."""
    if part.kind == "reader":
        paths = [path for folder in ("wedefense", "tools") for path in sorted((root / folder).rglob("*"))
                 if path.suffix in (".py", ".yaml", ".sh")]
        word = re.compile(rf"\b{part.name}\b")
        return [str(path.relative_to(root)) for path in paths
                if path.stem == part.name or word.search(path.read_text(encoding="utf-8"))]
    return [str(source.path.relative_to("wedefense")) for source in sources
            if any(map(lambda node: _names(node, part), ast.walk(source.tree)))]


def _names(node: ast.AST, part: Part) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and node.value in part.strings
    if isinstance(node, ast.ImportFrom):
        ours = (node.module or "").startswith("wedefense")
        return ours and any(alias.name in part.classes for alias in node.names)
    if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name in part.classes:
        return True
    return any(getattr(node, field, None) in part.words for field in ("id", "attr", "arg"))


def additions(sources: list[Source], root: Path) -> Iterator[str]:
    """Of each kind how many files name a part, and the parts that fewest and most do."""
    yield f"{'kind':<19}{'parts':>6}{'fewest':>8}{'median':>8}{'most':>6}"
    kinds: dict[str, list[tuple[list[str], str]]] = {}
    for part in (*registered(sources), *others(sources, root)):
        kinds.setdefault(part.kind, []).append((naming(part, sources, root), part.name))
    for kind, found in sorted(kinds.items()):
        found.sort(key=lambda item: len(item[0]))
        counts = [len(paths) for paths, _ in found]
        yield f"{kind:<19}{len(found):>6}{counts[0]:>8}{median_low(counts):>8}{counts[-1]:>6}"
        for paths, name in dict.fromkeys([(tuple(found[0][0]), found[0][1]), (tuple(found[-1][0]), found[-1][1])]):
            yield f"  {name}: {' '.join(paths)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the checkout to look at")
    root = parser.parse_args().root
    sources = read_sources(root)
    print("\n".join(packages(sources)))
    for title, found in (("imports that run upward", upward(sources)),
                         (f"files over {MOST_FILE_LINES} lines", long_files(sources)),
                         (f"functions over {MOST_FUNCTION_LINES} lines", long_functions(sources))):
        print("\n".join([f"\n{title}: {len(found)}", *(f"  {line}" for line in found)]))
    print("\nfiles that name one part of a kind, which is what adding another would touch:")
    print("\n".join(additions(sources, root)))


if __name__ == "__main__":
    main()
