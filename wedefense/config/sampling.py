"""How utterances are drawn in training: `dataset_args.sampling`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wedefense.config.tree import Leaf
from wedefense.config.typed import build
from wedefense.utils.errors import InputError, OptionError


@dataclass(frozen=True)
class Level:
    """Shares of the values of a column: equal ones, those of `weights`, or sizes to the power of 1 / `temperature`."""

    column: str                         # label, corpus, attack, speaker ...: a table utt2<column> beside the list
    weights: dict[str, float] | None = None
    temperature: float | None = None    # 1: as the sizes are; the higher, the nearer to equal shares

    def __post_init__(self):
        if not self.column.isidentifier():
            raise OptionError("column", f"names a table utt2<column>, such as corpus or label, got '{self.column}'")
        if self.weights is not None and self.temperature is not None:
            raise OptionError("temperature", "does not go with weights; leave one of them out")
        if self.temperature is not None and not self.temperature > 0:
            raise OptionError("temperature", f"must be above 0, got {self.temperature:g}")
        for name, weight in (self.weights or {}).items():
            if not (weight >= 0 and math.isfinite(weight)):
                raise OptionError("weights", f"of '{name}' must be 0 or more, got {weight}")
        if self.weights is not None and not sum(self.weights.values()):
            raise OptionError("weights", "are all 0; nothing would be drawn")


def table_of(column: str) -> str:
    """The table beside the list that a column stands in.

    >>> table_of("corpus"), table_of("speaker")
    ('utt2corpus', 'utt2spk')
    """
    return "utt2spk" if column == "speaker" else f"utt2{column}"


def parse_levels(levels: Sequence, key: str = "sampling") -> tuple[Level, ...]:
    """Typed levels from `[{column: corpus, weights: {a: 3, b: 1}}, {column: label}]`, each within the one before.

    >>> parse_levels([{"column": "label"}])[0].column
    'label'
    """
    made = []
    for number, values in enumerate(levels, 1):
        place = f"level {number}"
        if not isinstance(values, Mapping):
            raise OptionError(key, f"{place}: must be a mapping like {{column: label}}, got {values!r}")
        try:
            made.append(build(Level, {name: Leaf(value, place) for name, value in values.items()}, source=place))
        except InputError as error:
            raise OptionError(key, str(error)) from None
    repeated = [level.column for number, level in enumerate(made)
                if level.column in [other.column for other in made[:number]]]
    if repeated:
        raise OptionError(key, f"names the column '{repeated[0]}' twice")
    return tuple(made)
