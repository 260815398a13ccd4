"""Sections of a check: each in a process of its own, bounded in time, and no failure of one reaches another.

A section is a function `(check, emit)`. Every `emit(table, **row)` reaches the page at once, so that a section that is
stopped or dies leaves what it found; a row with `verdict="FAIL"` makes the section fail.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

FAILED = ("FAIL", "DIED")
MINUTES = 8.0  # that all sections have together, unless more are given


@dataclass(frozen=True)
class Section:
    name: str
    title: str
    run: Callable[["Check", Callable], None]
    seconds: float   # it is stopped after so many, of MINUTES for all; later where there are more
    note: str = ""   # what the figures mean, for the page


@dataclass
class Check:
    """What every section is told."""

    device: str
    tiny: bool
    out: Path
    peers: tuple[str, ...] = ("s3prl", "transformers", "torchaudio")
    precisions: tuple[str, ...] = ("bfloat16", "tf32", "float32")
    ranks: int | None = None  # that train together; None: one for each GPU, one on a CPU
    found: dict = field(default_factory=dict)  # section -> what it found so far, see `Runner.results`

    def rows(self, section: str, table: str) -> list[dict]:
        return self.found.get(section, {}).get("tables", {}).get(table, [])

    @property
    def workers(self) -> int:
        return 2 if self.tiny else min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


class Skip(Exception):
    """A section cannot run here; the message says why in a word."""


def run_sections(sections: list[Section], check: Check, minutes: float, flush: Callable[[dict], None]) -> None:
    """Run them in turn into `check.found`; `flush` is called whenever something has been found."""
    end, longer = time.monotonic() + 60 * minutes, max(1.0, minutes / MINUTES)
    for section in sections:
        entry = check.found[section.name] = {"title": section.title, "note": section.note, "status": "SKIPPED",
                                             "words": "", "seconds": 0.0, "tables": {}}
        left = end - time.monotonic()
        if left < min(10, section.seconds):
            entry["words"] = f"the {minutes:g} minutes are over"
        else:
            _run(section, check, entry, min(left, section.seconds * longer), flush)
        flush(check.found)


def _run(section: Section, check: Check, entry: dict, limit: float, flush: Callable[[dict], None]) -> None:
    context = multiprocessing.get_context("fork")  # torch is imported once; nobody has woken the device before
    reader, writer = context.Pipe(duplex=False)
    started = time.monotonic()
    child = context.Process(target=_child, args=(section, check, writer))
    child.start()
    writer.close()
    entry.update(status="RUNNING")
    flush(check.found)  # the page says what runs, should the machine end here
    while _receive(reader, started + limit - time.monotonic(), entry):
        entry["seconds"] = round(time.monotonic() - started, 1)
        flush(check.found)
    if entry["status"] != "RUNNING" or time.monotonic() < started + limit:  # it is at its end
        child.join(10)
    if entry["status"] == "RUNNING":
        late = child.is_alive()
        entry.update(status="STOPPED" if late else "DIED", words=f"after {limit:.0f} s" if late else
                     f"with exit code {child.exitcode}; see {section.name}.log")
    _end(child)
    entry["seconds"] = round(time.monotonic() - started, 1)
    if entry["status"] != "SKIPPED" and any(row.get("verdict") == "FAIL" for table in entry["tables"].values()
                                            for row in table):
        entry["status"] = "FAIL"


def _receive(reader, seconds: float, entry: dict) -> bool:
    """Take one message into the entry; False at the end or after so many seconds."""
    try:
        if not reader.poll(max(seconds, 0)):
            return False
        message = json.loads(reader.recv_bytes())
    except (EOFError, OSError):
        return False
    if "table" in message:
        entry["tables"].setdefault(message["table"], []).append(message["row"])
        return True
    entry.update(message)
    return False


def _end(child) -> None:
    """The child and whatever it started, ranks in sessions of their own too."""
    started = descendants(child.pid)
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        child.kill()
    for process in started:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)
    child.join(10)


def descendants(process: int) -> list[int]:
    """Of a process, those that it started and those that they did; none where /proc does not tell."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text(errors="replace").rsplit(") ", 1)[1].split()[1])
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def _child(section: Section, check: Check, writer) -> None:
    os.setsid()
    log = os.open(check.out / f"{section.name}.log", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1, closefd=False) for descriptor in (1, 2))

    def send(message: dict) -> None:
        writer.send_bytes(json.dumps(message, default=str).encode())

    def emit(table: str, **row) -> None:
        print(table, row)
        send({"table": table, "row": row})

    try:
        section.run(check, emit)
        send({"status": "OK", "words": ""})
    except Skip as reason:
        send({"status": "SKIPPED", "words": str(reason)})
    except BaseException as error:  # whatever it is, it is this section's
        traceback.print_exc()
        send({"status": "FAIL", "words": f"{type(error).__name__}: {first_line(error)}; see {section.name}.log"})
    finally:
        writer.close()
        sys.stdout.flush()
        os._exit(0)  # nothing of the parent's is to be torn down here


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
