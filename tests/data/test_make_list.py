"""Stage 2: a data folder is checked, reported and listed."""

import errno
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpora import noise

from wedefense.bin.make_list import main
from wedefense.data.audio import AudioInfo
from wedefense.data.manifest import Manifest, Recording, read_data_dir
from wedefense.data.sources import open_source
from wedefense.utils.errors import InputError
from wedefense.utils.tables import write_table


@pytest.fixture
def folder(tmp_path):
    """Six utterances: two spoof of 1 s, four bonafide of 2 s, one of these in stereo at 8 kHz."""
    data, audio = tmp_path / "train", tmp_path / "audio"
    data.mkdir()
    audio.mkdir()
    wavs, labels = {}, {}
    for i in range(6):
        key, spoof = f"u{i}", i < 2
        rate = 8000 if i == 5 else 16000
        wav = noise(rate if spoof else 2 * rate, i)
        wavs[key], labels[key] = audio / f"{key}.flac", "spoof" if spoof else "bonafide"
        soundfile.write(wavs[key], np.stack([wav, wav], axis=1) if i == 5 else wav, rate)
    write_table(data / "wav.scp", wavs)
    write_table(data / "utt2lab", labels)
    return data


def make(folder, *options):
    return main(["--data_dir", str(folder), "--num_workers", "1", *options])


def test_raw_list_and_report(folder, capsys):
    assert make(folder) == 0
    records = [json.loads(line) for line in (folder / "raw.list").read_text().splitlines()]
    assert [(r["key"], r["lab"], r["dur"]) for r in records] == [
        (f"u{i}", "spoof" if i < 2 else "bonafide", 1.0 if i < 2 else 2.0) for i in range(6)]
    assert all(os.path.isabs(r["wav"]) and os.path.exists(r["wav"]) for r in records)
    text = capsys.readouterr().out
    for words in ("6 utterances", "bonafide 4 (0.00 h)", "spoof 2", "1.00 to 2.00 s", "8000: 1, 16000: 5", "1: 5, 2: 1",
                  "problems: none"):
        assert words in text


@pytest.mark.parametrize("workers", ["1", "2"])
def test_shards(folder, workers):
    assert main(["--data_dir", str(folder), "--data_type", "shard", "--num_utts_per_shard", "4",
                 "--num_workers", workers]) == 0
    source = open_source(folder / "shard.list", "shard")
    assert sorted((u.key, u.label, u.duration) for u in source.entries) == [
        (f"u{i}", "spoof" if i < 2 else "bonafide", 1.0 if i < 2 else 2.0) for i in range(6)]
    assert np.bincount(source.groups).tolist() == [4, 2]


def test_nothing_is_done_twice(folder, capsys):
    for data_type in ("raw", "shard"):
        listed = folder / f"{data_type}.list"
        assert make(folder, "--data_type", data_type) == 0
        first = listed.stat().st_mtime_ns
        assert make(folder, "--data_type", data_type) == 0
        assert listed.stat().st_mtime_ns == first and "nothing to do" in capsys.readouterr().out
        assert make(folder, "--data_type", data_type, "--force") == 0
        second = listed.stat().st_mtime_ns
        assert second > first
        for name in ("utt2lab", "wav.scp"):  # times say nothing
            os.utime(folder / name, ns=(second + 10**9,) * 2)
        assert make(folder, "--data_type", data_type) == 0
        assert listed.stat().st_mtime_ns == second and "nothing to do" in capsys.readouterr().out
    assert make(folder, "--data_type", "shard", "--num_utts_per_shard", "2") == 0
    shards = sorted((folder / "shards").glob("*.tar"))
    assert len(shards) == 3
    shards[1].unlink()  # a shard went missing
    assert make(folder, "--data_type", "shard", "--num_utts_per_shard", "2") == 0
    assert shards[1].exists()


@pytest.mark.parametrize("data_type", ["raw", "shard"])
def test_what_changed_is_listed_again_whatever_its_time_says(folder, data_type):
    from wedefense.data.fingerprint import of_list

    def listed() -> dict:
        assert make(folder, "--data_type", data_type) == 0
        return of_list(folder / f"{data_type}.list", data_type)

    first = listed()
    wav = Path(next(line.split()[1] for line in (folder / "wav.scp").read_text().splitlines()))
    before = wav.stat()
    samples, rate = soundfile.read(wav)
    soundfile.write(wav, samples[::-1], rate)
    os.utime(wav, ns=(before.st_atime_ns, before.st_mtime_ns))
    second = listed()
    assert {key for key in first if first[key] != second[key]} == {"audio"}
    labels = (folder / "utt2lab").read_text()
    (folder / "utt2lab").write_text(labels.replace("spoof", "x").replace("bonafide", "spoof").replace("x", "bonafide"))
    third = listed()
    assert "labels" in {key for key in first if second[key] != third[key]}
    (folder / "utt2lab").write_text(labels)
    soundfile.write(wav, samples, rate)
    assert listed() == first


