"""Errors meant for the person at the keyboard: they name what is wrong and how to mend it."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave (a file, a key, a value) cannot be used; the message names it and the cure."""


class OptionError(InputError):
    """A value of one option is impossible; the config loader puts the file and the section before it."""

    def __init__(self, key: str, message: str):
        super().__init__(f"{key}: {message}")
        self.key = key
        self.message = message


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'? (known: ...)`, to end a message about an unknown name."""
    known = sorted(known)
    lowered = {k.lower(): k for k in known}
    typed = str(name).lower()
    close = difflib.get_close_matches(typed, lowered, n=3, cutoff=0.5)
    close.sort(key=lambda match: sorted(match) != sorted(typed))  # swapped letters are the likeliest slip
    hint = f", did you mean '{lowered[close[0]]}'?" if close else ""
    return f"{hint} (known: {', '.join(known)})"
