"""A table of recordings as a corpus: its columns by their usual names, its labels by their usual words."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import soundfile

from wedefense.data.audio import BadAudio, open_audio, read_frames
from wedefense.data.prepare import Entry
from wedefense.data.shards import AUDIO_SUFFIXES, member_name
from wedefense.data.tabular import Row
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.files import atomic_write
from wedefense.utils.tables import first_few, plural

COLUMNS = {
    "path": ("path", "file", "file_name", "filename", "filepath", "file_path", "audio", "audio_path", "wav", "wav_path",
             "audio_file", "fname", "id", "utt", "utterance"),
    "label": ("label", "key", "lab", "class", "target", "category", "type"),
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "speaker_name"),
    "attack": ("attack", "attack_type", "model", "model_name", "system", "generator", "algorithm", "method", "tts"),
    "language": ("language", "lang", "locale"),
    "split": ("split", "set", "subset", "partition", "fold"),
    "start": ("start", "start_time", "begin", "onset"),
    "end": ("end", "end_time", "stop", "offset"),
}
TABLES = {"speaker": "utt2spk"}  # the others are utt2<column>
PLACES = ("path", "label", "split", "start", "end")  # not tables
LABELS = {
    **dict.fromkeys(("bonafide", "bona-fide", "bona_fide", "bona fide", "genuine", "real", "human", "original",
                     "authentic"), "bonafide"),
    **dict.fromkeys(("spoof", "spoofed", "fake", "deepfake", "ai", "ai-generated", "synthetic", "generated", "machine",
                     "tts", "vc"), "spoof"),
}
SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("dev", "development", "val", "valid", "validation"), "dev"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "tst"), "eval"),
}
NOTHING = ("", "-", "none", "nan", "null")


@dataclass(frozen=True)
class Choice:
    """What a user says about the table."""

    columns: Mapping[str, str]  # what it is -> its header
    labels: Mapping[str, str]   # lower-case label -> bonafide or spoof
    audio: Path | None          # where paths start, if not beside the table
    cuts: Path                  # where recordings inside the table and spans of files are written


def find_columns(rows: Sequence[Row], chosen: Mapping[str, str]) -> dict[str, str]:
    """Header of each kind of column that the first rows have; what could be two of them is asked for."""
    headers = list(dict.fromkeys(name for row in rows for name in row.cells))
    where = rows[0].where
    lost = [f"{kind}={header}" for kind, header in chosen.items() if header not in headers]
    if lost:
        raise InputError(f"{where}: --columns {first_few(lost)}: no such column"
                         f"{did_you_mean(lost[0].partition('=')[2], headers)}")
    found, taken = dict(chosen), set(chosen.values())
    for kind, names in COLUMNS.items():
        fitting = [header for header in headers if header.lower().strip() in names and header not in taken]
        if kind in found or not fitting:
            continue
        exact = [header for header in fitting if header.lower() == kind]
        if kind == "path":  # from the surest of these names to the vaguest
            fitting = sorted(fitting, key=lambda header: names.index(header.lower().strip()))[:1]
        if len(exact or fitting) > 1:
            raise InputError(f"{where}: {kind} may be the column {' or '.join(fitting)}; say --columns "
                             f"{kind}={fitting[0]}")
        found[kind] = (exact or fitting)[0]
    for kind in ("path", "label"):
        if kind not in found:
            raise InputError(f"{where}: no column is the {kind} ({', '.join(COLUMNS[kind])}); it has "
                             f"{first_few(headers, 12)}. Say --columns {kind}=NAME")
    return found


class _UnknownLabel(InputError):
    """A label that means nothing; thousands of rows may have it."""

    def __init__(self, label: str, told: str):
        super().__init__(told)
        self.label = label


def unused_columns(rows: Sequence[Row], columns: Mapping[str, str]) -> list[str]:
    """Headers of the first rows that are none of `columns`."""
    headers = dict.fromkeys(name for row in rows for name, value in row.cells.items() if not isinstance(value, bytes))
    return [name for name in headers if name not in columns.values()]


def entries_of(rows: Iterable[Row], choice: Choice) -> list[tuple[Entry, str]]:
    """(entry, its split or "") of every row."""
    made: list[tuple[Entry, str]] = []
    wrong: list[str] = []
    labels: Counter[str] = Counter()
    for row in rows:
        try:
            made.append(_entry(row, choice))
        except _UnknownLabel as error:
            wrong += [] if labels else [str(error)]
            labels[error.label] += 1
        except InputError as error:
            wrong.append(str(error))
    if wrong:
        rows_of = first_few([f"'{label}' in {plural(count, 'row')}" for label, count in labels.most_common()], 8)
        said = f"{wrong[0]} (labels that mean nothing: {rows_of})" if labels.total() > 1 else wrong[0]
        more = f" ({plural(len(wrong) - 1, 'other row')}: {first_few(wrong[1:], 2)})" if len(wrong) > 1 else ""
        raise InputError(f"{said}{more}")
    return _distinct(made)


def _entry(row: Row, choice: Choice) -> tuple[Entry, str]:
    columns = choice.columns

    def cell(kind: str) -> str:
        value = row.cells.get(columns[kind], "") if kind in columns else ""
        return "" if isinstance(value, bytes) else value.strip()

    label = choice.labels.get(cell("label").lower())
    if label is None:
        raise _UnknownLabel(cell("label"), f"{row.where}: column '{columns['label']}': "
                                           f"{_no_label(cell('label'), choice.labels)}")
    split = SPLITS.get(cell("split").lower(), cell("split"))
    if split in ("..", ".") or "/" in split:
        raise InputError(f"{row.where}: column '{columns['split']}': '{split}' cannot be the name of a set")
    tables = {TABLES.get(kind, f"utt2{kind}"): _one_word(cell(kind)) for kind in columns if kind not in PLACES}
    if "utt2attack" in tables and label == "bonafide":
        tables["utt2attack"] = "-"
    key, wav = _audio(row, choice, cell("start"), cell("end"))
    return Entry(key, label, wav, tables), split


def _no_label(label: str, known: Mapping[str, str]) -> str:
    if label in ("0", "1", "true", "false", "True", "False"):
        return f"which of the classes '{label}' is, nothing says; tell it: --labels {label}=bonafide (or {label}=spoof)"
    if not label:
        return "no label; leave the row out or fill it in"
    return f"unknown label '{label}'{did_you_mean(label, known)}; tell what it is: --labels '{label}=spoof'"


def _one_word(text: str) -> str:
    """Tables are read by line: one word each, `-` where nothing is said."""
    return "-" if text.lower() in NOTHING else "_".join(text.split())


def _audio(row: Row, choice: Choice, start: str, end: str) -> tuple[str, Path]:
    """Key and file of a row, written first where it is inside the table or a part of a file."""
    value = row.cells.get(choice.columns["path"], "")
    held = next((v for v in [value, *row.cells.values()] if isinstance(v, bytes)), None)
    if held is None:
        key, wav = _file(row, choice.columns["path"], str(value), choice.audio or row.folder)
    else:
        name = Path("" if isinstance(value, bytes) else value)
        table, _, number = Path(row.where).name.rpartition(": row ")
        wav = choice.cuts / f"{member_name(Path(table).stem)}-{number}{name.suffix or _suffix_of(held)}"
        key = "_".join((_noted_id(row) or name.stem).split()) or wav.stem
        with atomic_write(wav, flush=False) as stream:
            stream.write(held)
    return (key, wav) if not (start or end) else _cut(row, key, wav, start, end, choice.cuts)


def _noted_id(row: Row) -> str:
    """The `utterance_id` that the Speech Anti-Spoofing Arena keeps as JSON in a column `notes`."""
    try:
        noted = json.loads(row.cells.get("notes", ""))
    except ValueError:
        return ""
    return str(noted.get("utterance_id", "")) if isinstance(noted, dict) else ""


def _suffix_of(content: bytes) -> str:
    heads = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg"}
    return heads.get(content[:4], ".mp3")


def _file(row: Row, column: str, value: str, folder: Path) -> tuple[str, Path]:
    if not value.strip():
        raise InputError(f"{row.where}: column '{column}': no file is named")
    folder = Path(os.path.abspath(folder))
    path = Path(os.path.normpath(folder / value))
    if not path.is_relative_to(folder):
        raise InputError(f"{row.where}: column '{column}': {value} leads out of {folder}; name the folder that holds "
                         f"all files: --audio DIR (with / any file may be named)")
    if path.suffix.lower().lstrip(".") not in AUDIO_SUFFIXES and not path.exists():
        path = next((p for p in (Path(f"{path}.{suffix}") for suffix in AUDIO_SUFFIXES) if p.exists()), path)
    root = folder if row.root is None else Path(os.path.abspath(row.root))
    inner = path.relative_to(root if path.is_relative_to(root) else folder)
    return "_".join(str(inner.with_suffix("")).split()), path


def _cut(row: Row, key: str, wav: Path, start: str, end: str, cuts: Path) -> tuple[str, Path]:
    """Seconds `start` to `end` of a file as a file of its own."""
    try:
        first, last = float(start or 0), float(end) if end else None
    except ValueError:
        raise InputError(f"{row.where}: start and end are in seconds, got '{start}' and '{end}'") from None
    try:
        with open_audio(wav) as sound:
            until = sound.frames / sound.samplerate if last is None else last
            if not 0 <= first < until <= sound.frames / sound.samplerate + 0.01:
                raise InputError(f"{row.where}: {wav.name} lasts {sound.frames / sound.samplerate:.2f} s; a span from "
                                 f"{first:g} to {until:g} s is not in it")
            begin, rate = round(first * sound.samplerate), sound.samplerate
            samples = read_frames(sound, begin, min(round(until * rate), sound.frames) - begin)
    except BadAudio as error:
        raise InputError(f"{row.where}: {wav}: {error}") from None
    key = f"{key}_{round(first * 1000)}-{round(until * 1000)}"
    path = cuts / f"{member_name(key)}.flac"
    with atomic_write(path, flush=False) as stream:
        soundfile.write(stream, samples, rate, format="FLAC", subtype="PCM_16")
    return key, path


def _distinct(made: list[tuple[Entry, str]]) -> list[tuple[Entry, str]]:
    """Keys that several files would share get the suffix of the file (a.wav, a.flac), or its name."""
    files: dict[str, set[Path]] = {}
    for entry, _ in made:
        files.setdefault(entry.key, set()).add(entry.wav)

    def key(entry: Entry) -> str:
        others = files[entry.key]
        if len(others) == 1:
            return entry.key
        return f"{entry.key}{entry.wav.suffix}" if len({p.suffix for p in others}) == len(others) else \
            f"{entry.key}_{entry.wav.stem}"

    return [(replace(entry, key=key(entry)), split) for entry, split in made]