@pytest.mark.parametrize("words, meant", [(["robot=spoof", "human=bonafide"], {"bonafide", "spoof"}),
                                          (["robot=spoof"], {"human", "spoof"})])
def test_labels_mean_what_the_user_says(folder, words, meant):
    given = (folder / "utt2lab").read_text().replace("spoof", "robot").replace("bonafide", "human")
    (folder / "utt2lab").write_text(given)
    count = given.count(" robot\n")
    with pytest.raises(InputError, match=rf"utt2lab: labels that are neither bona fide \(.*human.*\) nor a spoof "
                                         rf"\(spoof, .*\): robot {count}; say what they are: --labels 'robot=spoof'"):
        make(folder, "--task", "detection")
    assert not (folder / "raw.list").exists()
    for _ in range(2):
        assert make(folder, "--task", "detection", "--labels", *words) == 0
    assert {json.loads(line)["lab"] for line in (folder / "raw.list").read_text().splitlines()} == meant
    assert (folder / "given_labels").read_text() == given
    with pytest.raises(InputError, match="WORD=bonafide or WORD=spoof"):
        make(folder, "--labels", "ai=fake")


@pytest.mark.parametrize("label, word", [("spoof", "Spoof"), ("spoof", "fake"), ("bonafide", "real")])
def test_one_class_by_two_words_is_no_two_classes(folder, label, word):
    given = (folder / "utt2lab").read_text().replace(label, word, 1)
    (folder / "utt2lab").write_text(given)
    with pytest.raises(InputError, match=rf"utt2lab: one class by several words, which would be trained as several: "
                                         rf".*{word} 1.*; say what they are: --labels '{word}={label}'"):
        make(folder, "--task", "detection")
    assert make(folder, "--task", "detection", "--labels", f"{word}={label}") == 0
    assert {json.loads(line)["lab"] for line in (folder / "raw.list").read_text().splitlines()} == {"bonafide", "spoof"}


def test_what_tells_the_classes_apart_without_listening_is_doubted():
    def report(*files):
        return Manifest("x", [Recording(f"u{n}", label, f"a/{n}.{suffix}", AudioInfo(rate, 1, rate))
                              for n, (label, suffix, rate, count) in enumerate(files) for _ in range(count)]).report()

    real = ("bonafide", "wav", 16000, 40)
    assert "doubt" not in report(real, ("spoof", "wav", 16000, 90), ("spoof", "mp3", 44100, 10))
    found = report(real, ("spoof", "wav", 16000, 10), ("spoof", "wav", 22050, 90))
    assert ("  doubt: the sample rate alone gives away 95 % of the classes (bonafide 16000: 40; spoof 16000: 10, "
            "22050: 90), and a detector learns that instead: give all recordings one") in found.splitlines()
    assert "doubt: the suffix alone gives away 100 % of the classes (bonafide wav: 40; spoof mp3: 30)" in report(
        real, ("spoof", "mp3", 16000, 30))
    assert "doubt" not in report(("a", "wav", 8000, 3), ("b", "mp3", 16000, 3))  # of so few who knows
    assert "doubt" not in report(*((label, f"{n:04d}", 16000, 1) for n, label in enumerate(["a", "b"] * 40)))  # names


def test_silence_and_what_is_shorter_than_a_frame_are_told_and_listed(folder, capsys):
    """A file of zeros, one that begins with them, one in which only a bit moves, and one sample."""
    audio = Path(str(folder / "../audio"))
    sounds = {"u0": np.zeros(16000), "u1": np.append(np.zeros(20000), noise(8000)), "u2": np.zeros(32000),
              "u3": np.full(1, 0.5)}
    sounds["u2"][::2] = 1 / 32768
    for key, wav in sounds.items():
        soundfile.write(audio / f"{key}.flac", wav, 16000, subtype="PCM_16")
    assert make(folder) == 0
    text = capsys.readouterr().out.splitlines()
    assert "  doubt: 2 x silence, of which nothing can be learnt: u0 (spoof), u2 (bonafide)" in text
    assert "  doubt: 1 x shorter than a frame (0.025 s), repeated up to one: u3 (bonafide)" in text
    assert "  problems: none" in text and len((folder / "raw.list").read_text().splitlines()) == 6


def test_sample_rates_that_no_recording_has_are_refused_and_low_ones_told(folder, capsys):
    audio = Path(str(folder / "../audio"))
    for key, rate in {"u0": 7, "u1": 4000, "u2": 2**31 - 1, "u3": 8000}.items():
        soundfile.write(audio / f"{key}.wav", noise(800), rate)
        (audio / f"{key}.wav").replace(audio / f"{key}.flac")
    with pytest.raises(InputError, match=r"2 x unusable audio: u0 \(.*u0.flac: its header says a sample rate of 7 Hz, "
                                         r"which no recording has; write it again with its own\), u2 \(.* 2147483647"):
        make(folder)
    assert make(folder, "--allow_problems") == 0
    told = "  doubt: 1 x sampled at less than a telephone's 8000 Hz, which leaves little of a voice: u1 (4000 Hz, "
    assert told in capsys.readouterr().out


