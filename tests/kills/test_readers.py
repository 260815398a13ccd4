"""Readers of stage 1 that write more than tables: killed at every rename and run again, they leave what they should."""

import numpy as np
import pytest
import soundfile

from tests.kills.comparison import everything, left_behind
from tests.kills.forked import in_session
from tests.kills.snapshots import Watch
from tools.prepare import mix, table, voxceleb


def sounds(folder, names):
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(4000), 8000)


def a_table(root):
    """Of parts of files, which become files of their own, in sets that are made."""
    sounds(root / "clips", [f"{number}.wav" for number in range(4)])
    lines = [f"{number}.wav,{('real', 'fake')[number % 2]},{begin},{begin + 0.2}" for number in range(4)
             for begin in (0, 0.25)]
    (root / "clips/labels.csv").write_text("\n".join(["path,label,start,end", *lines]) + "\n")
    return table.main, ["--table", str(root / "clips/labels.csv"), "--out", str(root / "data"), "--by", "recording",
                        "--split", "2:1:1", "--num_workers", "1"]


def a_mixture(root):
    sounds(root / "audio", ["a1.wav", "a2.wav", "b1.wav", "b2.wav"])
    for part in "ab":
        (root / part).mkdir()
        (root / part / "wav.scp").write_text("".join(f"u{n} {root}/audio/{part}{n}.wav\n" for n in (1, 2)))
        (root / part / "utt2lab").write_text("u1 bonafide\nu2 spoof\n")
    return mix.main, [f"a={root / 'a'}", f"b={root / 'b'}", "--out", str(root / "mix"), "--num_workers", "1"]


def speakers(root):
    """With trials."""
    names = [f"{speaker}/video/0000{number}" for speaker in ("id1", "id2") for number in (1, 2)]
    sounds(root / "corpus/vox1_test_wav", [f"{name}.wav" for name in names])
    (root / "corpus/veri_test2.txt").write_text(f"1 {names[0]}.wav {names[1]}.wav\n0 {names[0]}.wav {names[2]}.wav\n")
    return voxceleb.main, ["--corpus", str(root / "corpus"), "--out", str(root / "data"), "--num_workers", "1"]


@pytest.mark.parametrize("make, renames", [(a_table, 14), (a_mixture, 3), (speakers, 4)])
def test_killed_at_every_rename_they_go_on(tmp_path, make, renames):
    root, log = tmp_path / "work", tmp_path / "log"
    root.mkdir()
    main, arguments = make(root)
    watch = Watch(root, tmp_path / "copies")
    assert in_session(log, watch.watches, main, arguments) == 0, log.read_text()
    whole, places = everything(root), watch.places()
    assert sum(place.change == "replace" and place.when == "before" for place in places) >= renames
    for place, copy in places.items():
        watch.take(copy)
        assert in_session(log, main, arguments) == 0, f"{place}: {log.read_text()}"
        assert everything(root) == whole and not left_behind(root), place
