"""What a pickle stored of an object whose class is not rebuilt, and what is in it."""

from typing import Any

from wedefense.utils.errors import InputError


class Record:
    """What a pickle stored about an object whose class is not rebuilt."""

    path = ""    # "module.Class" of the class it stands for
    args: tuple  # what it was made of
    items: list  # what was appended, or (key, value) of what was set
    state: Any   # what `__setstate__` was given

    def __new__(cls, *args, **kwargs):
        record = object.__new__(cls)
        record.args, record.state, record.items = args, None, []
        return record

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        self.state = state

    def __setitem__(self, key, value):
        self.items.append((key, value))

    def append(self, value):
        self.items.append(value)

    add = append

    def extend(self, values):
        self.items.extend(values)

    def __call__(self, *args, **kwargs):
        return Record(*args)

    def __repr__(self):
        return f"<record of {self.path}>"


def records_to_builtin(value):
    """Turn records into what they hold: a Namespace or config into a dict, an enum into its value."""
    try:
        return _to_builtin(value, {})
    except RecursionError:
        raise InputError("settings nested too deeply for any checkpoint; the file may be malicious") from None


def _to_builtin(value, done: dict):
    if not isinstance(value, (dict, list, tuple, Record)):
        return value
    if id(value) not in done:
        done[id(value)] = (value, None)  # a reference to an ancestor becomes None
        done[id(value)] = (value, _opened(value, done))
    return done[id(value)][1]


def _opened(value, done: dict):
    if isinstance(value, dict):
        return {_to_builtin(key, done) if isinstance(key, Record) else key: _to_builtin(item, done)
                for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_builtin(item, done) for item in value]
    state = value.state
    if isinstance(state, tuple) and len(state) == 2:  # (dict, slots)
        state = {**(state[0] or {}), **(state[1] or {})}
    if isinstance(state, dict):
        for key in ("_content", "_val"):  # an omegaconf container, an omegaconf value
            if key in state:
                return _to_builtin(state[key], done)
        return _to_builtin(state, done)
    if value.items:
        pairs = all(isinstance(item, tuple) and len(item) == 2 for item in value.items)
        return _to_builtin(dict(value.items) if pairs else value.items, done)
    return _to_builtin(value.args[-1], done) if value.args else None  # an enum: its value or its name
