"""Corpora as rows of a table: where the files of a release lie, and what their names and protocols say."""

import dataclasses
import glob
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from wedefense.config.sampling import table_of
from wedefense.data.prepare import Entry, class_of, records
from wedefense.data.tabular import separated_rows
from wedefense.utils.audio_kinds import AUDIO_SUFFIXES
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.tables import first_few


@dataclass(frozen=True)
class Source:
    """Utterances of a set: the lines of `table`, whose audio is at `audio`; or all files that fit the pattern `files`.

    Patterns of `table` and `files` may hold `*`, `**`, and `{name}` or `{name:one|other}`, which catch a part of the
    path. Templates (`audio`, `key`, `label`, `values`) may hold what was caught and the columns; of a path
    `{file.stem}` is what comes before its suffix, `{file.name}` the last part of that, `{file.parts[0]}` its first
    folder.
    """

    files: str = ""
    table: tuple[str, ...] = ()  # the first that is there
    audio: str = ""  # `.*` in the end: with whatever suffix it has
    columns: str | Mapping[str, str] = ""  # names by position (`-`: unused, `...`: any others), or by the header's
    separator: str = ""                    # blanks, unless given
    header: str = ""                       # the first line, where positions count and there is one
    where: Mapping[str, str] = field(default_factory=dict)   # only lines with this value, `a|b` one of these
    key: str = "{key}"
    label: str = "{label}"
    labels: Mapping[str, str] = field(default_factory=dict)  # patterns of labels -> bonafide, spoof or "" (left out)
    replace: Mapping[str, str] = field(default_factory=dict)  # in the column `file`, as archives name folders otherwise
    tables: tuple[str, ...] = ("speaker", "attack", "language")
    values: Mapping[str, str] = field(default_factory=dict)  # further names, as templates


@dataclass(frozen=True)
class Set:
    sources: tuple[Source, ...]
    count: int | Mapping[str, Mapping[str, int]] = 0  # as published: of all, or {column: {value: utterances}}
    optional: bool = False                            # may be absent, where a release comes in parts
    needs: str = ""                                   # is absent where this folder is


@dataclass(frozen=True)
class Layout:
    name: str
    title: str
    page: str
    licence: str
    seen: str  # where the layout is documented, or who reads it so
    sets: Mapping[str, Set]
    root: tuple[str, ...] = ()  # the folder that archives unpack to (a pattern), where it is there

    def restricted_to(self, names: Iterable[str]) -> "Layout":
        unknown = [name for name in names if name not in self.sets]
        if unknown:
            raise InputError(f"{self.title} has no set '{unknown[0]}'{did_you_mean(unknown[0], self.sets)}")
        return dataclasses.replace(self, sets={name: self.sets[name] for name in names})

    def read(self, corpus: Path) -> dict[str, list[Entry]]:
        """The entries of each set that is there."""
        roots = [path for name in self.root for path in sorted(corpus.glob(name)) if path.is_dir()]
        root = roots[0] if roots else corpus
        found = {name: [entry for source in a_set.sources for entry in self._entries(root, source, a_set.optional)]
                 for name, a_set in self.sets.items() if not a_set.needs or (root / a_set.needs).is_dir()}
        found = {name: entries for name, entries in found.items() if entries}
        if not found:
            places = [place for a_set in self.sets.values() for source in a_set.sources for place in _places(source)]
            raise InputError(f"{corpus}: nothing of {self.title} is there, which has {first_few(places)}. It is to be "
                             f"had from {self.page}")
        return found

    def _entries(self, root: Path, source: Source, optional: bool) -> Iterator[Entry]:
        if source.files:
            found = [{**caught, "key": inner, "file": inner} for inner, caught in _files(root, source.files)]
        else:
            found = [row for path, caught in _tables(root, source, optional) for row in _lines(path, caught, source)]
        if not found and not optional:
            raise InputError(f"{root}: no {' and no '.join(_places(source))}, which {self.title} has; is this the "
                             f"folder of the corpus? It is to be had from {self.page}")
        yield from (entry for entry in (_entry(root, record, source) for record in found) if entry)

    def complaints(self, found: Mapping[str, Sequence[Entry]]) -> list[str]:
        """What of the published counts is not there, set by set."""
        said = [f"{name}: not there at all" for name in self.sets if name not in found]
        for name, entries in found.items():
            count = self.sets[name].count
            counts = {"": {"utterances": count}} if isinstance(count, int) else count
            off = [f"{value} {have:,} of {wanted:,}" for column, values in counts.items()
                   for value, wanted in values.items() if wanted and (have := _have(entries, column, value)) != wanted]
            if off:
                said.append(f"{name}: {first_few(off, 8)}")
        return said


class Text(str):
    """A path, for templates."""

    @property
    def stem(self) -> str:
        return str(Path(self).with_suffix(""))

    @property
    def name(self) -> str:
        return Path(self).stem

    @property
    def parts(self) -> tuple[str, ...]:
        return Path(self).parts


def _have(entries: Sequence[Entry], column: str, value: str) -> int:
    if not column:
        return len(entries)
    if column == "label":
        return sum(entry.label == value for entry in entries)
    return sum(entry.tables.get(table_of(column)) == value for entry in entries)


