"""What runs in processes of its own: the ranks, the tests for a GPU, the mini recipe from data to report."""

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from tools.gpu.machine import ROOT
from tools.gpu.sections import Check, Skip
from wedefense.experiment.folder import ExperimentFolder


def need(*packages: str) -> None:
    """Raises Skip where one of them cannot be imported."""
    lacking = []
    for package in packages:
        try:
            importlib.import_module(package)
        except (ImportError, OSError):  # OSError: a library that it stands on
            lacking.append(package)
    if lacking:
        raise Skip(f"not installed: {', '.join(lacking)}")


def environment(folder: Path) -> dict[str, str]:
    """`python` is this Python, which some machines only know as python3; the checkout comes first."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(folder),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "OMP_WAIT_POLICY": "PASSIVE"}


def lines_of(command: list[str], folder: Path, cwd: Path = ROOT):
    """Line by line what a command says; the log has it too. Raises where it fails."""
    process = subprocess.Popen(command, cwd=cwd, env=environment(folder), stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace")
    last = ""
    for line in process.stdout:
        print(line, end="")
        last = line.strip() or last
        yield line.rstrip("\n")
    if process.wait():
        raise RuntimeError(f"exit code {process.returncode}, last said: {last[:160]}")


def ranks(check: Check, emit: Callable) -> None:
    there = torch.cuda.device_count() if check.device == "cuda" else None
    count = check.ranks or there or 1
    if there is not None and count > there:
        raise Skip(f"{count} ranks asked for, and {there} GPUs here: NCCL wants one for each")
    small = ["--size", "tiny", "--samples", "4000"] if check.tiny else []
    with tempfile.TemporaryDirectory() as folder:
        command = ["python", str(ROOT / "tools/launch.py"), "--standalone", "--nproc_per_node", str(count),
                   str(ROOT / "tools/gpu/ranks.py"), "--device", check.device, *small]
        for line in lines_of(command, Path(folder)):
            if line.startswith('{"what"'):
                emit("ranks", ranks=count, **json.loads(line))


def tests(check: Check, emit: Callable) -> None:
    need("pytest")
    with tempfile.TemporaryDirectory() as folder:
        # one failure does not hide the others: the exit code is read from the count
        command = ["sh", "-c", "python -m pytest tests/gpu -p no:cacheprovider --continue-on-collection-errors "
                               "|| test $? -eq 1"]
        for line in lines_of(command, Path(folder)):
            if re.match(r"(FAILED|ERROR) ", line):
                emit("tests", what=line[:160], verdict="FAIL")
            counts = {kind: int(number) for number, kind in re.findall(r"(\d+) (passed|failed|error|skipped)", line)}
            if counts and re.search(r" in [\d.:]+", line):
                emit("count", **{kind: counts.get(kind, 0) for kind in ("passed", "failed", "error", "skipped")},
                     words=line.strip("= "))


def recipe(check: Check, emit: Callable) -> None:
    """egs/detection/mini, in folders of its own; few epochs, so that the error rates mean nothing."""
    need("soundfile", "kaldiio", "yaml", "matplotlib")
    mini = ROOT / "egs/detection/mini"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        places = ["--corpus", str(folder / "corpus"), "--data", str(folder / "data"), "--exp_dir", str(folder / "exp"),
                  "--num_workers", str(check.workers), "--device", check.device]
        first = "1"
        if check.tiny:  # a tenth of the corpus, so that stage 1 is done here
            first = "2"
            corpus, data = str(folder / "corpus"), str(folder / "data")
            list(lines_of(["python", str(mini / "local/make_corpus.py"), "--out", corpus, "--scale", "0.1"], folder))
            list(lines_of(["python", str(ROOT / "tools/prepare/corpus.py"), "partialspoof", "--subset", "--corpus",
                           corpus, "--out", data], folder))
        epochs = ["--num_epochs", "4"]
        if check.tiny:
            epochs = ["--num_epochs", "1", "--num_avg", "1", "--dataloader_args.batch_size", "8"]
        for line in lines_of(["bash", str(mini / "run.sh"), "--stage", first, *places, *epochs], folder):
            found = re.match(r"== (stage \d): (.*): done in (\d+) s", line)
            if found:
                emit("recipe", stage=found[1], what=found[2], seconds=int(found[3]), verdict="OK")
        exp = ExperimentFolder(folder / "exp")
        made = [path.name for path in (exp.results, exp.report) if path.stat().st_size]
        emit("recipe", stage="end", what=f"written: {', '.join(made)}", verdict="OK" if len(made) == 2 else "FAIL")
