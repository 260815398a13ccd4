"""Values and checks of options, without torch; checks are called in `__post_init__`."""

from wedefense.utils.errors import OptionError

PRECISIONS = ("auto", "float32", "tf32", "bfloat16")  # see wedefense.utils.precision


def positive(options, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and not value > 0:
            raise OptionError(name, f"must be greater than 0, got {value}")


def at_least(options, minimum, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and not value >= minimum:
            raise OptionError(name, f"must be at least {minimum}, got {value}")


def within(options, low, high, *names: str) -> None:
    """Between these, both included; NaN is not."""
    for name in names:
        value = getattr(options, name)
        if value is not None and not low <= value <= high:
            raise OptionError(name, f"must lie between {low} and {high}, got {value}")


def fraction(options, *names: str) -> None:
    for name in names:
        value = getattr(options, name)
        if value is not None and not 0 <= value <= 1:
            raise OptionError(name, f"must lie between 0 and 1, got {value}")
