"""Command lines as they might be typed: the options of a command, each with values that do and do not belong."""

import importlib
import os
import re
from pathlib import Path

from hypothesis import strategies as st

from wedefense.cli import COMMANDS
from wedefense.utils.errors import of_paths

ROOT = Path(__file__).parents[3]
JUNK = ["", " ", "-", "--", "-1", "0", "1", "nan", "inf", "1e999", "9" * 30, "0.5", "true", "null", "none", "auto",
        "cpu", "a", "a b", "=1", "../..", ".", "/", "/nowhere/x", "/dev/null", "x" * 300, "é", "\x1b[2J", "[", "{a: [",
        "&a [*a]", "http://127.0.0.1:1/x", "owner/model", "owner/model/x.pt", "wavlm_tiny", "wavlm_bas",
        "asvspoof5_leaderboard", "a\0b", os.fsdecode(b"\xff"), "bonafide", "eval", "dev", "eval dev", "fifo", "folder",
        "empty", "link", "*", "$HOME", "HP single system", "package.module:Class", "model=SSL", "--num_epochs"]
FILES = ["exp", "shared", "pruned", "exp/models/avg_model.pt", "legacy.pt", "weights.safetensors", "conf/config.yaml",
         "exp/config.yaml", "train", "train/wav.scp", "train/utt2lab", "train/raw.list", "train/shard.list",
         "eval.scores", "dev.scores", "csv.scores", "classes.scores", "classes.keys", "frames.txt",
         "dev_seglab_0.16.npy", "data", "data/eval/utt2lab", "data/dev/utt2lab", "data/eval/utt2attack", "trials",
         "calibration.json", "a.wav", "a.flac", "exp/history.json", "new", "new/out"]
_SLOW = {"train": ["--num_epochs", "1", "--gpus", "[0]", "--device", "cpu", "--dataloader_args.num_workers", "0",
                   "--exp_dir", "new/exp", "--train_data", "train/raw.list"],
         "prune": ["--device", "cpu", "--num_epochs", "1", "--dataloader_args.num_workers", "0"],
         "make_list": ["--num_workers", "1"], "embed": ["--device", "cpu"], "export": ["--format", "hub"]}


def options_of(command: str) -> list[str]:
    return sorted(set(re.findall(r'"(--\w+)"', (ROOT / f"wedefense/bin/{command}.py").read_text())) or {"--x"})


GOOD = {
    "augment": "a.wav new --config conf/config.yaml --epochs 1 --dataset_args.rawboost True",
    "average": "--config exp/config.yaml --exp_dir exp --num_avg 1",
    "benchmark": "--model exp --sets train --out new --bootstrap 0",
    "calibrate": "--dev_scores dev.scores --dev_keys data/dev/utt2lab --scores eval.scores --out new",
    "classify": "--exp_dir new --average fold fold",
    "compare": "eval.scores csv.scores --keys data/eval/utt2lab --resamples 10",
    "config": "--config conf/config.yaml --seed 3",
    "embed": "--exp_dir exp --set train --data train/raw.list --data_type raw",
    "evaluate": "--scores eval.scores --keys data/eval/utt2lab --meta data/eval/utt2attack --json new",
    "export": "exp --out new",
    "frames": "--model exp a.wav --out new",
    "fuse": "--dev_scores dev.scores dev.scores --dev_keys data/dev/utt2lab --model new",
    "history": "exp",
    "info": "legacy.pt",
    "llr": "--exp_dir exp --set train",
    "logits": "--exp_dir exp --set train",
    "make_list": "--data_dir train --data_type raw",
    "prune": "--exp_dir new --model exp --target_sparsity 0.3 --train_data train/raw.list",
    "results": "--exp_dir exp --data data --sets dev eval --bootstrap 5",
    "score": "--model exp a.wav --format csv",
    "score_trials": "--exp_dir exp --set eval --trials trials",
    "table": "--table asvspoof5_leaderboard --exp_dir exp",
    "train": "--config conf/config.yaml"}


@st.composite
def command_lines(draw, command: str) -> list[str]:
    """A good line with a few things wrong in it; what makes a run long is set at the end, where it wins."""
    line = GOOD.get(command, "").split()
    value = st.one_of(st.sampled_from(FILES), st.sampled_from(JUNK), st.sampled_from(JUNK))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2]))):
        place = draw(st.integers(0, len(line)))
        how = draw(st.sampled_from(["value", "value", "option", "drop"]))
        if how == "option":
            option = draw(st.sampled_from([*options_of(command), "--unknown"]))
            line[place:place] = [option, draw(value)][:draw(st.integers(1, 2))]
        else:
            line[place:place + 1] = [draw(value)] if how == "value" else []
    return line + (_SLOW.get(command, []) if draw(st.integers(0, 9)) else [])


def run(command: str, line: list[str]):
    with of_paths():  # as `wedefense.cli.run` does around every main
        return importlib.import_module(f"wedefense.bin.{command}").main(line)


ALL = sorted(COMMANDS)
