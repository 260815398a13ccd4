"""What made each artefact of an experiment, and from that alone whether it is made again.

A stage states a `Step`: what goes into what it makes, as settings and fingerprints of content. Its record is a file
beside the artefact, written last and removed first, so that whatever happened in between counts as not made.

    step = lineage.averaging(config, epochs)
    if not step.is_up_to_date():
        with step.making() as outputs:
            outputs.append(...)  # what was written
    ...
    lineage.averaging(config, epochs).require()  # what a later stage builds on: made, and of what is here now

No time is compared but where a fingerprint says so (`wedefense.utils.fingerprint`).
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wedefense import __version__
from wedefense.data.shards import shard_fingerprint
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.fingerprint import of_content, of_weights
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few

_FINGERPRINT = re.compile(r"[0-9a-f]{24}( of \d+ at \d+)?")


@dataclass(frozen=True)
class Change:
    """One of the inputs that is another than it was."""

    key: str
    old: object
    new: object

    def __str__(self) -> str:
        if is_fingerprint(self.old) and is_fingerprint(self.new):
            return f"{self.key} changed"
        return f"{self.key} {_shown(self.old)} -> {_shown(self.new)}"


def is_fingerprint(value) -> bool:
    return isinstance(value, str) and bool(_FINGERPRINT.fullmatch(value))


def _shown(value) -> str:
    text = "(none)" if value is None else f"{value}"
    return "(a file)" if is_fingerprint(value) else text if len(text) < 80 else f"{text[:77]}..."


def changes(old: Mapping, new: Mapping) -> list[Change]:
    """Every dotted key whose value differs once both are as a record keeps them, in the order of `new`."""
    old, new = (flat(json.loads(json.dumps(tree))) for tree in (old, new))
    return [Change(key, old.get(key), new.get(key)) for key in [*new, *(old.keys() - new.keys())]
            if old.get(key) != new.get(key)]


def flat(tree: Mapping, prefix: str = "") -> dict[str, object]:
    """Dotted key -> value."""
    found: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return found


@dataclass(frozen=True)
class Step:
    """What a stage makes, and of what."""

    what: str                             # in words: "embeddings of dev"
    stage: int                            # which makes it
    record: Path
    inputs: Mapping[str, object]          # plain values, nested; a difference in any means: make it again
    told: dict[str, object] = field(default_factory=dict)  # recorded too, and not compared; grows while it is made

    def found(self) -> dict | None:
        """The record of what was made; None where nothing was, or where the record cannot be read."""
        return read(self.record)

    def differences(self) -> list[Change] | None:
        """None: not made; empty: up to date."""
        found = self.found()
        return None if found is None else _compared(found, self.record.parent, found["inputs"], self.inputs)

    def is_up_to_date(self) -> bool:
        """Says in the log why not, or that it is."""
        differences = self.differences()
        if differences is None:
            return False
        if differences:
            get_logger().info("%s: made again (%s)", self.what, first_few(differences, 4))
        else:
            get_logger().info("%s: up to date, of the same content and settings", self.what)
        return not differences

    def require(self) -> None:
        require(self.record, self.what, self.stage, self.inputs)

    @contextlib.contextmanager
    def making(self) -> Iterator[list[Path]]:
        """Append to what this gives the files that are written; the record of them is written at the end."""
        self.record.unlink(missing_ok=True)
        outputs: list[Path] = []
        yield outputs
        self.write(outputs)

    def write(self, outputs: Sequence[Path] = ()) -> None:
        prints = {path.relative_to(self.record.parent).as_posix(): of_output(path) for path in outputs}
        with atomic_write(self.record, "w") as stream:
            json.dump({"made": self.what, "wedefense": __version__, "inputs": self.inputs, **self.told,
                       "outputs": prints}, stream, indent=1)


def require(record: Path, what: str, stage: int, inputs: Mapping[str, object]) -> dict:
    """The record of what a stage builds on; an error that names the stage to go back to, unless it was made, is whole,
    and of these `inputs` (which need not be all).
    """
    found = read(record)
    if found is None:
        raise InputError(f"{record.parent}: there are no whole {what}; go back to --stage {stage}")
    mine = {key: found["inputs"].get(key) for key in inputs}
    if differences := _compared(found, record.parent, mine, inputs):
        raise InputError(f"{record.parent}: the {what} there are of something else than what is here now "
                         f"({first_few(differences, 6)}); go back to --stage {stage}")
    return found


def _compared(found: dict, folder: Path, old: Mapping, new: Mapping) -> list[Change]:
    outputs = {name: of_output(folder / name) for name in found["outputs"]}
    return changes(old, new) + changes(found["outputs"], outputs)


def read(path: Path) -> dict | None:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return record if isinstance(record["inputs"], dict) and isinstance(record["outputs"], dict) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def of_output(path: Path) -> str:
    how = {".pt": of_weights, ".bin": of_weights, ".tar": shard_fingerprint}
    return how.get(path.suffix, of_content)(path)
