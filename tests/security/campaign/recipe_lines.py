"""Options of recipes as they might be typed at run.sh, with a stand-in for Python that notes what it is called with."""

import os
import re
import subprocess
from pathlib import Path

from hypothesis import strategies as st

from tests.recipes.tiny import EGS

PYTHON = """#!/usr/bin/env bash
printf '%s\\0' "$@" >> "$CALLS"; printf '\\n\\0' >> "$CALLS"
case "$*" in
  *num_gpus*) echo 1 ;;
  *use_pruning_loss*) echo false ;;
  *newest_weights*) echo "$DATA/weights.pt" ;;
esac
"""
_RECIPE = (Path(__file__).parents[3] / "tools/recipe.sh").read_text()
_OPTIONS = re.search(r'options="([^"]+)"', _RECIPE)[1].replace("\\\n", " ").split()
SCRIPTS = sorted(EGS.glob("**/run*.sh"))
OPTIONS = [*_OPTIONS, "num_epochs", "dataset_args.num_frms", "seed", "model_args.embed_dim"]
VALUES = ["", " ", "a b", "'", '"', "$HOME", "$(touch pwned)", "`touch pwned`", "; touch pwned", "*", "-1", "0", "1",
          "3", "5", "7", "9", "10", "99", "x", "raw", "shard", "true", "false", "é中", "\\", "--", "--stage", "a=b",
          "[0,1]", "{a: 1}", "../x", "/dev/null", "\x1b[2J", "&& false", "| cat", "<x", ">pwned", "%s%n", "train dev",
          "none", "a\nb", "!", "~", "#", "dev eval", "speaker", "1e3", "010", "20261126_1"]
# That a shell says these means that a value was taken for its own words.
_SHELL = re.compile(r"unbound variable|syntax error|command not found|bad substitution|ambiguous redirect|integer "
                    r"expression|unexpected|printf:|invalid variable name")


@st.composite
def lines(draw) -> tuple[Path, list[str]]:
    words: list[str] = []
    for _ in range(draw(st.integers(0, 3))):
        name, value = draw(st.sampled_from(OPTIONS)), draw(st.sampled_from(VALUES))
        words += draw(st.sampled_from([[f"--{name}", value], [f"--{name}", value], [f"--{name}={value}"], [f"--{name}"],
                                       [value]]))
    first = draw(st.sampled_from(["2", "3", "4", "5", "6", "7"]))
    if draw(st.booleans()):
        words += ["--stage", first, "--stop_stage", draw(st.sampled_from([first, "7", "9"]))]
    return draw(st.sampled_from(SCRIPTS)), words


def run(folder: Path, script: Path, words: list[str]) -> tuple[str, str]:
    """(taken or refused, what was wrong in words, or nothing)"""
    calls = folder / "calls"
    calls.write_bytes(b"")
    own = [] if any(word.startswith("--exp_dir") for word in words) else ["--exp_dir", str(folder / "exp")]
    environment = {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": "none",
                   "CALLS": str(calls), "DATA": str(folder), "HOME": str(folder)}
    done = subprocess.run(["bash", script, "--data", folder / "data", "--corpus", folder, *own, *words],
                          env=environment, capture_output=True, cwd=folder, stdin=subprocess.DEVNULL)
    said = (done.stdout + done.stderr).decode(errors="replace")
    begun = re.search("^== stage|^usage:", said, re.MULTILINE)
    wrong = ""
    if found := _SHELL.search(said):
        wrong = f"the shell itself spoke: {found[0]}"
    elif list(folder.rglob("pwned")) or (script.parent / "pwned").exists():
        wrong = "a value was run"
    elif done.returncode == 0 and not begun:
        wrong = "exit 0 with nothing done"
    elif done.returncode and not said.strip():
        wrong = "refused without a word"
    elif done.returncode == 0 and "--help" not in words:
        wrong = _lost(words, calls.read_bytes().decode(errors="replace").split("\0"))
    return "taken" if done.returncode == 0 else "refused", f"{wrong}: {said[-600:]}" if wrong else ""


def _lost(words: list[str], passed: list[str]) -> str:
    """Keys of the config reach every command as they were typed."""
    left = list(words)
    while left:
        option = left.pop(0)
        name, equals, value = option.partition("=")
        value = value if equals else left.pop(0) if left else ""
        if name in ("--seed", "--num_epochs", "--model_args.embed_dim") and value not in passed:
            return f"{name} {value!r} did not arrive"
    return ""
