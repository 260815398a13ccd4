"""Tables from the names users type to the classes behind them, imported on demand."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from wedefense.utils.errors import InputError, did_you_mean


@dataclass(frozen=True)
class Row:
    target: str    # "package.module:Class"
    options: type  # the frozen dataclass of its options; it must be importable without torch


AnyRow = TypeVar("AnyRow", bound=Row)


class Registry(Generic[AnyRow]):
    """`Registry("back-end", {"SSL_BACKEND_MHFA": Row("wedefense.models.mhfa:MHFA", MHFAOptions)})`"""

    def __init__(self, kind: str, rows: Mapping[str, AnyRow]):
        self.kind = kind
        self._rows = dict(rows)

    def names(self) -> list[str]:
        return sorted(self._rows)

    def rows(self) -> dict[str, AnyRow]:
        """Every row by its name, in the order of the table."""
        return dict(self._rows)

    def row(self, name: str) -> AnyRow:
        """What there is to know of a component; an unknown name is an `InputError`."""
        if name not in self._rows:
            raise InputError(f"unknown {self.kind} '{name}'{did_you_mean(name, self._rows)}")
        return self._rows[name]

    def options(self, name: str) -> type:
        return self.row(name).options

    def load(self, name: str) -> type:
        """Import the module and return the class."""
        return imported(self.row(name).target)


def imported(target: str) -> type:
    """The class (or function) that "package.module:Class" names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