def test_fewer_shards_leave_no_old_ones(folder):
    make(folder, "--data_type", "shard", "--num_utts_per_shard", "2")
    make(folder, "--data_type", "shard", "--num_utts_per_shard", "4")
    assert sorted(p.name for p in (folder / "shards").iterdir()) == [
        "shards_000000.tar", "shards_000000.tar.idx", "shards_000001.tar", "shards_000001.tar.idx"]


def append(path, line):
    path.write_text(path.read_text() + line + "\n")


def test_every_problem_is_counted_and_named(folder, tmp_path):
    audio = tmp_path / "audio"
    (audio / "u0.flac").unlink()
    (audio / "u1.flac").write_bytes(b"noise")
    soundfile.write(audio / "empty.wav", np.zeros(0), 16000)
    for line in (f"empty {audio}/empty.wav", f"lonely {audio}/u3.flac", f"u3 {audio}/u3.flac", f"u4 {audio}/u3.flac"):
        append(folder / "wav.scp", line)
    append(folder / "utt2lab", "empty spoof\nghost spoof")
    write_table(folder / "utt2spk", {key: "s" for key in ("u0", "u1", "u3", "u4", "u5", "empty", "lonely")})
    with pytest.raises(InputError) as caught:
        make(folder)
    message = str(caught.value)
    for words in ("1 x missing file: u0 (", "2 x unusable audio: ", "u1 (", "empty (", "no samples",
                  "1 x audio without label: lonely", "1 x label without audio: ghost",
                  "1 x duplicate key: u3 (wav.scp:9)",
                  "1 x conflicting duplicates: u4 (wav.scp:10)", "1 x not in utt2spk: u2", "--allow_problems"):
        assert words in message, words
    assert not (folder / "raw.list").exists()
    listed = (folder / "problems.txt").read_text().splitlines()
    assert len(listed) == 8 and listed[0].count("\t") == 2
    assert make(folder, "--allow_problems") == 0
    assert [u.key for u in open_source(folder / "raw.list", "raw").entries] == ["u3", "u5"]


def test_nothing_usable_stops_even_when_problems_are_allowed(folder, tmp_path):
    for path in (tmp_path / "audio").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="no usable utterance; 6 x missing file"):
        make(folder, "--allow_problems")


@pytest.mark.parametrize("name, content, match", [
    ("wav.scp", None, "wav.scp: no such file"),
    ("utt2lab", "", "utt2lab: the table is empty"),
    ("utt2lab", "u0\n", "utt2lab:1: 'u0' has no value"),
    ("wav.scp", "u0 sox x.wav -t wav - |\n", "are commands .u0., which are not run"),
])
def test_unusable_tables(folder, name, content, match):
    (folder / name).unlink() if content is None else (folder / name).write_text(content)
    with pytest.raises(InputError, match=match):
        read_data_dir(folder)


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such data folder; prepare the data first \(stage 1\)"):
        make(tmp_path / "nowhere")


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_raw_list(folder, monkeypatch):
    make(folder)
    before = (folder / "raw.list").read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="raw.list: cannot be written .No space left on device"):
        make(folder, "--force")
    assert (folder / "raw.list").read_bytes() == before
    assert not list(folder.glob(".*"))


def test_a_full_disk_leaves_old_shards_whole_and_no_list(folder, monkeypatch):
    make(folder, "--data_type", "shard", "--num_utts_per_shard", "3")
    before = {p: p.read_bytes() for p in (folder / "shards").iterdir()}
    monkeypatch.setattr(tarfile.TarFile, "addfile", full)
    with pytest.raises(InputError, match="shards_000000.tar: cannot be written .No space left"):
        make(folder, "--data_type", "shard", "--force")
    assert {p: p.read_bytes() for p in (folder / "shards").iterdir()} == before
    monkeypatch.undo()
    assert make(folder, "--data_type", "shard", "--num_utts_per_shard", "3") == 0  # not taken for finished
    assert {p: p.read_bytes() for p in (folder / "shards").glob("*.tar")} == {
        p: content for p, content in before.items() if p.suffix == ".tar"}


def test_relative_paths_that_lead_nowhere_are_told_with_where_they_start(folder, tmp_path, monkeypatch):
    write_table(folder / "wav.scp", {f"u{i}": f"audio/u{i}.flac" for i in range(6)})
    monkeypatch.chdir(tmp_path)
    assert make(folder) == 0
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=rf"6 x missing file: u0 \(audio/u0.flac, from {folder}\)"):
        make(folder, "--force")
