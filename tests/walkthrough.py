"""A folder in which everything stands that the examples of helps, pages and notebooks name."""

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.corpus import make_list, write_config
from tests.detect.experiments import SSL, wave
from wedefense.cli import main
from wedefense.data.spans import Span, write_spans
from wedefense.utils.tables import read_table, write_table

TRAINING = SSL | {"exp_dir": "exp/mhfa", "num_epochs": 2, "dataset_args__num_frms": 40, "num_avg": 1,
                  "train_data": "data/train/raw.list", "val_data": "data/dev/raw.list",
                  "dataloader_args__num_workers": 0, "dataset_args__cmvn": False}
BEFORE = """
make_list --data_dir data/train
make_list --data_dir data/dev
make_list --data_dir data/eval
train --config conf/mhfa.yaml
average --config conf/mhfa.yaml
embed --exp_dir exp/mhfa --sets train --data data/train/raw.list
embed --exp_dir exp/mhfa --sets eval --data data/eval/raw.list
embed --exp_dir exp/mhfa --sets dev --data data/dev/raw.list
logits --exp_dir exp/mhfa --sets dev eval
llr --exp_dir exp/mhfa --sets dev eval
"""


def call(lines: str) -> None:
    for line in lines.strip().replace("\n  ", " ").splitlines():
        assert main(shlex.split(line)) == 0, line


def prepare(root: Path) -> None:
    """Data, a trained experiment and copies of it, recordings, scores, labels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for number, name in enumerate(("train", "dev", "eval")):
            make_list(Path("data"), name, 12, seed=number)
            keys = list(read_table(f"data/{name}/utt2lab"))
            write_table(f"data/{name}/utt2spk", {key: f"s{place // 2 % 3}" for place, key in enumerate(keys)})
            lines = Path(f"data/{name}/raw.list").read_text().splitlines()
            write_table(f"data/{name}/utt2dur", {row["key"]: str(row["dur"]) for row in map(json.loads, lines)})
        for name in ("conf", "recordings", "noises"):
            Path(name).mkdir()
        write_config(Path("conf"), **TRAINING).rename("conf/mhfa.yaml")
        for name in ("clip.wav", "recordings/a.flac", "noises/n.wav"):
            soundfile.write(name, wave(1.0), 16000)
        call(BEFORE)
        for name in ("sls", "speakers", "fold1", "fold2"):
            shutil.copytree("exp/mhfa", f"exp/{name}")
        _tables(keys)


def _tables(keys: list[str]) -> None:
    """Scores and labels of the eval set, and of partly fake recordings."""
    scores = {name: read_table(f"exp/mhfa/posteriors/{name}/llr.txt") for name in ("dev", "eval")}
    for name, found in (("dev", scores["dev"]), ("dev2", scores["dev"]), ("old", scores["eval"])):
        noise = np.random.default_rng(len(name)).normal(size=len(found))
        write_table(f"{name}.txt", {key: str(float(value) + more) for (key, value), more in zip(found.items(), noise)})
    for name in ("new.txt", "scores.txt"):
        write_table(name, scores["eval"])
    shutil.copy("data/eval/utt2lab", "utt2lab")
    shutil.copy("data/eval/wav.scp", "wav.scp")
    Path("trials").write_text("".join(f"{int(a[-1] == b[-1])} {a} {b}\n" for a in keys[:4] for b in keys[4:]))
    durations = {key: float(value) for key, value in read_table("data/dev/utt2dur").items()}
    spans = {key: [Span(0, end / 2, "bonafide"), Span(end / 2, end, "spoof")] if key[-1] in "13579" else
             [Span(0, end, "bonafide")] for key, end in durations.items()}
    for name in ("segments", "dev.rttm", "dev_seglab_0.02.npy"):
        write_spans(Path(name), spans)
    write_table("frames.txt", {key: " ".join(str(n % 7) for n in range(int(end / 0.02)))
                               for key, end in durations.items()})


def typed(text: str) -> list[str]:
    """The words of an example; what comes after a pipe is another program's."""
    words = shlex.split(text.replace("\\\n", " "), comments=True)
    assert words[0] == "wedefense"
    return words[1:words.index("|")] if "|" in words else words[1:]
