"""Tables from the names users type to the classes behind them, imported on demand.

Wherever a config names a component, the name may be one of the table, one that an installed plug-in declares (an entry
point), or a class itself, "package.module:Class". The options of the last two are the class attribute `Options`.
"""

import contextlib
import dataclasses
import importlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from wedefense.utils.errors import InputError, did_you_mean

KEYWORDS = dict[str, object]  # options that nobody checks here
_REFUSE_UNDECLARED: ContextVar[bool] = ContextVar("refuse_undeclared", default=False)
_TO_SCORE: ContextVar[bool] = ContextVar("to_score", default=False)


class Untrusted(InputError):
    """A config that came with a model names something else than known parts and files of its folder."""

    def __init__(self, what: str):
        super().__init__(f"{what}; a config that came with a model names known parts and files of its folder alone; if "
                         "it is your own, say so with --trust (trust=True)")


@contextlib.contextmanager
def foreign_code(allowed: bool) -> Iterator[None]:
    """Whether names may be classes that neither a table nor an installed plug-in declares.

    A config that came with a model must not choose what is imported here; the user's own may.
    """
    token = _REFUSE_UNDECLARED.set(not allowed)
    try:
        yield
    finally:
        _REFUSE_UNDECLARED.reset(token)


@contextlib.contextmanager
def to_score(wanted: bool) -> Iterator[None]:
    """Whether a config is read to score with its weights alone: code that only trains is not asked for."""
    token = _TO_SCORE.set(wanted)
    try:
        yield
    finally:
        _TO_SCORE.reset(token)


@dataclass(frozen=True)
class Row:
    target: str    # "package.module:Class"
    options: type  # the frozen dataclass of its options, which must be importable without torch; or KEYWORDS


AnyRow = TypeVar("AnyRow", bound=Row)


class Registry(Generic[AnyRow]):
    """`Registry("back-end", {"SSL_BACKEND_MHFA": Row("wedefense.models.mhfa:MHFA", MHFAOptions)}, "backends")`

    `group`: of the entry points, after `wedefense.`; `base`: what the options of all derive from, if anything; `row`:
    the kind of row, whose further fields a class from elsewhere gives as the dict `traits`; `scores`: whether weights
    are of no use without it; `aside`: what else is taken for a name, to end the error about an unknown one.
    """

    def __init__(self, kind: str, rows: Mapping[str, AnyRow], group: str, base: type = object,
                 row: type[AnyRow] = Row, scores: bool = False, aside: str = ""):  # type: ignore[assignment]
        self.kind, self.group, self._base, self._row, self.scores = kind, f"wedefense.{group}", base, row, scores
        self._aside = aside
        self._rows = dict(rows)

    def names(self) -> list[str]:
        """Those of the table; plug-ins have others."""
        return sorted(self._rows)

    def rows(self) -> dict[str, AnyRow]:
        """Every row of the table by its name, in its order."""
        return dict(self._rows)

    def plugins(self) -> dict[str, EntryPoint]:
        """What installed distributions declare, by name; a name of the table stays with the table."""
        found: dict[str, EntryPoint] = {}
        for point in entry_points(group=self.group):
            if point.name in found and point.value != found[point.name].value:
                raise InputError(f"two installed packages declare a {self.kind} '{point.name}': "
                                 f"{found[point.name].value} and {point.value}; uninstall one, or name the class")
            if point.name not in self._rows:
                found[point.name] = point
        return found

    def __contains__(self, name: str) -> bool:
        """Whether it is a name, or a class from elsewhere."""
        return name in self._rows or ":" in name or name in self.plugins()

    def row(self, name: str) -> AnyRow:
        """What there is to know of a component; an unknown name is an `InputError`."""
        if name in self._rows:
            return self._rows[name]
        plugins = self.plugins()
        if name in plugins:
            return self._foreign(plugins[name].value)
        if ":" not in name:
            own = f"; a class of your own is named as package.module:{name.rpartition('.')[2]}"
            hint = own if "." in name else self._aside
            hint += "; or install the package that declares it" if _TO_SCORE.get() else ""
            raise InputError(f"unknown {self.kind} '{name}'{did_you_mean(name, (*self._rows, *plugins))}{hint}")
        if _REFUSE_UNDECLARED.get() and name not in {point.value for point in plugins.values()}:
            raise Untrusted(f"'{name}' names code; no installed plug-in declares it ({self.group})")
        return self._foreign(name)

    def options(self, name: str) -> type:
        return KEYWORDS if self.is_idle(name) else self.row(name).options

    def is_idle(self, name: str) -> bool:
        """Whether the code of a component is not asked for (see `to_score`)."""
        return _TO_SCORE.get() and not self.scores and name not in self._rows

    def load(self, name: str) -> type[Any]:
        """Import the module and return the class."""
        return imported(self.row(name).target)

    def row_of(self, cls: type) -> AnyRow:
        """The row of a class, of the table or from elsewhere."""
        target = f"{cls.__module__}:{cls.__qualname__}"
        return next((row for row in self._rows.values() if row.target == target), None) or self._row_from(cls, target)

    def _foreign(self, target: str) -> AnyRow:
        return self._row_from(found(target, self.kind), target)

    def _row_from(self, cls: type, target: str) -> AnyRow:
        options = getattr(cls, "Options", None)
        if not (isinstance(options, type) and dataclasses.is_dataclass(options) and issubclass(options, self._base)):
            base = "" if self._base is object else f", derived from {self._base.__module__}.{self._base.__name__}"
            raise InputError(f"{self.kind} '{target}' needs the class attribute Options, a frozen dataclass of its "
                             f"options{base}")
        known = {field.name for field in dataclasses.fields(self._row)} - {"target", "options"}
        traits = getattr(cls, "traits", {})
        for name in traits:
            if name not in known:
                raise InputError(f"{self.kind} '{target}': unknown trait '{name}'{did_you_mean(name, known)}")
        return self._row(target, options, **traits)


def imported(target: str) -> type[Any]:
    """The class (or function) that "package.module:Class" names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


@cache
def found(target: str, kind: str) -> type:
    """As `imported`, for a name that somebody typed."""
    module, _, attribute = target.partition(":")
    try:
        content = vars(importlib.import_module(module))
    except ImportError as error:
        if error.name and f"{module}.".startswith(f"{error.name}.") and isinstance(error, ModuleNotFoundError):
            raise InputError(f"{kind} '{target}': there is no module '{error.name}'; install its package, or name the "
                             "folder that holds it in PYTHONPATH") from None
        raise InputError(f"{kind} '{target}': its module cannot be imported ({error}); install what it needs, in the "
                         "version that it was written for") from error
    except ValueError:  # an empty name
        raise InputError(f"{kind} '{target}': must be package.module:Class") from None
    if attribute not in content:
        classes = [name for name, value in content.items() if isinstance(value, type) and value.__module__ == module]
        raise InputError(f"{kind} '{target}': no '{attribute}' in {content.get('__file__', module)}"
                         f"{did_you_mean(attribute, classes)}")
    return content[attribute]