def _places(source: Source) -> list[str]:
    return [source.files] if source.files else list(source.table[:1])


def _files(root: Path, pattern: str) -> list[tuple[str, dict]]:
    """(path inside root, what the pattern caught) of each file that fits, in order."""
    parts = re.split(r"(\{[^}]+\}|\*\*/|\*)", pattern)
    regex = re.compile("".join(map(_as_regex, parts)))
    as_glob = re.sub(r"\{[^}]+\}", "*", pattern)
    paths = sorted(set(glob.glob(as_glob, root_dir=root, recursive=True)))
    matches = ((path, regex.fullmatch(path)) for path in paths)
    return [(path, match.groupdict()) for path, match in matches if match]


def _as_regex(part: str) -> str:
    if part.startswith("{"):
        name, _, choices = part[1:-1].partition(":")
        return f"(?P<{name}>{'|'.join(map(re.escape, choices.split('|'))) if choices else '[^/]+?'})"
    return {"**/": "(?:.*/)?", "*": "[^/]*"}.get(part, re.escape(part))


def _tables(root: Path, source: Source, optional: bool) -> list[tuple[Path, dict]]:
    for pattern in source.table:
        found = [(root / path, caught) for path, caught in _files(root, pattern)]
        if found:
            return found
    return [] if optional else [(root / source.table[0], {})]  # which says that it is not there


def _lines(path: Path, caught: dict, source: Source) -> list[dict]:
    """The lines of a protocol as dicts by column, with what the path of the table caught."""
    if isinstance(source.columns, Mapping):
        rows = [{"where": row.where, **_by_header(row, source.columns)}
                for row in separated_rows(path, source.separator or ",")]
    else:
        rows = records(path, source.columns, source.labels, source.separator or None, source.header)
    kept = [{**caught, **row} for row in rows
            if all(row[name] in values.split("|") for name, values in source.where.items())]
    if not kept:
        wanted = "".join(f" of {name} '{value}'" for name, value in source.where.items())
        raise InputError(f"{path}: no line{wanted}; take the protocol from the full release")
    return kept


def _by_header(row, columns: Mapping[str, str]) -> dict:
    lost = [header for header in columns.values() if header not in row.cells]
    if lost:
        raise InputError(f"{row.where}: no column '{lost[0]}'{did_you_mean(lost[0], row.cells)}; take the table from "
                         f"the official release again")
    return {name: row.cells[header] for name, header in columns.items()}


def _entry(root: Path, record: dict, source: Source) -> Entry | None:
    record = {name: Text(value) for name, value in record.items()}
    for old, new in source.replace.items():
        record["file"] = Text(record["file"].replace(old, new))
    record.update({name: Text(template.format_map(record)) for name, template in source.values.items()})
    name = source.label.format_map(record)
    label = class_of(name, source.labels) if source.labels else name
    if label is None:
        raise InputError(f"{record.get('where') or root / record['file']}: unknown label '{name}' (known: "
                         f"{', '.join(source.labels)})")
    if not label:
        return None
    key = source.key.format_map(record)
    wav = _present(root / (record["file"] if source.files else source.audio.format_map(record)))
    key = "_".join((Text(key).stem if source.files and source.key == "{key}" else key).split())
    tables = {table_of(column): "_".join(record[column].split()) or "-" for column in source.tables
              if column in record}
    if label == "bonafide" and "utt2attack" in tables:
        tables["utt2attack"] = "-"  # where others name the attack, protocols name the class or the corpus
    return Entry(key, label, wav, tables)


def _present(path: Path) -> Path:
    """`a.*` with the suffix that is there."""
    if path.suffix != ".*":
        return path
    found = (path.with_suffix(f".{suffix}") for suffix in AUDIO_SUFFIXES)
    return next((one for one in found if one.exists()), path.with_suffix(f".{AUDIO_SUFFIXES[0]}"))


def read_layouts(path: Path) -> dict[str, Layout]:
    """Every row of a table of layouts; an unknown key or a missing one is named."""
    return {name: _layout(name, row, path) for name, row in yaml.safe_load(path.read_text(encoding="utf-8")).items()}


def _layout(name: str, row: dict, path: Path) -> Layout:
    fields = {f.name for f in dataclasses.fields(Source)}
    shared = {key: row[key] for key in row if key in fields}
    own = {key: value for key, value in row.items() if key not in fields and key != "sets"}
    try:
        sets = {set_name: _set(shared, content) for set_name, content in row["sets"].items()}
        return Layout(name=name, sets=sets, **{**own, "root": _tuple(own.get("root", ()))})
    except (TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: {name}: {error}; a row has title, page, licence, seen, sets and what "
                         f"wedefense/data/layouts.py lists under Source") from None


def _set(shared: dict, content: dict) -> Set:
    content = dict(content)
    own = {key: content.pop(key) for key in ("count", "optional", "needs") if key in content}
    sources = content.pop("sources", [{}])
    made = [{**shared, **content, **source} for source in sources]
    return Set(tuple(Source(**{**source, "table": _tuple(source.get("table", ())),
                               "tables": tuple(source.get("tables", Source.tables))}) for source in made), **own)


def _tuple(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
