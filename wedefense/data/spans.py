"""Which stretches of an utterance are fake: label files of every usual kind, read and written.

All of them become the same table, utterance -> spans in order; `wedefense.data.span_checks` holds it to the audio.
"""

import csv
import io
import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wedefense.data.span_items import is_edits, items_of, items_text, read_edits, read_items
from wedefense.data.tabular import SEPARATORS, separated_rows
from wedefense.data.textgrid import read_intervals, textgrid
from wedefense.metrics.segments import Range, label_shift_of, labels_from_ranges, ranges_from_labels, read_seglab
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.files import atomic_write, files_under
from wedefense.utils.log import progress
from wedefense.utils.tables import first_few, plural, read_lines

RESOLUTIONS = ("0.01", "0.02", "0.04", "0.08", "0.16", "0.32", "0.64")  # seconds, of PartialSpoof's label files
_COLUMNS = {"key": ("key", "utt", "utterance", "file", "filename", "name"), "start": ("start", "begin", "onset"),
            "end": ("end", "stop", "offset"), "label": ("label", "class")}


class Span(NamedTuple):
    """A stretch of one class, in seconds."""

    start: float
    end: float
    label: str


Spans = Mapping[str, Sequence[Span]]


@dataclass(frozen=True)
class SpanFormat:
    read: Callable[[Path], Spans]
    write: Callable[[Path, Spans], list[Path]]  # the files written
    text: Callable[[Spans], str] | None = None  # of a file that is one
    suffixes: tuple[str, ...] = ()  # of what is surely of this kind, and of files in a folder


def read_spans(path: str | os.PathLike, kind: str | None = None) -> dict[str, list[Span]]:
    """Utterance -> spans, sorted by their start, as the file has them; `kind` is a name of FORMATS (None: look).

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "dev.rttm")
    >>> _ = path.write_text("SPEAKER utt 1 0.5 0.25 <NA> <NA> spoof <NA> <NA>\\n")
    >>> read_spans(path)
    {'utt': [Span(start=0.5, end=0.75, label='spoof')]}
    """
    path = Path(path)
    spans = _format(kind or kind_of(path)).read(path)
    if not spans:
        raise InputError(f"{path}: holds no span; is it the right file?")
    return {key: sorted(found) for key, found in spans.items()}


def write_spans(path: str | os.PathLike, spans: Spans, kind: str | None = None) -> list[Path]:
    """Write label files of a `kind` (None: as the name says); returns their paths. Tables are one file; `vad`,
    `audacity` and `textgrid` a folder, or of one utterance a file where the name says so; `seglab` one file where its
    name says the resolution, else one of each."""
    path = Path(path)
    return _format(kind or _kind_by_name(path) or "segments").write(path, spans)


def spans_text(spans: Spans, kind: str) -> str:
    """What such a file holds, of kinds that are text; `vad`, `audacity` and `textgrid` of one utterance."""
    text = _format(kind).text
    if text is None:
        raise InputError(f"label files of the kind '{kind}' are no text; write them to a file")
    return text(spans)


def _format(kind: str) -> SpanFormat:
    if kind not in FORMATS:
        raise InputError(f"unknown kind of label file '{kind}'{did_you_mean(kind, FORMATS)}")
    return FORMATS[kind]


def _kind_by_name(path: Path) -> str | None:
    return next((kind for kind, row in FORMATS.items() if path.suffix.lower() in row.suffixes), None)


def kind_of(path: Path) -> str:
    """The kind of a file or folder of labels, by its name, else by its first line."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder of labels")
    if path.is_dir():
        kinds = {kind for file in files_under(path) if (kind := _kind_by_name(file)) is not None}
        if len(kinds) == 1:
            return kinds.pop()
    elif by_name := _kind_by_name(path):
        return by_name
    else:
        first = next((line.split() for line in read_lines(path) if line.strip()), [])
        if first[:1] == ["SPEAKER"]:
            return "rttm"
        if len(first) == 4 and _is_number(first[1]) and _is_number(first[2]):
            return "segments"
        if items_of(" ".join(first)):
            return "items"
    raise InputError(f"{path}: its kind cannot be told; give it with --from ({', '.join(FORMATS)})")


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _span(where: str, start: str, end: str, label: str, *, lasts: bool = False) -> Span:
    """`lasts`: the second number is a duration."""
    if not (_is_number(start) and _is_number(end)):
        raise InputError(f"{where}: '{start} {end}' are not two times in seconds")
    if not label.strip():
        raise InputError(f"{where}: a span without label")
    begin = float(start)
    return Span(begin, round(begin + float(end), 9) if lasts else float(end), label.strip())


def _fields(path: Path, count: int, expected: str, maxsplit: int = -1) -> Iterator[tuple[str, list[str]]]:
    """(where, fields) of each line that is not blank, a comment or of Audacity's spectral selections."""
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split(maxsplit=maxsplit)
        if fields and not fields[0].startswith((";;", "#", "\\")):
            if len(fields) < count:
                raise InputError(f"{path}:{number}: expected {expected}, got {line.strip()[:80]!r}")
            yield f"{path}:{number}", fields


