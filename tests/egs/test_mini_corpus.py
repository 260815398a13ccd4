"""The corpus of the mini recipe: the same to the bit however it is made, in the layout of PartialSpoof, not easy."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wedefense.metrics.detection import eer
from wedefense.utils.errors import InputError

LOCAL = Path(__file__).parents[2] / "egs" / "detection" / "mini" / "local"
sys.path.insert(0, str(LOCAL))

import make_corpus  # noqa: E402
from minicorpus.attacks import ATTACKS  # noqa: E402
from minicorpus.make import splice  # noqa: E402
from minicorpus.plan import SETS, catalogue, frame_labels  # noqa: E402
from minicorpus.synth import speak  # noqa: E402
from minicorpus.voice import RATE  # noqa: E402

SCALE = 0.02
RESOLUTIONS = ("0.01", "0.02", "0.04", "0.08", "0.16", "0.32", "0.64")


def make(folder, *options):
    return make_corpus.main(["--out", str(folder), "--scale", str(SCALE), *options])


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini") / "corpus"
    assert make(folder, "--num_workers", "1") == 0
    return folder


def protocol(folder, name):
    path = folder / "protocols" / "PartialSpoof_LA_cm_protocols" / f"PartialSpoof.LA.cm.{name}.trl.txt"
    return [line.split() for line in path.read_text().splitlines()]


def labels(folder, name, resolution):
    path = folder / "segment_labels" / f"{name}_seglab_{resolution}.npy"
    return np.load(path, allow_pickle=True).item()  # as every reader of the release does


def test_the_number_of_workers_changes_no_bit(corpus, tmp_path):
    make(tmp_path / "corpus", "--num_workers", "2")
    first, second = contents(corpus), contents(tmp_path / "corpus")
    assert first.keys() == second.keys() and len(first) > 3 * (1 + len(RESOLUTIONS)) + 30
    assert [path for path in first if first[path] != second[path]] == []


def test_an_interrupted_run_is_completed_and_a_complete_one_left_alone(corpus):
    before, times = contents(corpus), {path: path.stat().st_mtime_ns for path in corpus.rglob("*.*")}
    make(corpus)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*.*")} == times
    lost = sorted(corpus.rglob("*.wav"))[3]
    lost.unlink()
    (corpus / "segment_labels" / "dev_seglab_0.04.npy").unlink()
    make(corpus)
    assert contents(corpus) == before
    kept = [path for path in corpus.rglob("*.wav") if path != lost]
    assert all(path.stat().st_mtime_ns == times[path] for path in kept)


def test_another_seed_replaces_the_corpus_and_a_foreign_folder_is_refused(corpus, tmp_path):
    shutil.copytree(corpus, tmp_path / "corpus")
    (tmp_path / "corpus" / "notes.txt").write_text("mine")
    make(tmp_path / "corpus", "--seed", "1")
    before, after = contents(corpus), contents(tmp_path / "corpus")
    assert len(after) == len(before) + 1 and (tmp_path / "corpus" / "notes.txt").read_text() == "mine"
    assert not [path for path in before if path.suffix == ".wav" and after.get(path) == before[path]]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="mine: holds something that this program did not make"):
        make(tmp_path / "mine")
    with pytest.raises(InputError, match="--scale 0.0: must be above 0"):
        make_corpus.main(["--out", str(tmp_path / "none"), "--scale", "0"])


def test_layout_and_segment_labels(corpus):
    for name in SETS:
        rows = protocol(corpus, name)
        assert {len(row) for row in rows} == {5} and {row[4] for row in rows} == {"bonafide", "spoof"}
        by_resolution = {resolution: labels(corpus, name, resolution) for resolution in RESOLUTIONS}
        assert {path.stem for path in (corpus / name / "con_wav").iterdir()} == {row[1] for row in rows}
        for _, key, _, tag, label in rows:
            assert key.startswith(("LA_" if label == "bonafide" else "CON_") + name[0].upper() + "_")
            info = soundfile.info(corpus / name / "con_wav" / f"{key}.wav")
            assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_16")
            assert 1.0 <= info.duration <= 4.0
            fine = by_resolution["0.01"][key]
            kinds = {"-": {"1"}, "A": {"0"}, "P": {"0", "1"}}  # bona fide, fake throughout, in part
            assert set(fine.tolist()) == kinds[tag[0]]
            for resolution, of_set in by_resolution.items():
                parts = round(float(resolution) / 0.01)
                assert len(of_set[key]) == -(-info.frames // (parts * 160))
                assert of_set[key].tolist() == [min(fine[i:i + parts]) for i in range(0, len(fine), parts)]


def test_frame_labels_by_hand():
    # 0.1 s in frames of 20 ms (320 samples); fake from sample 300 to 640: frames 0 and 1.
    assert frame_labels(1600, [(300, 640)], 0.02).tolist() == ["0", "0", "1", "1", "1"]
    assert frame_labels(1601, [(1600, 1601)], 0.04).tolist() == ["1", "1", "0"]


def test_voices_are_disjoint_and_eval_holds_new_attacks():
    items = catalogue(seed=0)
    assert 300 <= len(items) <= 900 and len({item.key for item in items}) == len(items)
    voices = [{item.speaker for item in items if item.set == name} for name in SETS]
    assert sum(map(len, voices)) == len(set.union(*voices))
    for name, speakers in zip(SETS, voices):  # a voice does not tell the class
        assert len({(item.speaker, item.label) for item in items if item.set == name}) == 2 * len(speakers)
    attacks = [{item.attack for item in items if item.set == name} - {"-"} for name in SETS]
    assert attacks[0] < attacks[1] < attacks[2] and len(attacks[0]) >= 4 and len(attacks[2] - attacks[1]) >= 2
    for name, unseen in zip(SETS[1:], (attacks[1] - attacks[0], attacks[2] - attacks[0])):
        assert {item.partial for item in items if item.set == name and item.attack in unseen} == {True, False}


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_attacks_keep_the_words_and_change_the_sound(attack):
    item = next(item for item in catalogue(seed=0) if item.attack == attack and item.partial)
    voice, tracks = item.voice(0), item.tracks(0)
    speech = speak(voice, tracks, item.random(0, "speech"))
    fake = ATTACKS[attack](voice, speech, item.random(0, "attack"))
    assert fake.shape == speech.wav.shape and np.isfinite(fake).all()
    assert abs(np.corrcoef(fake, speech.wav)[0, 1]) < 0.97
    assert np.corrcoef(loudness(fake), loudness(speech.wav))[0, 1] > 0.7
    spans = item.fake(tracks, 0)
    mixed = splice(speech.wav, fake, spans)
    genuine = np.ones(len(mixed), bool)
    for start, end in spans:
        genuine[start:end] = False
    assert 0.1 < genuine.mean() < 0.95
    assert (mixed[genuine] == speech.wav[genuine]).all()
    assert (mixed[~genuine] != speech.wav[~genuine]).mean() > 0.5


def loudness(wav, frame=640):
    return np.log(np.square(wav[: len(wav) // frame * frame]).reshape(-1, frame).mean(axis=1) + 1e-4)


def test_the_stage_refuses_unknown_options():
    done = subprocess.run(["bash", LOCAL / "prepare_data.sh", "--scale", "2"], capture_output=True, text=True)
    assert done.returncode == 2 and "unknown option --scale" in done.stderr


@pytest.mark.slow
def test_a_mean_spectrum_does_not_tell_the_classes_apart(tmp_path):
    """Logistic regression on the mean of 20 log-mel bands; a small network reaches 5 to 20 % on the same data."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    make_corpus.main(["--out", str(tmp_path / "corpus")])
    x, y = {}, {}
    for name in SETS:
        rows = protocol(tmp_path / "corpus", name)
        wavs = [soundfile.read(tmp_path / "corpus" / name / "con_wav" / f"{row[1]}.wav")[0] for row in rows]
        x[name] = np.array([mean_spectrum(wav) for wav in wavs])
        y[name] = np.array([row[4] == "bonafide" for row in rows])
    spread = x["train"].std(axis=0)
    model = linear_model.LogisticRegression(max_iter=2000).fit(x["train"] / spread, y["train"])
    for name in ("dev", "eval"):
        scores = model.decision_function(x[name] / spread)
        assert eer(scores[y[name]], scores[~y[name]]) > 0.28


def mean_spectrum(wav, bands=20, size=512):
    frames = np.lib.stride_tricks.sliding_window_view(wav, 400)[::160] * np.hamming(400)
    power = np.abs(np.fft.rfft(frames, size)) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2840, bands + 2) / 2595) - 1)
    hertz = np.arange(size // 2 + 1) * RATE / size
    rising = (hertz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - hertz) / np.diff(edges)[1:, None]
    return np.log(power @ np.maximum(0, np.minimum(rising, falling)).T + 1e-8).mean(axis=0)
