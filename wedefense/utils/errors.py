"""Errors meant for the person at the keyboard: they name what is wrong and how to mend it."""

import contextlib
import difflib
import errno
import os
import re
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
_OF_PATHS = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS)
_LISTED, _NEAREST = 100, 12  # names that are all listed; of more, as s3prl has them, the nearest
_ASKS_TOO_MUCH = re.compile("allocate|out of memory|[Oo]verflow|Storage size|shape.* too large")


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
    if not close and len(typed) > 2:
        close = sorted((k for k in lowered if typed in k), key=len)  # 'MHFA', where the name is SSL_BACKEND_MHFA
    hint = f", did you mean '{lowered[close[0]]}'?" if close else ""
    if len(known) <= _LISTED:
        return f"{hint} (known: {', '.join(known)})"
    nearest = sorted(lowered[key] for key in difflib.get_close_matches(typed, lowered, n=_NEAREST, cutoff=0))
    return f"{hint} (known: {', '.join(nearest)} and {len(known) - len(nearest)} more)"


def each_of(items: Iterable[T], make: Callable[[T], R]) -> list[R]:
    """What `make` makes of each; what is wrong is told of all of them at once."""
    made, refused = [], []
    for item in items:
        try:
            made.append(make(item))
        except InputError as error:
            refused.append(str(error))
    if refused:
        raise InputError("\n".join(dict.fromkeys(refused)))
    return made


@contextlib.contextmanager
def of_paths():
    """What the system will not do with a path, wherever it is first looked at, in words."""
    try:
        yield
    except OSError as error:
        if error.filename is None or error.errno not in _OF_PATHS:
            raise
        raise InputError(f"{os.fsdecode(error.filename)}: cannot be used as a path ({error.strerror}); give another, "
                         "or mend its permissions") from None


@contextlib.contextmanager
def blamed_on(source: object, what: str):
    """What fails while a file of somebody else is taken apart is said of the file, not of the code.

    A file may hold anything in any place; `what` says in words what it should have been.
    """
    try:
        yield
    except OptionError as error:
        raise InputError(f"{source}: {error}") from None
    except InputError:
        raise
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else "no details"
        raise InputError(f"{source}: is no {what} that can be used ({type(error).__name__}: {reason}); get it again, "
                         "or give another") from None
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, MemoryError) and not _ASKS_TOO_MUCH.search(str(error)):
            raise
        raise InputError(f"{source}: describes more than this machine holds; is it the right file?") from None
