"""Kills of the stages at every rename and at any moment, and what they leave: nothing, once the stages ran again.

    python -m tests.kills.campaign [--cases raw-full ...] [--every N] [--random N] [--ranks 2]

A trial starts from an empty experiment (and data as stage 1 leaves it), is killed, run again from its first stage, and
compared bit by bit with a run that nobody killed. With one rank the stages run in forked processes of this one, which
spares their imports; with two ranks they are the commands, under torchrun.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.recipes.stages_here import PRUNED, SSL, Stages

MODES = {
    "frozen": SSL | {"dataset_args__ssl_args": {"upstream_args": {"name": "wavlm_tiny"}, "frozen": True}},
    "full": SSL | {"dataset_args__ssl_args": {"upstream_args": {"name": "wavlm_tiny"}}},
    "pruning": SSL | PRUNED,
}
CASES = [f"{data_type}-{mode}" for data_type in ("raw", "shard") for mode in MODES]
TUNED = ("--num_epochs", "1", "--seed", "8")
# Compared by their content alone: they tell of times, or of paths of the run.
_NOT_COMPARED = ("train.log", "report.html", ".owner")


def prepared(root: Path, case: str, ranks: int = 1) -> Stages:
    data_type, mode = case.split("-")
    small = {"num_epochs": 2, "num_avg": 2, "save_step_interval": 1, "dataloader_args__batch_size": 4 // ranks,
             "gpus": list(range(ranks))}
    stages = Stages(root, data_type, **MODES[mode], **small)
    stages.keep()
    return stages


def all_stages(stages: Stages) -> None:
    """2 to 7, and 8: fine-tuned from the average, with its own 4 to 7."""
    stages.run(2)
    whole = json.loads((stages.exp / "pruned_model/source.json").read_text()) if (
        stages.exp / "pruned_model/source.json").exists() else None
    start = stages.exp / ("pruned_model/models/avg_model.pt" if whole else "models/avg_model.pt")
    off = ("--use_pruning_loss", "false", "--target_sparsity", "0") if whole else ()
    stages.run(3, *TUNED, *off, "--model_init", str(start), exp=stages.root / "exp-FT")


def in_child(function: Callable, *arguments, kill_after: float | None = None) -> int:
    """What a forked process ended with: 0, or minus the signal."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, 1)
            if not os.environ.get("KILLS_VERBOSE"):
                os.dup2(devnull, 2)
            function(*arguments)
            code = 0
        finally:
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def counting(stages: Stages, counter: Path, kill_at: int | None, after: bool) -> None:
    """All stages, in which a rename is counted, and the one of that number the last thing that happens."""
    replace = os.replace

    def counted(source, target, **more):
        with open(counter, "ab") as stream:
            stream.write(b".")
        number = counter.stat().st_size
        if number == kill_at and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target, **more)
        if number == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = counted
    without_pictures(all_stages, stages)


def without_pictures(function: Callable, *arguments) -> None:
    import wedefense.report.write

    wedefense.report.write.write_report = lambda *arguments: None
    function(*arguments)


def compared(root: Path) -> dict[str, object]:
    """Every file, as it is or without what tells of times."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and path.name not in _NOT_COMPARED and "/tensorboard/" not in name and path.suffix != ".png":
            found[name] = _content(path)
    return found


def _content(path: Path) -> object:
    if path.name == "last.ckpt":
        return _plain(torch.load(path, weights_only=True))
    if path.suffix == ".json":
        return _without_times(json.loads(path.read_text()))
    if path.suffix == ".idx":  # its first line is the time of the tar
        return path.read_text().splitlines()[1:]
    return path.read_bytes()


def _plain(value):
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "seconds"}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _without_times(value):
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if key not in ("seconds", "pruning.json")}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def differences(root: Path, expected: dict[str, object]) -> list[str]:
    """The files that are others than after the whole run, and those that nobody cleared."""
    found = compared(root)
    wrong = [name for name in {*found, *expected} if found.get(name) != expected.get(name)]
    return sorted(wrong + [f"left behind: {name}" for name in left_behind(root)])


def left_behind(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob(".*") if path.is_file()]


class Campaign:
    """Trials of one case, with one rank; `failed` says what was found wrong."""

    def __init__(self, folder: Path, case: str):
        self.case, self.stages = case, prepared(folder, case)
        self.counter, self.tried, self.failed = folder / "renames", 0, []
        began = time.monotonic()
        assert in_child(counting, self.stages, self.counter, None, False) == 0, f"{case}: the whole run failed"
        self.seconds, self.renames = time.monotonic() - began, self.counter.stat().st_size
        self.expected = compared(self.stages.root)

    def at_rename(self, number: int, after: bool) -> None:
        self._trial(f"rename {number} {'after' if after else 'before'}", counting, self.stages, self.counter, number,
                    after)

    def at_random(self, seconds: float) -> None:
        self._trial(f"after {seconds:.2f} s", without_pictures, all_stages, self.stages, kill_after=seconds)

    def _trial(self, what: str, *call, kill_after: float | None = None) -> None:
        self.stages.restore()
        self.counter.unlink(missing_ok=True)
        in_child(*call, kill_after=kill_after)
        self.tried += 1
        if in_child(without_pictures, all_stages, self.stages) != 0:
            self.failed.append(f"{what}: did not go on")
            return
        if wrong := differences(self.stages.root, self.expected):
            self.failed.append(f"{what}: {', '.join(wrong)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--every", type=int, default=1, help="kill at every so manieth rename, before and after it")
    parser.add_argument("--random", type=int, default=5, help="kills at random moments, for each case")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, failed = random.Random(arguments.seed), 0
    for case in arguments.cases:
        folder = Path(tempfile.mkdtemp(prefix=f"kills-{case}-"))
        campaign = Campaign(folder, case)
        for number in range(1, campaign.renames + 1, arguments.every):
            for after in (False, True):
                campaign.at_rename(number, after)
        for _ in range(arguments.random):
            campaign.at_random(rng.uniform(0, campaign.seconds))
        print(f"{case}: {campaign.renames} renames, {campaign.tried} kills, {len(campaign.failed)} failed", flush=True)
        for line in campaign.failed:
            print(f"  {line}", flush=True)
        failed += len(campaign.failed)
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
