"""Kaldi-style two-column tables: a key, a blank, the rest of the line."""

import contextlib
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write, require_regular
from wedefense.utils.visible import visible

_CONTROL = re.compile("[\x00-\x08\x0e-\x1b\x7f]")


@contextlib.contextmanager
def _told(path: Path):
    """Why a text file cannot be read, in words that name it."""
    try:
        require_regular(path)
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a UTF-8 text file ({error.reason} at byte {error.start}); give another, or "
                         "write it in UTF-8 (and rename files that it names)") from None
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a ValueError of a name with a NUL
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot be read ({reason})") from None


def _refuse_control(path: Path, line: int, character: str) -> None:
    raise InputError(f"{path}:{line}: a control character {visible(character)}, which no table and no settings hold; "
                     f"is this a text file?")


def control_in(text: str) -> str:
    """The first control character of a text, as it is shown; empty without one."""
    found = _CONTROL.search(text)
    return visible(found[0]) if found else ""


def read_lines(path: str | os.PathLike) -> list[str]:
    """The lines of a text file, or an error that names it."""
    path = Path(path)
    with _told(path):
        text = path.read_text(encoding="utf-8-sig")
    if found := _CONTROL.search(text):
        _refuse_control(path, text.count(chr(10), 0, found.start()) + 1, found[0])
    return text.splitlines()


def each_line(path: str | os.PathLike) -> Iterator[str]:
    """The same one after the other, for files of millions of lines."""
    path = Path(path)
    with _told(path), open(path, encoding="utf-8-sig") as stream:
        for number, line in enumerate(stream, 1):
            if found := _CONTROL.search(line):
                _refuse_control(path, number, found[0])
            yield line.rstrip("\n")


def each_row(path: str | os.PathLike) -> Iterator[tuple[str, str]]:
    """(key, value) of each line of a table; a lone key is an error."""
    for number, line in enumerate(each_line(path), 1):
        fields = line.split(maxsplit=1)
        if len(fields) == 2:
            yield fields[0], fields[1].rstrip()
        elif fields:
            raise InputError(f"{path}:{number}: '{fields[0]}' has no value (expected: KEY VALUE)")


def values_for(path: str | os.PathLike, keys: Iterable[str]) -> list[str | None]:
    """The value of each key, None where the table has none. What stands in the order of the keys takes no memory."""
    rows = each_row(path)
    passed: dict[str, str] = {}
    words: dict[str, str] = {}  # equal values are one string
    found: list[str | None] = []
    for key in keys:
        value = passed.pop(key, None)
        while value is None and (row := next(rows, None)) is not None:
            if row[0] == key:
                value = row[1]
            elif row[0] in passed:
                raise InputError(f"{path}: duplicate key '{row[0]}'; keep one line for it")
            else:
                passed[row[0]] = row[1]
        found.append(None if value is None else words.setdefault(value, value))
    return found


def read_table(path: str | os.PathLike) -> dict[str, str]:
    """key -> value, in file order; an empty table, a lone key or a key that comes twice is an error."""
    table: dict[str, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        fields = line.strip().split(maxsplit=1)
        if len(fields) < 2:
            raise InputError(f"{path}:{number}: '{fields[0]}' has no value (expected: KEY VALUE)")
        key, value = fields
        if key in table:
            raise InputError(f"{path}:{number}: duplicate key '{key}'; keep one line for it")
        table[key] = value
    if not table:
        raise InputError(f"{path}: the table is empty")
    return table


def read_seconds(path: str | os.PathLike) -> dict[str, float]:
    """key -> seconds, as in `utt2dur`."""
    seconds = {}
    for key, value in read_table(path).items():
        try:
            seconds[key] = float(value)
        except ValueError:
            seconds[key] = math.nan
        if not 0 < seconds[key] < math.inf:
            raise InputError(f"{path}: '{value}' of '{key}' is no number of seconds (expected: KEY SECONDS)")
    return seconds


def write_table(path: str | os.PathLike, table: Mapping[str, object]) -> None:
    with atomic_write(path, "w") as stream:
        stream.writelines(f"{key} {value}\n" for key, value in table.items())


def count_text(counts: Mapping[str, int] | Counter) -> str:
    """`bonafide 80, spoof 160`, in the order of the names."""
    return ", ".join(f"{name} {counts[name]}" for name in sorted(counts))


def plural(count: int, noun: str) -> str:
    """
    >>> plural(1, "class"), plural(2, "class"), plural(0, "trial")
    ('1 class', '2 classes', '0 trials')
    """
    return f"{count} {noun}{'es' if noun.endswith('s') else 's'}" if count != 1 else f"1 {noun}"


def first_few(names, limit: int = 3) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    tail = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(visible(str(name)) for name in names[:limit]) + tail
