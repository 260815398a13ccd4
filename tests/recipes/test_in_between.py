"""Half-done, damaged and mended things between the stages: nothing old passes, nothing is lost."""

import json

import pytest

from tests.recipes.stages_here import Stages
from wedefense import load_detector
from wedefense.bin import average, classify, embed, export, llr, logits, results
from wedefense.experiment.folder import ExperimentFolder
from wedefense.report.sections import results_and_det
from wedefense.scoring import classes
from wedefense.scoring import stages as scoring_stages
from wedefense.scoring.calibration import Calibration
from wedefense.scoring.comparison import score_file
from wedefense.scoring.results import evaluate_sets, load_set
from wedefense.scoring.speaker.verification import read_embeddings
from wedefense.utils.errors import InputError


@pytest.fixture(autouse=True, scope="module")
def no_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wedefense.report.write.write_report", lambda *arguments: None)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    stages = Stages(tmp_path_factory.mktemp("between"), num_epochs=3)
    stages.run(2)
    stages.keep()
    return stages


@pytest.fixture
def stages(finished):
    finished.restore()
    return finished


def settings(stages: Stages, *more: str) -> list[str]:
    return ["--config", str(stages.config), "--exp_dir", str(stages.exp), *more]


def embed_dev(stages: Stages) -> None:
    embed.main(["--exp_dir", str(stages.exp), "--sets", "dev", "--data", stages.list("dev"), "--device", "cpu"])


def test_head_and_embeddings_of_two_averages_do_not_mix(stages):
    average.main(settings(stages, "--num_avg", "1"))
    with pytest.raises(InputError, match="embeddings of 'dev' there are of .*weights changed.*--stage 4"):
        logits.main(["--exp_dir", str(stages.exp), "--sets", "dev"])


def test_scores_are_not_of_other_logits(stages):
    average.main(settings(stages, "--num_avg", "1"))
    embed_dev(stages)
    with pytest.raises(InputError, match="logits of 'dev' there are of something else .*--stage 5"):
        llr.main(["--exp_dir", str(stages.exp), "--sets", "dev"])


def judge(stages: Stages) -> dict:
    results.main(["--exp_dir", str(stages.exp), "--data", str(stages.data), "--sets", "dev", "eval", "--bootstrap",
                  "0"])
    return json.loads((stages.exp / "results.json").read_text())


@pytest.mark.parametrize("content", ["", "{", '{"inputs": 1, "outputs": {}}'])
def test_a_damaged_record_of_the_training_is_told(stages, content):
    (stages.exp / "training.json").write_text(content)
    with pytest.raises(InputError, match="training.json: cannot be read.*--as_trained"):
        stages.run(5)


def test_results_do_not_tell_of_an_average_that_came_after_the_scores(stages):
    before = (stages.exp / "results.json").read_bytes()
    average.main(settings(stages, "--num_avg", "1"))
    with pytest.raises(InputError, match="scores of 'dev' are of other weights than .*avg_model.pt .*--stage 4"):
        judge(stages)
    assert (stages.exp / "results.json").read_bytes() == before


def test_results_of_an_epoch_that_somebody_chose_say_so(stages):
    chosen = ["--exp_dir", str(stages.exp), "--model", str(stages.exp / "models/model_1.pt"), "--sets", "dev", "eval"]
    embed.main([*chosen, "--data", stages.list("dev"), stages.list("eval"), "--device", "cpu"])
    logits.main(chosen)
    llr.main(["--exp_dir", str(stages.exp), "--sets", "dev", "eval"])
    made = judge(stages)["made_by"]
    assert made["scored"] == ["model_1.pt"] and "epochs_averaged" not in made
    assert "weights of model_1.pt" in (stages.exp / "detection_result.txt").read_text()
    assert "Not evaluated: results.json tells of other weights than models/avg_model.pt" in (
        stages.exp / "MODEL.md").read_text()
    assert load_detector(stages.exp).calibration is None


