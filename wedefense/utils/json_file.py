"""JSON that comes from elsewhere, or was written here and may have been changed since."""

import json
import os

from wedefense.utils.errors import InputError
from wedefense.utils.tables import read_lines


def read_json(path: str | os.PathLike, cure: str = "get it again", kind: type = dict):
    """The object (or list) in a file; one that cannot be read, or holds something else, is an error with its cure."""
    try:
        value = json.loads("\n".join(read_lines(path)))
    except RecursionError:
        raise InputError(f"{path}: nested too deeply; {cure}") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not valid JSON ({error}); {cure}") from None
    if not isinstance(value, kind):
        raise InputError(f"{path}: expected a JSON {'object' if kind is dict else 'array'}, found a "
                         f"{type(value).__name__}; {cure}")
    return value
