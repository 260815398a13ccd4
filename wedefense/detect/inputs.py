"""What the command line says: recordings (files, folders, wav.scp tables, the standard input) and costs."""

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from wedefense.data.converted import is_installed
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.loading import load_detector
from wedefense.detect.score import costs_for
from wedefense.metrics.detection import DetectionCosts
from wedefense.utils.audio_kinds import AUDIO_SUFFIXES, FORMATS
from wedefense.utils.download import is_url, set_offline
from wedefense.utils.errors import InputError, OptionError
from wedefense.utils.files import files_under
from wedefense.utils.tables import first_few, plural, read_table


def load_model(options, precision: str = "auto") -> LoadedDetector:
    """The detector of --model and what `add_model_options` asks."""
    if options.offline:
        set_offline()
    return load_detector(options.model, None, options.config, options.download_dir, precision, options.trust,
                         options.revision)


def costs_of(options) -> DetectionCosts:
    """--prior, --cost_miss and --cost_fa, refused by these names."""
    try:
        return costs_for(options.prior, options.cost_miss, options.cost_fa)
    except OptionError as error:
        raise InputError(f"--{error.key} {error.message}") from None


def collect(names: Sequence[str], by_stem: bool = False) -> tuple[dict[str, object], list[str]]:
    """Key -> path or bytes, and what was passed over, in words.

    A folder gives the audio files in and under it, a table its keys, `-` a file by a pipe. `by_stem`: a file is called
    by its name alone, without folders and suffix.
    """
    found: dict[str, object] = {}
    remarks: list[str] = []
    for name in names:
        for key, source in _sources(name, remarks):
            called = Path(key).stem if by_stem and source == Path(key) else key
            if called in found:
                both = f" ({found[called]} and {source})" if by_stem else ""
                raise InputError(f"{name}: '{called}' comes twice{both}; name each recording once")
            found[called] = source
    return found, remarks


def _sources(name: str, remarks: list[str]):
    if name == "-":
        content = sys.stdin.buffer.read()
        if not content:
            raise InputError("-: nothing came by the standard input")
        return [("-", content)]
    if is_url(name):
        raise InputError(f"{name}: recordings are not fetched; get the file first, as in: curl -LO {name}")
    path = Path(name)
    if path.is_dir():
        return _in_folder(path, remarks)
    if path.suffix == ".scp":
        table = read_table(path)
        piped = [key for key, value in table.items() if value.rstrip().endswith("|")]
        if piped:
            raise InputError(f"{name}: '{piped[0]}' is a command, and commands of a table are not run; write its "
                             "output to a file")
        return list(table.items())
    return [(name, path)]


def _in_folder(folder: Path, remarks: list[str]) -> list[tuple[str, Path]]:
    files: list[tuple[str, Path]] = []
    passed: Counter[str] = Counter()
    readable = {*AUDIO_SUFFIXES, *(FORMATS if is_installed() else ())}
    for file in sorted(files_under(folder)):
        kind = file.suffix.lower().lstrip(".")
        if kind in readable:
            files.append((str(file), file))
        else:
            passed[kind or "no suffix"] += 1
    convertible = {kind: count for kind, count in passed.items() if kind in FORMATS}
    others = passed - Counter(convertible)
    over = [f"{plural(sum(kinds.values()), 'file')} {what} ({counted(kinds)})" for kinds, what in (
        (convertible, "of kinds that need ffmpeg, which is not installed"), (others, "of other kinds")) if kinds]
    if not files:
        raise InputError(f"{folder}: no audio file in this folder (looked for {', '.join(AUDIO_SUFFIXES)})"
                         f"{'; it has ' + ' and '.join(over) if over else ''}")
    if over:
        remarks.append(f"{folder}: passed over {' and '.join(over)}")
    return files


def counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda item: (-item[1], item[0])))


def require_words(names: Iterable[str], what: str) -> None:
    """Names that a file of blank-separated columns can hold."""
    odd = [name for name in names if len(name.split()) != 1]
    if odd:
        raise InputError(f"{plural(len(odd), 'name')} with blanks ({first_few(odd)}), which {what} cannot hold; give "
                         "the recordings by a table NAME.scp, with keys that have none")
