"""A table of recordings as a corpus: its columns by their usual names, its labels by their usual words."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, cast

import soundfile

from wedefense.config.sampling import table_of
from wedefense.data.audio import BadAudio, open_audio, read_frames
from wedefense.data.packs import Packed, Packs, pack_name
from wedefense.data.parquet_table import Held, NoText, ParquetTable
from wedefense.data.prepare import Entry
from wedefense.data.shards import member_name
from wedefense.data.tabular import SPLITS, Row
from wedefense.utils.audio_kinds import AUDIO_SUFFIXES, kind_of
from wedefense.utils.bonafide import BONAFIDE_NAMES, SPOOF_NAMES
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.files import atomic_write
from wedefense.utils.log import progress
from wedefense.utils.tables import control_in, first_few, plural

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
PLACES = ("path", "label", "split", "start", "end")  # not tables
LABELS = {**dict.fromkeys(BONAFIDE_NAMES, "bonafide"), **dict.fromkeys(SPOOF_NAMES, "spoof")}
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
            data = next((header for header in headers if kind_of(header) in AUDIO_SUFFIXES), None)
            cure = f"Say --columns {kind}=NAME" if data is None else (
                f"'{data}' is no name of a column; the first line of the table names them: path,label")
            raise InputError(f"{where}: no column is the {kind} ({', '.join(COLUMNS[kind])}); it has "
                             f"{first_few(headers, 12)}. {cure}")
    return found


class _UnknownLabel(InputError):
    """A label that means nothing; thousands of rows may have it."""

    def __init__(self, label: str, told: str):
        super().__init__(told)
        self.label = label


def unused_columns(rows: Sequence[Row], columns: Mapping[str, str]) -> list[str]:
    """Headers of the first rows that are none of `columns`."""
    headers = dict.fromkeys(name for row in rows for name, value in row.cells.items() if isinstance(value, str))
    return [name for name in headers if name and name not in columns.values()]


class _Draft(NamedTuple):
    """What a row says, before a recording inside a table has a place of its own."""

    entry: Entry
    split: str
    held: Held | None
    span: tuple[str, str, str] | None  # start, end, and where they stand


def entries_of(rows: Iterable[Row], choice: Choice,
               before_writing: Callable[[list[str]], None] = lambda splits: None) -> list[tuple[Entry, str]]:
    """(entry, its split or "") of every row. Nothing is written before every row has been understood and
    `before_writing` has seen the splits."""
    drafts: list[_Draft] = []
    refused, words = _Refused(), _Words()
    for row in rows:
        try:
            drafts.append(_draft(row, choice, words))
        except InputError as error:
            refused.add(error)
    refused.raise_any()
    before_writing([draft.split for draft in drafts])
    _give_places(drafts, choice)
    _make_distinct(drafts)
    shown = progress(drafts, total=len(drafts), desc="cutting spans", unit="row",
                     disable=not any(draft.span for draft in drafts))
    return [(_cut(draft, choice.cuts) if draft.span else draft.entry, draft.split) for draft in shown]


class _Words:
    """Equal labels, and equal sets of columns, are one object: there may be millions of rows."""

    def __init__(self):
        self._known: dict = {}

    def one(self, word: str) -> str:
        return self._known.setdefault(word, word)

    def columns(self, columns: dict[str, str]) -> dict[str, str]:
        return self._known.setdefault(tuple(columns.values()), columns)


class _Refused:
    """Rows that cannot be used; thousands may have one label that means nothing, which is said once."""

    def __init__(self):
        self._told: list[str] = []
        self._labels: Counter[str] = Counter()

    def add(self, error: InputError) -> None:
        label = error.label if isinstance(error, _UnknownLabel) else None
        if label is None or not self._labels:
            self._told.append(str(error))
        if label is not None:
            self._labels[label] += 1

    def raise_any(self) -> None:
        if not self._told:
            return
        first, *others = self._told
        rows_of = first_few([f"'{label}' in {plural(n, 'row')}" for label, n in self._labels.most_common()], 8)
        said = f"{first} (labels that mean nothing: {rows_of})" if self._labels.total() > 1 else first
        more = f" ({plural(len(others), 'other row')}: {first_few(others, 2)})" if others else ""
        raise InputError(f"{said}{more}")


def _draft(row: Row, choice: Choice, words: _Words) -> _Draft:
    columns = choice.columns

    def cell(kind: str) -> str:
        value = row.cells.get(columns[kind], "") if kind in columns else ""
        if isinstance(value, NoText):
            raise InputError(f"{row.where}: column '{columns[kind]}' holds {value.kind}, which is no {kind}; say "
                             f"--columns {kind}=NAME of another, or write it as text")
        text = value.strip() if isinstance(value, str) else value.name if isinstance(value, Held) else ""
        if control := control_in(text):
            raise InputError(f"{row.where}: column '{columns[kind]}' holds a control character {control}, which no "
                             "table holds; take it out")
        return text

    label = choice.labels.get(cell("label").lower())
    if label is None:
        raise _UnknownLabel(cell("label"), f"{row.where}: column '{columns['label']}': "
                                           f"{_no_label(cell('label'), choice.labels)}")
    split = SPLITS.get(cell("split").lower(), cell("split"))
    if split in ("..", ".") or "/" in split:
        raise InputError(f"{row.where}: column '{columns['split']}': '{split}' cannot be the name of a set")
    tables = {table_of(kind): _one_word(cell(kind)) for kind in columns if kind not in PLACES}
    if "utt2attack" in tables and label == "bonafide":
        tables["utt2attack"] = "-"
    held, said, start, end = _held(row, columns["path"]), cell("path"), cell("start"), cell("end")
    wav: Path | str
    if held is None:
        key, wav = _file(row, columns["path"], said, choice.audio or row.folder)
    else:
        key, wav = "_".join((_noted_id(row) or Path(said or held.name).stem).split()) or _apart(held), ""
    return _Draft(Entry(key, label, str(wav), words.columns(tables)), words.one(split), held,
                  (start, end, row.where) if start or end else None)


def _apart(held: Held) -> str:
    """What tells apart recordings inside tables that have one name."""
    return f"{pack_name(held.file, held.root)}-{held.row}"


def _held(row: Row, column: str) -> Held | None:
    """The recording inside the table, if the row has one."""
    if isinstance(value := row.cells.get(column), Held):
        return value
    found = {name: value for name, value in row.cells.items() if isinstance(value, Held)}
    if len(found) > 1:
        found = {name: value for name, value in found.items() if name.lower() == "audio"} or found
    if len(found) > 1:
        raise InputError(f"{row.where}: the recording may be the column {' or '.join(found)}; say --columns "
                         f"path={next(iter(found))}")
    return next(iter(found.values()), None)


def _give_places(drafts: list[_Draft], choice: Choice) -> None:
    """To recordings inside tables; they are written where they have no place yet."""
    places: Iterator[Packed] = iter(())
    before: tuple[Path, str] | None = None
    for number, draft in enumerate(drafts):
        held = draft.held
        if held is None:
            continue
        if (held.file, held.column) != before:
            before = held.file, held.column
            places = iter(Packs(ParquetTable(held.file), held.column, choice.cuts, pack_name(held.file, held.root)))
        (place, wrong, info, digest), where = next(places), f"{held.file}: row {held.row}"
        if place is None and not wrong and held.name:  # a file beside the table
            folder = choice.audio or held.file.parent
            place = str(_file(Row(where, folder, {}), held.column, held.name, folder)[1])
        elif place is None:
            wrong = wrong or f"column '{held.column}' holds neither bytes nor a path"
        drafts[number] = draft._replace(entry=replace(draft.entry, wav=place or where, wrong=wrong, info=info,
                                                      digest=digest))


def _no_label(label: str, known: Mapping[str, str]) -> str:
    if label in ("0", "1", "true", "false", "True", "False"):
        return f"which of the classes '{label}' is, nothing says; tell it: --labels {label}=bonafide (or {label}=spoof)"
    if not label:
        return "no label; leave the row out or fill it in"
    return f"unknown label '{label}'{did_you_mean(label, known)}; tell what it is: --labels '{label}=spoof'"


def _one_word(text: str) -> str:
    """Tables are read by line: one word each, `-` where nothing is said."""
    return "-" if text.lower() in NOTHING else "_".join(text.split())


def _noted_id(row: Row) -> str:
    """The `utterance_id` that the Speech Anti-Spoofing Arena keeps as JSON in a column `notes`."""
    try:
        noted = json.loads(cast(str, row.cells.get("notes", "")))
    except (ValueError, TypeError):
        return ""
    return str(noted.get("utterance_id", "")) if isinstance(noted, dict) else ""


def _file(row: Row, column: str, value: str, folder: Path) -> tuple[str, Path]:
    if not value.strip():
        raise InputError(f"{row.where}: column '{column}': no file is named")
    folder = Path(os.path.abspath(folder))
    # some tables hold both kinds of paths: relative ones may start beside the table, whatever holds the absolute ones
    path = _there(folder, value) or _there(Path(os.path.abspath(row.folder)), value) or _meant(folder, value)
    if not path.is_relative_to(folder):
        raise InputError(f"{row.where}: column '{column}': {value} leads out of {folder}; name the folder that holds "
                         f"all files: --audio DIR (with / any file may be named)")
    root = folder if row.root is None else Path(os.path.abspath(row.root))
    inner = path.relative_to(root if path.is_relative_to(root) else folder)
    return "_".join(str(inner.with_suffix("")).split()), path


def _there(folder: Path, value: str) -> Path | None:
    """The file, if there is one; a suffix may be left out."""
    path = _meant(folder, value)
    names = [path] if kind_of(path) in AUDIO_SUFFIXES else [path, *(Path(f"{path}.{s}") for s in AUDIO_SUFFIXES)]
    return next((name for name in names if name.exists()), None)


def _meant(folder: Path, value: str) -> Path:
    if "\\" in value and not os.path.exists(folder / value):  # as Windows writes it
        value = value.replace("\\", "/")
    return Path(os.path.normpath(folder / value))


def _cut(draft: _Draft, cuts: Path) -> Entry:
    """Seconds `start` to `end` of a file as a file of its own."""
    entry = draft.entry
    if entry.wrong or draft.span is None:
        return entry
    start, end, where = draft.span
    try:
        first, last = float(start or 0), float(end) if end else None
    except ValueError:
        raise InputError(f"{where}: start and end are in seconds, got '{start}' and '{end}'") from None
    try:
        with open_audio(entry.wav) as sound:
            until = sound.frames / sound.samplerate if last is None else last
            if not 0 <= first < until <= sound.frames / sound.samplerate + 0.01:
                name = draft.held.name or "it" if draft.held else Path(entry.wav).name
                raise InputError(f"{where}: {name} lasts {sound.frames / sound.samplerate:.2f} s; a span from "
                                 f"{first:g} to {until:g} s is not in it")
            begin, rate = round(first * sound.samplerate), sound.samplerate
            samples = read_frames(sound, begin, min(round(until * rate), sound.frames) - begin)
    except BadAudio as error:
        raise InputError(f"{where}: {entry.wav}: {error}") from None
    key = f"{entry.key}_{round(first * 1000)}-{round(until * 1000)}"
    path = cuts / f"{member_name(key)}.flac"
    with atomic_write(path, flush=False) as stream:
        soundfile.write(stream, samples, rate, format="FLAC", subtype="PCM_16")
    return replace(entry, key=key, wav=path, info=None, digest=b"")


def _make_distinct(drafts: list[_Draft]) -> None:
    """Keys that several recordings would share get the suffix of the file (a.wav, a.flac), or its name."""
    counts = Counter(draft.entry.key for draft in drafts)
    shared: dict[str, set[str]] = {}
    for entry in (draft.entry for draft in drafts if counts[draft.entry.key] > 1):
        shared.setdefault(entry.key, set()).add(str(entry.wav))
    for number, draft in enumerate(drafts):
        key, others = draft.entry.key, shared.get(draft.entry.key, ())
        if len(others) > 1:
            wav = Path(draft.entry.wav)
            by_suffix = len({Path(other).suffix for other in others}) == len(others)
            key = f"{key}{wav.suffix}" if by_suffix else f"{key}_{_apart(draft.held) if draft.held else wav.stem}"
            drafts[number] = draft._replace(entry=replace(draft.entry, key=key))