def _files(path: Path, suffixes: tuple[str, ...]) -> list[Path]:
    files = sorted(f for f in files_under(path) if f.suffix.lower() in suffixes) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no file in this folder ends in {' or '.join(suffixes)}")
    return files


def _gathered(rows: Iterable[tuple[str, Span]]) -> dict[str, list[Span]]:
    spans: dict[str, list[Span]] = defaultdict(list)
    for key, span in rows:
        spans[key].append(span)
    return dict(spans)


def _read_rttm(path: Path) -> Spans:
    expected = "SPEAKER KEY 1 START DURATION <NA> <NA> LABEL <NA> <NA>"
    return _gathered((fields[1], _span(where, fields[3], fields[4], fields[7], lasts=True))
                     for file in _files(path, FORMATS["rttm"].suffixes)
                     for where, fields in _fields(file, 8, expected) if fields[0] == "SPEAKER")


def _read_segments(path: Path) -> Spans:
    return _gathered((fields[0], _span(where, *fields[1:4])) for where, fields in
                     _fields(path, 4, "KEY START END LABEL", 3))


def _read_csv(path: Path) -> Spans:
    if is_edits(next((line for line in read_lines(path) if line.strip()), "")):
        return {key: [Span(*item) for item in found] for key, found in read_edits(path).items()}
    rows, columns = list(separated_rows(path, SEPARATORS.get(path.suffix.lower(), ","))), {}
    for what, names in _COLUMNS.items():
        found = [name for name in (rows[0].cells if rows else {}) if name.lower() in names]
        if len(found) != 1:
            raise InputError(f"{path}: expected one column for the {what}, called {' or '.join(names)}; "
                             f"found {first_few(found) or 'none'}")
        columns[what] = found[0]
    return _gathered((str(row.cells[columns["key"]]),
                      _span(row.where, *(str(row.cells[columns[what]]) for what in ("start", "end", "label"))))
                     for row in rows)


def _read_tracks(path: Path, suffixes: tuple[str, ...], spans_of: Callable[[Path], list[Span]]) -> Spans:
    """Files of one utterance each, whose name is that of the file, with the folders that lead to it."""
    spans: dict[str, list[Span]] = {}
    for file in _files(path, suffixes):
        key = (file.relative_to(path) if path.is_dir() else Path(file.name)).with_suffix("").as_posix()
        if key in spans:
            raise InputError(f"{file}: a second file of labels for '{key}'; keep one")
        spans[key] = spans_of(file)
        if not spans[key]:
            raise InputError(f"{file}: holds no span; a recording all of one class has one, from 0 to its end")
    return spans


def _lines_of_spans(path: Path) -> list[Span]:
    return [_span(where, *fields) for where, fields in _fields(path, 3, "START END LABEL", 2)]


def _textgrid_spans(path: Path) -> list[Span]:
    return [Span(start, end, label.strip()) for start, end, label in read_intervals(path)]


def _read_line_items(path: Path) -> Spans:
    return {key: [Span(*item) for item in found] for key, found in read_items(path).items()}


def _read_seglab(path: Path) -> Spans:
    shift = label_shift_of(path)
    return {key: [Span(r.start, r.end, "bonafide" if r.is_bonafide else "spoof")
                  for r in ranges_from_labels(labels, shift)] for key, labels in read_seglab(path).items()}


def segment_labels(spans: Sequence[Span], shift: float) -> np.ndarray:
    """(segments,) of '1' (bona fide) and '0' of `shift` seconds each; one that holds anything fake is fake."""
    odd = {span.label for span in spans} - {"bonafide", "spoof"}
    if odd:
        raise InputError(f"segment labels are bonafide and spoof, not {first_few(sorted(odd))}; rename with --labels")
    ranges = [Range(span.start, span.end, span.label == "bonafide") for span in spans]
    return labels_from_ranges(ranges, shift).astype("<U1")


