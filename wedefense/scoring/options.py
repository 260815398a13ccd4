"""Options of the scoring stages."""

from dataclasses import dataclass

from wedefense.utils.checks import at_least
from wedefense.utils.errors import OptionError


@dataclass(frozen=True)
class CalibrationOptions:
    prior: float = 0.5  # of bona fide: where on the score axis the fit tries hardest
    ridge: float = 1e-7  # keeps the fit finite when the classes do not overlap

    def __post_init__(self):
        at_least(self, 0, "ridge")
        if not 0 < self.prior < 1:
            raise OptionError("prior", f"must lie between 0 and 1, both excluded, got {self.prior}")