def test_a_calibration_of_other_weights_is_not_used_nor_are_their_results_shared(stages, tmp_path, capsys):
    (stages.exp / "calibration.json").unlink(missing_ok=True)
    found, _ = evaluate_sets([load_set(stages.exp, stages.data, name) for name in ("dev", "eval")], "dev")
    weights = json.loads((stages.exp / "embeddings/dev/source.json").read_text())["inputs"]["weights"]
    Calibration((2.0,), 0.5, of=weights).save(stages.exp / "calibration.json")
    assert load_detector(stages.exp).calibration.of == weights and found["dev_set"] == "dev"
    export.main([str(stages.exp), "--format", "hub", "--out", str(tmp_path / "shared")])
    assert load_detector(tmp_path / "shared").calibration.scales == (2.0,)
    assert "Not evaluated" not in (tmp_path / "shared/README.md").read_text()
    average.main(settings(stages, "--num_avg", "1"))
    model = load_detector(stages.exp)
    assert model.calibration is None and "was fitted on scores of other weights and is not used" in model.remark
    export.main([str(stages.exp), "--format", "hub", "--out", str(tmp_path / "again")])
    card = (tmp_path / "again/README.md").read_text()
    assert "Not evaluated: results.json tells of other weights" in card and "model-index" not in card
    assert not (tmp_path / "again/calibration.json").exists()


@pytest.mark.parametrize("name", ["embedding.scp", "embedding_0.ark", "source.json"])
def test_embeddings_that_lost_a_file_are_made_again(stages, name):
    path = ExperimentFolder(stages.exp).embeddings("dev").root / name
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(InputError, match="'dev'.*go back to --stage 4"):
        stages.run(5)
    stages.run(4)
    assert path.read_bytes() == content


def test_damaged_outputs_are_made_again(stages):
    before = stages.found()
    for path in (stages.exp / "models/avg_model.pt", stages.exp / "embeddings/eval/embedding_0.ark"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content if path.suffix == ".ark" else content[:-100])
    with pytest.raises(InputError, match="--stage 4"):
        stages.run(5)
    stages.run(4)
    assert stages.found() == before


READERS = {
    "results": lambda stages: load_set(stages.exp, stages.data, "dev"),
    "compare": lambda stages: score_file(str(stages.exp), str(stages.data / "dev/utt2lab")),
    "classify": lambda stages: classes.evaluate(stages.exp, stages.data, "dev"),
    "score_trials": lambda stages: read_embeddings(stages.exp, ["dev"])}


@pytest.mark.parametrize("reader", READERS)
def test_nothing_is_read_of_weights_that_are_no_more(stages, reader):
    READERS[reader](stages)
    average.main(settings(stages, "--num_avg", "1"))
    with pytest.raises(InputError, match="'dev' are of other weights than .*avg_model.pt .*--stage 4"):
        READERS[reader](stages)


@pytest.mark.parametrize("stage, reader", [
    (stage, reader) for stage, readers in (("embed", READERS), ("logits", ("results", "compare", "classify")),
                                           ("llr", ("results", "compare"))) for reader in readers])
def test_nothing_is_read_of_a_stage_that_was_killed(stages, monkeypatch, stage, reader):
    """It has begun to write over what was there, and the record of that is gone."""
    killed = RuntimeError("killed")

    def die(*arguments, **options):
        raise killed

    average.main(settings(stages, "--num_avg", "1"))
    within = {"embed": "write_table", "logits": "head_logits", "llr": "atomic_write"}
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(scoring_stages, within[stage], die)
        embed_dev(stages)
        logits.main(["--exp_dir", str(stages.exp), "--sets", "dev"])
        llr.main(["--exp_dir", str(stages.exp), "--sets", "dev"])
    with pytest.raises(InputError, match="stage"):
        READERS[reader](stages)


def test_accuracies_tell_what_was_left_out(stages, monkeypatch, capsys):
    monkeypatch.setattr("wedefense.report.write.write_class_report", lambda *arguments: "")
    (stages.data / "dev/dev_0001.wav").write_bytes(b"RIFF")
    embed.main(["--exp_dir", str(stages.exp), "--sets", "dev", "--data", stages.list("dev"), "--device", "cpu",
                "--skip_bad"])
    logits.main(["--exp_dir", str(stages.exp), "--sets", "dev"])
    classify.main(["--exp_dir", str(stages.exp), "--data", str(stages.data), "--sets", "dev"])
    told = "doubt about dev: these results leave out what could not be read: 0 of {0} bonafide, 1 of {0} spoof (first: "
    found = json.loads((stages.exp / "results.json").read_text())["sets"]["dev"]["left_out"]
    assert told.format(found["of"]["spoof"]) + "dev_0001: " in capsys.readouterr().out
    (stages.exp / "embeddings/dev/left_out.txt").unlink()
    with pytest.raises(InputError, match="no logits of 1 utterances: dev_0001"):
        classes.evaluate(stages.exp, stages.data, "dev")


