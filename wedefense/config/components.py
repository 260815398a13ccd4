"""All that a config may name, kind by kind, and where it comes from."""

import inspect
import sys
from collections.abc import Iterator
from functools import reduce
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NamedTuple

from wedefense.config.augment import STEPS
from wedefense.config.frontend import FRONTENDS
from wedefense.config.heads import HEADS, LOSSES
from wedefense.config.models import BACKENDS
from wedefense.config.modes import MODES
from wedefense.config.registry import KEYWORDS, Registry, imported
from wedefense.config.schema import Config
from wedefense.config.train import OPTIMIZERS, SCHEDULERS
from wedefense.utils.errors import InputError

# Where a config names one, and the table.
TABLES: dict[str, Registry] = {
    "dataset_args.frontend": FRONTENDS, "model": BACKENDS, "projection_args.project_type": HEADS, "loss": LOSSES,
    "dataset_args.augment, type": STEPS, "mode": MODES, "optimizer": OPTIMIZERS,
    "scheduler": SCHEDULERS}
READERS = "wedefense.corpora"  # entry points of the readers of corpora, which recipes name


class Component(NamedTuple):
    """A line of `wedefense list`."""

    name: str
    says: str    # the first line of its docstring
    origin: str  # where it comes from


def components(table: Registry) -> Iterator[Component]:
    """Those of the table, then those of plug-ins; one that cannot be imported says why."""
    for name, row in table.rows().items():
        says = "" if row.options is KEYWORDS else first_line(row.options)
        yield Component(name, says or _says(imported(row.target)), "wedefense")
    for name, point in table.plugins().items():
        try:
            yield Component(name, _says(imported(table.row(name).target)), origin(point))
        except (InputError, ImportError) as error:
            yield Component(name, f"cannot be used: {error}", origin(point))


def from_elsewhere(config: Config) -> Iterator[tuple[str, str]]:
    """What scores by a config and is none of WeDefense: kind and name, and the distribution that declares it if any."""
    for key, table in TABLES.items():
        name: Any = reduce(getattr, key.split("."), config) if table.scores else None
        if table.scores and name not in table.names():
            found = next((p for p in table.plugins().values() if name in (p.name, p.value)), None)
            yield f"{table.kind} `{name}`", origin(found) if found else ""


def readers() -> dict[str, EntryPoint]:
    """Readers of corpora that plug-ins declare, by name."""
    return {point.name: point for point in entry_points(group=READERS)}


def origin(point: EntryPoint) -> str:
    """The distribution that declares an entry point."""
    return f"{point.dist.name} {point.dist.version} ({point.value})" if point.dist else point.value


def _says(cls: type) -> str:
    return first_line(cls) or first_line(sys.modules[cls.__module__])


def first_line(thing: Any) -> str:
    """The first sentence of its own docstring: not of one that a class inherits, or that a dataclass writes itself."""
    text = inspect.cleandoc(vars(thing).get("__doc__") or "")
    return "" if text.startswith(f"{thing.__name__}(") else " ".join(text.split(".\n")[0].split()).rstrip(".")
