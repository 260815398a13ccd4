"""The same trials with two ranks: the commands of stages 3 to 6, training and embeddings under torchrun."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.kills.campaign import compared, differences, prepared

HERE = Path(__file__).parent


def commands(stages) -> list[list[str]]:
    exp, sets = str(stages.exp), ["--set", "dev", "eval"]
    config = ["--config", str(stages.config), "--exp_dir", exp, "--data_type", stages.data_type]
    for key, name in (("train", "train"), ("val", "dev")):
        config += [f"--{key}_data", stages.list(name), f"--{key}_label", str(stages.data / name / "utt2lab")]
    ranks = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    prune = [["-m", "wedefense.cli", "prune", "--exp_dir", exp]] if "use_pruning_loss: true" in (
        stages.config.read_text()) else []
    return [[*ranks, "wedefense.bin.train", *config, "--device", "cpu"], ["-m", "wedefense.cli", "average", *config],
            *prune, [*ranks, "wedefense.bin.embed", "--exp_dir", exp, *sets, "--data", stages.list("dev"),
                     stages.list("eval"), "--data_type", stages.data_type, "--device", "cpu"],
            ["-m", "wedefense.cli", "logits", "--exp_dir", exp, *sets],
            ["-m", "wedefense.cli", "llr", "--exp_dir", exp, *sets]]


class RanksCampaign:
    """Trials of one case with two ranks."""

    def __init__(self, folder: Path, case: str):
        self.case, self.stages, self.tried, self.failed = case, prepared(folder, case, ranks=2), 0, []
        self.counter = folder / "renames"
        self.stages.run(2, stop=2)
        self.stages.before = folder / "with_lists"
        self.stages.keep()
        began = time.monotonic()
        assert self._run(kill_at=0), "the whole run failed"
        self.seconds, self.renames = time.monotonic() - began, self.counter.stat().st_size
        self.expected = compared(self.stages.root)

    def _run(self, kill_at: int | None = None, kill_after: float | None = None) -> bool:
        """The commands in turn; a kill ends them all. Without `kill_at` renames are not counted."""
        self.counter.unlink(missing_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
        if kill_at is not None:
            environment |= {"KILL_AT": str(kill_at), "KILL_COUNTER": str(self.counter),
                            "PYTHONPATH": f"{HERE / 'at_rename'}{os.pathsep}{HERE.parents[1]}"}
        until = None if kill_after is None else time.monotonic() + kill_after
        for command in commands(self.stages):
            process = subprocess.Popen([sys.executable, *command], env=environment, start_new_session=True,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                code = process.wait(None if until is None else max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                code = process.wait()
            if code:
                time.sleep(1)  # ranks of a killed launcher end with it
                return False
        return True

    def trial(self, what: str, **kill) -> None:
        self.stages.restore()
        self._run(**kill)
        self.tried += 1
        if not self._run():
            self.failed.append(f"{what}: did not go on")
            return
        if wrong := differences(self.stages.root, self.expected):
            self.failed.append(f"{what}: {', '.join(wrong)}")
        if left := processes_that_name(self.stages.root):
            self.failed.append(f"{what}: still running: {', '.join(left)}")


def processes_that_name(folder: Path) -> list[str]:
    """Ranks that outlived their launcher, where the system tells."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            found.append(path.read_bytes().replace(b"\0", b" ").decode())
    return [command for command in found if str(folder) in command]


def campaign(folder: Path, case: str, renames: int, moments: int, seed: int = 0) -> RanksCampaign:
    """So many kills at renames spread over the run, and so many at random."""
    made, rng = RanksCampaign(folder, case), random.Random(seed)
    for number in sorted(rng.sample(range(1, made.renames + 1), min(renames, made.renames))):
        made.trial(f"rename {number}", kill_at=number)
    for _ in range(moments):
        seconds = rng.uniform(0, made.seconds)
        made.trial(f"after {seconds:.1f} s", kill_after=seconds)
    return made
