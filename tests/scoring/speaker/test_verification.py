import json
import math

import numpy as np
import pytest

from wedefense.bin.score_trials import main
from wedefense.experiment.arks import write_ark
from wedefense.metrics.detection import detection_metrics
from wedefense.scoring.speaker import quality
from wedefense.scoring.speaker.score_norm import CohortStatistics, cohort_statistics, normalise, speaker_means
from wedefense.scoring.speaker.trials import SpeakerTrials, cosine, read_trials, select, unit
from wedefense.scoring.speaker.verification import Cohort, SpeakerOptions, prepare
from wedefense.utils.errors import InputError
from wedefense.utils.tables import write_table

RNG = np.random.default_rng(5)
VECTORS = RNG.normal(size=(12, 6)).astype(np.float32)
COHORT = RNG.normal(size=(9, 6)).astype(np.float32)
ENROL, TEST = RNG.integers(0, 12, 40), RNG.integers(0, 12, 40)


def cos(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


@pytest.mark.parametrize("text", ["1 a/1.wav b/2.wav\n0 a/1.wav c/3.wav\n\n0 c/3.wav b/2.wav\n",
                                  "a/1.wav b/2.wav target\na/1.wav\tc/3.wav nontarget\nc/3.wav b/2.wav nontarget\n",
                                  "a/1.wav b/2.wav 1\na/1.wav c/3.wav 0\nc/3.wav b/2.wav 0\n"])
def test_both_forms_of_a_trials_file(tmp_path, text):
    path = tmp_path / "trials"
    path.write_text(text)
    trials = read_trials(path)
    assert trials.titles() == ["a/1.wav b/2.wav", "a/1.wav c/3.wav", "c/3.wav b/2.wav"]
    assert trials.is_target.tolist() == [True, False, False]
    assert trials.names == ["a/1.wav", "b/2.wav", "c/3.wav"]


@pytest.mark.parametrize("text, message", [
    ("a b c\n", r"trials:1: a line is neither `1\|0 ENROL TEST` or"),
    ("1 a b\n2 a c\n", "trials:2: unknown trial label '2'"),
    ("1 a b\n0 a\n", "trials:2: 2 columns where 3 are expected"),
    ("1 a b\n1 a c\n", "all 2 trials are target trials"),
])
def test_bad_trials_are_named(tmp_path, text, message):
    (tmp_path / "trials").write_text(text)
    with pytest.raises(InputError, match=message):
        read_trials(tmp_path / "trials")


def test_embeddings_are_looked_up_by_name():
    keys = [f"u{i}" for i in range(12)]
    assert (select(keys, VECTORS, ["u3", "u0"], "x") == VECTORS[[3, 0]]).all()
    with pytest.raises(InputError, match="1 of 2 utterances of the trials have no embedding in embeddings/vox1: v"):
        select(keys, VECTORS, ["u3", "v"], "embeddings/vox1")
    with pytest.raises(InputError, match="they are called like 'u0' there"):
        select(keys, VECTORS, ["u0.wav"], "x")
    with pytest.raises(InputError, match="1 of 2 embeddings are zero or not finite: b"):
        unit(np.array([[1.0, 2.0], [0.0, 0.0]]), ["a", "b"])


def test_cosine_by_loops():
    found = cosine(unit(VECTORS), ENROL, TEST)
    assert found == pytest.approx([cos(VECTORS[e], VECTORS[t]) for e, t in zip(ENROL, TEST)], abs=1e-6)


def test_speaker_means_by_loops():
    speakers = ["b", "a", "c", "a", "b", "b", "a", "c", "a", "a", "b", "c"]
    for row, speaker in zip(speaker_means(VECTORS, speakers), "abc"):
        own = [VECTORS[i] for i in range(12) if speakers[i] == speaker]
        assert row == pytest.approx(sum(own) / len(own), abs=1e-6)


@pytest.mark.parametrize("top_n", [None, 2, 4, 9])
def test_normalisation_by_loops(top_n, monkeypatch):
    monkeypatch.setattr("wedefense.scoring.speaker.score_norm._BLOCK_BYTES", 100)  # several blocks
    statistics = cohort_statistics(unit(VECTORS), unit(COHORT), top_n)
    found = normalise(cosine(unit(VECTORS), ENROL, TEST), statistics, ENROL, TEST)
    for score, e, t in zip(found, ENROL, TEST):
        sides = []
        for vector in (VECTORS[e], VECTORS[t]):
            near = sorted((cos(vector, other) for other in COHORT), reverse=True)[:top_n or 9]
            mean = sum(near) / len(near)
            std = math.sqrt(sum((x - mean) ** 2 for x in near) / len(near))
            sides.append((cos(VECTORS[e], VECTORS[t]) - mean) / std)
        assert score == pytest.approx(sum(sides) / 2, rel=1e-3, abs=2e-4)


def test_a_cohort_that_cannot_serve():
    with pytest.raises(InputError, match="over the 10 nearest .* this one has 9"):
        cohort_statistics(unit(VECTORS), unit(COHORT), 10)
    with pytest.raises(InputError, match="all the same"):
        cohort_statistics(unit(VECTORS), np.tile(unit(COHORT)[:1], (4, 1)))
    with pytest.raises(InputError, match="asnorm needs a cohort"):
        prepare(["u0"], ["u0"], VECTORS[:1], SpeakerOptions("asnorm"))
    with pytest.raises(InputError, match="norm: must be"):
        SpeakerOptions("znorm")


def test_the_mean_is_subtracted_from_both_sides_and_the_cohort():
    keys, shift = [f"u{i}" for i in range(12)], np.full(6, 5.0)
    trials = SpeakerTrials(keys, ENROL, TEST, ENROL == TEST)
    options = SpeakerOptions("asnorm", top_n=4)
    plain = prepare(keys, keys, VECTORS, options, Cohort(COHORT, np.zeros(6))).score(trials)
    moved = prepare(keys, keys, VECTORS + shift, options, Cohort(COHORT + shift, shift)).score(trials)
    assert moved == pytest.approx(plain, abs=1e-3)
    kept = prepare(keys, keys, VECTORS + shift, SpeakerOptions(subtract_mean=False), Cohort(COHORT + shift, shift))
    assert kept.score(trials) == pytest.approx([cos(VECTORS[e] + shift, VECTORS[t] + shift)
                                                for e, t in zip(ENROL, TEST)],
                                               abs=1e-6)


def test_quality_measures_by_hand():
    assert quality.magnitude(np.array([[3.0, 4.0]])) == pytest.approx([5.0])
    assert quality.log_duration(np.array([math.e, 0.0])) == pytest.approx([1.0, math.log(1e-3)])
    assert quality.consistency(np.array([[1.0, 0.0]]), np.array([[2.0, 2.0]])) == pytest.approx([math.sqrt(0.5)])
    columns, names = quality.of_trials({"x": np.array([3.0, 1.0])}, np.array([0, 1]), np.array([1, 1]))
    assert columns.tolist() == [[1.0, 3.0], [1.0, 1.0]] and names == ["lower x", "higher x"]


def test_the_magnitude_is_that_of_mean_subtracted_embeddings_before_the_norm():
    keys, shift = [f"u{i}" for i in range(12)], np.full(6, 5.0)
    made = prepare(keys, keys, VECTORS + shift, cohort=Cohort(COHORT + shift, shift))
    assert made.measures["magnitude"] == pytest.approx(np.linalg.norm(VECTORS, axis=1), rel=1e-5)
    unit_length = unit(VECTORS + shift).astype(np.float32)
    durations = {key: str(i + 1.0) for i, key in enumerate(keys)}
    assert [*prepare(keys, keys, unit_length, durations=durations).measures] == ["log duration"]


def test_statistics_are_of_the_utterance_not_the_trial():
    statistics = CohortStatistics(np.array([0.0, 0.5]), np.array([1.0, 0.25]))
    found = normalise(np.array([1.0]), statistics, np.array([0]), np.array([1]))
    assert found == pytest.approx([((1 - 0) / 1 + (1 - 0.5) / 0.25) / 2])


def write_embeddings(root, name, speakers, rng, each=6, noise=1.0):
    """Embeddings of some speakers; short utterances are noisier and have smaller embeddings."""
    vectors, durations, owner = {}, {}, {}
    for speaker in speakers:
        centre = np.random.default_rng(int(speaker[1:])).normal(size=16)
        for i in range(each):
            key = f"{name}/{speaker}_{i}"
            durations[key] = seconds = rng.uniform(1, 10)
            vectors[key] = 3 + centre + noise * 3 / seconds * rng.normal(size=16)
            owner[key] = speaker
    folder = root / "exp/embeddings" / name
    write_table(folder / "embedding.scp", write_ark(folder / "embedding.ark", vectors.items()))
    write_table(root / name / "utt2spk", owner)
    write_table(root / name / "utt2dur", durations)
    return list(vectors), owner


def write_trials(path, keys, owner, rng, count):
    pairs = [(keys[i], keys[j]) for i, j in rng.integers(0, len(keys), (count, 2)) if i != j]
    path.write_text("".join(f"{int(owner[a] == owner[b])} {a} {b}\n" for a, b in pairs))


def test_command_from_embeddings_to_results(tmp_path, capsys):
    rng = np.random.default_rng(2)
    for name, speakers, count in (("vox1", range(20), 6000), ("train", range(100, 130), 2),
                                  ("dev", range(50, 80), 9000)):
        keys, owner = write_embeddings(tmp_path, name, [f"s{i}" for i in speakers], rng)
        write_trials(tmp_path / f"{name}_o", keys, owner, rng, count)
    common = ["--exp_dir", str(tmp_path / "exp"), "--trials", str(tmp_path / "vox1_o")]
    cohort = ["--cohort", "train", "--cohort_spk", str(tmp_path / "train/utt2spk")]
    assert main([*common, "--sets", "vox1"]) == 0
    cosines = json.loads((tmp_path / "exp/results.json").read_text())["sets"]["vox1_o"]
    assert main([*common, "--sets", "vox1", "dev", *cohort, "--norm", "asnorm", "--top_n", "10",
                 "--qmf", str(tmp_path / "dev_o"), "--durations", str(tmp_path / "vox1/utt2dur"),
                 str(tmp_path / "dev/utt2dur")]) == 0
    results = json.loads((tmp_path / "exp/results.json").read_text())
    assert [*results["sets"]] == ["vox1_o", "vox1_o_cosine", "vox1_o_plain"]
    assert results["sets"]["vox1_o_plain"]["eer"] == cosines["eer"] > results["sets"]["vox1_o_cosine"]["eer"]
    best, model = results["sets"]["vox1_o"], json.loads((tmp_path / "exp/scores/qmf.json").read_text())
    assert best["eer"] < cosines["eer"] and best["act_dcf"] < 1.0 <= cosines["act_dcf"]
    assert results["classes"] == ["target", "nontarget"] and "target  nontarget" in capsys.readouterr().out
    assert model["qualities"] == [f"{side} {name}" for name in ("magnitude", "log duration", "cohort mean")
                                  for side in ("lower", "higher")]
    lines = [line.split() for line in (tmp_path / "exp/scores/vox1_o.txt").read_text().splitlines()]
    target = [float(score) for _, _, score, label in lines if label == "target"]
    nontarget = [float(score) for _, _, score, label in lines if label == "nontarget"]
    assert detection_metrics(target, nontarget).eer == pytest.approx(best["eer"])
    assert "target" in (tmp_path / "exp/report.html").read_text()
    assert main([*common, "--sets", "vox1"]) == 0 and not (tmp_path / "exp/scores/qmf.json").exists()
    with pytest.raises(InputError, match="fitted on utterances that it is to score"):
        main([*common, "--sets", "vox1", "--qmf", str(tmp_path / "vox1_o")])
    with pytest.raises(InputError, match="--cohort and --cohort_spk go together"):
        main([*common, "--sets", "vox1", "--cohort", "train"])
