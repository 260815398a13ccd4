"""What the command line says: recordings (files, folders, wav.scp tables, the standard input) and costs."""

import sys
from collections.abc import Sequence
from pathlib import Path

from wedefense.data.shards import AUDIO_SUFFIXES
from wedefense.metrics.detection import DetectionCosts
from wedefense.utils.errors import InputError, OptionError
from wedefense.utils.tables import read_table


def costs_of(options) -> DetectionCosts:
    """--prior, --cost_miss and --cost_fa, refused by these names."""
    try:
        return DetectionCosts(options.prior, options.cost_miss, options.cost_fa)
    except OptionError as error:
        name = {"p_spoof": "prior", "c_miss": "cost_miss", "c_fa": "cost_fa"}[error.key]
        raise InputError(f"--{name} {error.message}") from None


def collect(names: Sequence[str]) -> dict[str, object]:
    """Key -> path or bytes. A folder gives the audio files in and under it, a table its keys, `-` a file by a pipe."""
    found: dict[str, object] = {}
    for name in names:
        for key, source in _sources(name):
            if key in found:
                raise InputError(f"{name}: '{key}' comes twice; name each recording once")
            found[key] = source
    return found


def _sources(name: str):
    if name == "-":
        content = sys.stdin.buffer.read()
        if not content:
            raise InputError("-: nothing came by the standard input")
        return [("-", content)]
    path = Path(name)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower().lstrip(".") in AUDIO_SUFFIXES)
        if not files:
            raise InputError(f"{name}: no audio file in this folder (looked for {', '.join(AUDIO_SUFFIXES)})")
        return [(str(file), file) for file in files]
    if path.suffix == ".scp":
        table = read_table(path)
        piped = [key for key, value in table.items() if value.rstrip().endswith("|")]
        if piped:
            raise InputError(f"{name}: '{piped[0]}' is a command, and commands of a table are not run; write its "
                             "output to a file")
        return list(table.items())
    return [(name, path)]
