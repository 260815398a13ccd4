"""Command lines as they might be typed: the examples of each command's help, with a few things wrong in them.

They run in a copy of the folder in which the examples of the helps run (`tests/walkthrough.py`), with odd files in it.
"""

import contextlib
import importlib
import io
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hypothesis import strategies as st

from tests.walkthrough import typed
from wedefense.cli import COMMANDS
from wedefense.utils.errors import of_paths
from wedefense.utils.examples import EXAMPLES

ALL = sorted(COMMANDS)
JUNK = ["", " ", "-", "--", "-1", "0", "1", "nan", "inf", "1e999", "9" * 30, "0.5", "true", "null", "none", "auto",
        "cpu", "a", "a b", "=1", "../..", ".", "/dev/null/x", "/dev/null", "x" * 300, "é", "\x1b[2J", "[", "{a: [",
        "&a [*a]", "http://127.0.0.1:1/x", "owner/model", "owner/model/x.pt", "wavlm_tiny", "wavlm_bas",
        "asvspoof5_leaderboard", "a\0b", os.fsdecode(b"\xff"), "bonafide", "eval", "dev", "eval dev", "fifo", "folder",
        "empty", "link", "*", "$HOME", "HP single system", "package.module:Class", "model=SSL", "--num_epochs", "rttm",
        "noise@10dB", "mp3@64", "seed", "back-end", "detection/mini", "exp/mhfa=x", "x=exp/mhfa", "a=data/eval"]
FILES = ["exp/mhfa", "exp/sls", "exp/fold1", "exp/mhfa/models/avg_model.pt", "exp/mhfa/models/last.ckpt",
         "exp/mhfa/config.yaml", "exp/mhfa/label2id", "exp/mhfa/history.json", "exp/mhfa/train.log", "conf/mhfa.yaml",
         "data", "data/train", "data/eval", "data/train/raw.list", "data/train/utt2lab", "data/dev/utt2dur",
         "data/eval/utt2spk", "wav.scp", "utt2lab", "scores.txt", "old.txt", "dev.txt", "frames.txt", "segments",
         "dev.rttm", "dev_seglab_0.02.npy", "trials", "clip.wav", "recordings", "recordings/a.flac", "noises", "new",
         "new/out", "exp/mhfa/posteriors/eval/llr.txt", "exp/mhfa/embeddings/eval/embedding.scp"]
# More good lines; the examples of the helps come first.
MORE = {
    "embed": ["--exp_dir exp/mhfa --sets train --data data/train/raw.list --data_type raw"],
    "config": ["--config conf/mhfa.yaml --seed 3", "--schema", "--config exp/mhfa/config.yaml --print num_gpus"],
    "evaluate": ["--scores scores.txt --keys utt2lab --groups data/eval/utt2spk --json new/j --html new/h"],
    "export": ["exp/mhfa --format torchscript --out new/script"],
    "benchmark": ["--model exp/mhfa --sets data/eval --out bench --bootstrap 0 --export arena"],
    "classify": ["--exp_dir exp/fold2 --data data --sets eval", "--exp_dir exp/folds --average exp/fold1 exp/fold2"],
    "table": ["--table asvspoof5_leaderboard --row 'HP single system' --exp_dir exp/mhfa --rename eval=eval",
              "--table asvspoof5_leaderboard --filled 'HP single system=exp/mhfa' --format latex"],
    "compare": ["old.txt new.txt --keys utt2lab --resamples 10 --json new/c"],
    "history": ["exp/mhfa"], "info": ["exp/mhfa/models/avg_model.pt"], "models": ["x"],
    "locate": ["--model exp/mhfa clip.wav --out new/c.rttm --smooth 0.2 --threshold -1"],
    "score": ["--model exp/mhfa clip.wav --format csv", "--model exp/mhfa/models/model_2.pt wav.scp --window 0.5"],
}
# What makes a run long is said at the end, where it wins.
_SHORT = {"train": ["--num_epochs", "1", "--device", "cpu", "--dataloader_args.num_workers", "0", "--exp_dir",
                    "new/exp", "--train_data", "data/train/raw.list", "--val_data", "null"],
          "prune": ["--device", "cpu", "--num_epochs", "1", "--dataloader_args.num_workers", "0"],
          "make_list": ["--num_workers", "1"], "embed": ["--device", "cpu"], "results": ["--bootstrap", "5"],
          "compare": ["--resamples", "10"], "benchmark": ["--bootstrap", "0", "--device", "cpu"]}
_NOT_OFTEN = {"export": "onnx", "benchmark": ""}  # examples that take long


def good_lines(command: str) -> list[list[str]]:
    """Of words."""
    examples = [typed(text)[1:] for text in EXAMPLES[command]]
    left_out = _NOT_OFTEN.get(command)
    kept = [words for words in examples if left_out is None or not re.search(left_out, " ".join(words))]
    return kept + [shlex.split(line) for line in MORE.get(command, [])]


def options_of(command: str) -> list[str]:
    """As its help has them."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        importlib.import_module(f"wedefense.bin.{command}").main(["-h"])
    return sorted(set(re.findall(r"(?<![\w-])--\w+", printed.getvalue().split("examples:")[0])) - {"--help"}) + ["--x"]


@st.composite
def command_lines(draw, command: str, options: Sequence[str]) -> list[str]:
    line = list(draw(st.sampled_from(good_lines(command))))
    value = st.one_of(st.sampled_from(FILES), st.sampled_from(JUNK), st.sampled_from(JUNK))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2]))):
        place = draw(st.integers(0, len(line)))
        how = draw(st.sampled_from(["value", "value", "option", "option", "drop"]))
        if how == "option":
            line[place:place] = [draw(st.sampled_from(options)), draw(value)][:draw(st.integers(1, 2))]
        else:
            line[place:place + 1] = [draw(value)] if how == "value" else []
    return line + (_SHORT.get(command, []) if draw(st.integers(0, 9)) else [])


def run(command: str, line: list[str]):
    with of_paths():  # as `wedefense.cli.run` does around every main
        return importlib.import_module(f"wedefense.bin.{command}").main(line)


class Watched:
    """A folder between tries: what a refusal may not touch, what no try may leave, and how it was."""

    KEPT = ("config.yaml", "label2id", "frontend.json", "training.json", "models/")  # of a trained experiment

    def __init__(self, root: Path):
        self.root = root
        self.files = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
        self.stamps = {path: self._stamp(path) for path in self.files}

    @staticmethod
    def _stamp(path: Path) -> tuple[int, int] | None:
        return (status.st_mtime_ns, status.st_size) if path.is_file() and (status := path.stat()) else None

    def wrong(self, outcome: str) -> str:
        """In words; empty where all is well."""
        left = [path.name for path in self.root.rglob(".*.tmp")]
        if left:
            return f"left behind: {left}"
        changed = [path for path, stamp in self.stamps.items() if self._stamp(path) != stamp]
        if outcome == "refused":
            for path in changed:
                name = path.relative_to(self.root).as_posix()
                if name.startswith("exp/mhfa/") and name.removeprefix("exp/mhfa/").startswith(self.KEPT) and (
                        not path.is_file() or path.read_bytes() != self.files[path]):
                    return f"refused, and {name} is not what it was"
        return ""

    def restore(self) -> None:
        for path, stamp in self.stamps.items():
            if self._stamp(path) != stamp:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.files[path])
                self.stamps[path] = self._stamp(path)
