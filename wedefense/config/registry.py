"""Tables from the names users type to the classes behind them, imported on demand."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass

from wedefense.utils.errors import InputError, did_you_mean


@dataclass(frozen=True)
class Row:
    target: str    # "package.module:Class"
    options: type  # the frozen dataclass of its options; it must be importable without torch


class Registry:
    """`Registry("back-end", {"SSL_BACKEND_MHFA": Row("wedefense.models.mhfa:MHFA", MHFAOptions)})`"""

    def __init__(self, kind: str, rows: Mapping[str, Row]):
        self.kind = kind
        self._rows = dict(rows)

    def names(self) -> list[str]:
        return sorted(self._rows)

    def _row(self, name: str) -> Row:
        if name not in self._rows:
            raise InputError(f"unknown {self.kind} '{name}'{did_you_mean(name, self._rows)}")
        return self._rows[name]

    def options(self, name: str) -> type:
        return self._row(name).options

    def load(self, name: str) -> type:
        """Import the module and return the class."""
        module, _, attribute = self._row(name).target.partition(":")
        return getattr(importlib.import_module(module), attribute)