def _rttm_line(key: str, span: Span) -> str:
    return f"SPEAKER {key} 1 {span.start:.6f} {span.end - span.start:.6f} <NA> <NA> {span.label} <NA> <NA>\n"


def _segments_line(key: str, span: Span) -> str:
    return f"{key} {span.start:.6f} {span.end:.6f} {span.label}\n"


def _csv_line(key: str, span: Span) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow([key, f"{span.start:.6f}", f"{span.end:.6f}", span.label])
    return out.getvalue()


def _table_text(spans: Spans, line: Callable[[str, Span], str], header: str = "") -> str:
    return header + "".join(line(key, span) for key, found in spans.items() for span in found)


def _track_lines(spans: Sequence[Span], separator: str) -> str:
    return "".join(f"{span.start:.6f}{separator}{span.end:.6f}{separator}{span.label}\n" for span in spans)


def _track_text(spans: Spans, text: Callable[[Sequence[Span]], str]) -> str:
    if len(spans) != 1:
        raise InputError(f"{plural(len(spans), 'utterance')}, and such a file holds one; write them into a folder")
    return "".join(map(text, spans.values()))


def _write_text(path: Path, text: str) -> Path:
    with atomic_write(path, "w") as stream:
        stream.write(text)
    return path


def _write_table(path: Path, spans: Spans, text: Callable[[Spans], str]) -> list[Path]:
    return [_write_text(path, text(spans))]


def _write_tracks(path: Path, spans: Spans, text: Callable[[Spans], str], suffix: str) -> list[Path]:
    """A file of each utterance in the folder `path`, or the file `path` of one; a key with folders lies in such."""
    alone = len(spans) == 1 and path.suffix.lower() == suffix.lower() and not path.is_dir()
    outside = [key for key in spans if key.startswith("/") or ".." in key.split("/")]
    if outside and not alone:
        raise InputError(f"{path}: files of labels are named by their utterance, and {first_few(outside)} would lie "
                         "outside of this folder; name the recordings otherwise")
    return [_write_text(path if alone else path / f"{key}{suffix}", text({key: found}))
            for key, found in progress(spans.items(), total=len(spans), desc=f"writing {path.name}", unit="file")]


def _write_seglab(path: Path, spans: Spans) -> list[Path]:
    paths = [path] if path.suffix == ".npy" else [path.with_name(f"{path.name}_seglab_{r}.npy") for r in RESOLUTIONS]
    for file in paths:
        shift = label_shift_of(file)
        labels = {key: segment_labels(found, shift) for key, found in spans.items()}
        with atomic_write(file) as stream:
            np.save(stream, np.array(labels, dtype=object), allow_pickle=True)
    return paths


_read_lines = partial(_read_tracks, suffixes=(".txt", ".lab"), spans_of=_lines_of_spans)


def _table(read: Callable[[Path], Spans], line: Callable[[str, Span], str], header: str = "",
           suffixes: tuple[str, ...] = ()) -> SpanFormat:
    text = partial(_table_text, line=line, header=header)
    return SpanFormat(read, partial(_write_table, text=text), text, suffixes)


def _tracks(read: Callable[[Path], Spans], one: Callable[[Sequence[Span]], str], suffix: str,
            suffixes: tuple[str, ...] = ()) -> SpanFormat:
    text = partial(_track_text, text=one)
    return SpanFormat(read, partial(_write_tracks, text=text, suffix=suffix), text, suffixes)


FORMATS = {
    "segments": _table(_read_segments, _segments_line),
    "rttm": _table(_read_rttm, _rttm_line, suffixes=(".rttm",)),
    "seglab": SpanFormat(_read_seglab, _write_seglab, suffixes=(".npy",)),
    "items": SpanFormat(_read_line_items, partial(_write_table, text=items_text), items_text),
    "csv": _table(_read_csv, _csv_line, "key,start,end,label\n", (".csv", ".tsv")),
    "vad": _tracks(_read_lines, partial(_track_lines, separator=" "), ".txt"),
    "audacity": _tracks(_read_lines, partial(_track_lines, separator="\t"), ".txt"),
    "textgrid": _tracks(partial(_read_tracks, suffixes=(".textgrid",), spans_of=_textgrid_spans), textgrid, ".TextGrid",
                        (".textgrid",)),
}