def test_averages_back_and_forth_across_a_kill(stages, monkeypatch):
    """The second run dies between the new ark and its record; the third asks for the first average again."""
    before = stages.found()
    write, killed = scoring_stages.write_table, RuntimeError("killed")

    def die(*arguments):
        raise killed

    monkeypatch.setattr(scoring_stages, "write_table", die)
    with pytest.raises(RuntimeError, match="killed"):
        stages.run(4, "--num_avg", "1")
    monkeypatch.setattr(scoring_stages, "write_table", write)
    with pytest.raises(InputError, match="go back to --stage 4"):
        stages.run(5)
    stages.run(4)
    assert stages.found() == before


def test_a_mended_file_is_taken_in_again(stages):
    before, victim = stages.found(), stages.data / "eval/eval_0001.wav"
    content = victim.read_bytes()
    victim.write_bytes(content[:44] + b"x")
    with pytest.raises(InputError, match="eval_0001"):
        stages.run(4, check_first=False)
    stages.run(4, check_first=False, skip_bad="true")
    found = json.loads((stages.exp / "results.json").read_text())["sets"]["eval"]
    assert found["left_out"]["by_class"] == {"spoof": 1} and found["n_spoof"] == 3
    text = "these results leave out what could not be read: 0 of 4 bonafide, 1 of 4 spoof (first: eval_0001"
    assert any(doubt.startswith(text) for doubt in found["doubts"])
    for page in ("detection_result.txt", "MODEL.md"):
        assert text in (stages.exp / page).read_text(), page
    whole = json.loads((stages.exp / "results.json").read_text())
    assert text in results_and_det(None, whole, [])  # of report.html
    victim.write_bytes(content)
    stages.run(4, skip_bad="true")
    found = stages.found()
    assert found["sets"]["eval"]["n_spoof"] == 4 and "left_out" not in found["sets"]["eval"]
    assert found == before and not (stages.exp / "embeddings/eval/left_out.txt").exists()


def test_a_history_that_a_kill_left_short_is_completed(stages):
    history, path = (stages.exp / "history.json").read_bytes(), stages.exp / "history.json"
    rows = json.loads(history)
    path.write_text(json.dumps({"rows": rows["rows"][:-1], "best": rows["best"]}))
    with pytest.raises(InputError, match="ends before model_3.pt, since that training was killed there; run stage 3"):
        average.main(settings(stages, "--average", "best"))
    stages.run(3)
    assert json.loads(path.read_text()) == rows
    path.write_text("{")
    stages.run(3)
    assert json.loads(path.read_text()) == rows


def test_what_is_up_to_date_is_not_touched(stages):
    def state():
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in stages.root.rglob("*")
                if path.is_file() and "train.log" not in path.name}

    before = state()
    stages.run(2, stop=4)
    assert state() == before


def test_results_say_what_made_them_and_not_what_was_asked_last(stages):
    stages.run(4, "--num_avg", "1", "--log_batch_interval", "7")
    made = json.loads((stages.exp / "results.json").read_text())["made_by"]
    assert made["epochs_averaged"] == [3] and made["epochs_chosen"] == "last 1"
    assert made["epochs_trained"] == 3 and made["training"]["seed"] == 7
    assert made["embeddings"]["eval"]["precision"] == "float32" and made["scores"].keys() == {"dev", "eval"}
    for page in ("detection_result.txt", "MODEL.md"):
        text = (stages.exp / page).read_text()
        assert "trained for 3 of 3 epochs, average of epoch 3, seed 7, WeDefense" in text, page


def test_an_experiment_as_it_was_trained_is_scored_although_its_data_moved_on(stages):
    table = stages.data / "train/utt2lab"
    table.write_text(table.read_text().replace("spoof", "fake"))
    from wedefense.bin import check

    arguments = ["--stage", "7", "--data", str(stages.data), "--train_sets", "train", "--sets", "dev", "eval",
                 *settings(stages, "--train_data", stages.list("train"), "--val_data", stages.list("dev"))]
    with pytest.raises(InputError, match="utt2lab changed.*go back to --stage 2"):
        check.main(arguments)
    check.main([*arguments, "--as_trained"])


def test_what_was_trained_with_code_that_is_not_here_is_averaged_and_scored_as_it_is(stages):
    from wedefense.bin import average, check

    config = stages.exp.parent / "elsewhere.yaml"
    config.write_text(f"base: {stages.config}\nloss: gone:Loss\n")
    own = stages.exp / "config.yaml"
    own.write_text(own.read_text().replace("loss: CrossEntropyLoss", "loss: gone:Loss"))
    assert "gone:Loss" in own.read_text()
    arguments = ["--config", str(config), "--exp_dir", str(stages.exp)]
    assert average.main(arguments) == 0
    assert check.main(["--stage", "5", "--data", str(stages.data), *arguments, "--as_trained"]) == 0
