"""`wedefense augment`: the examples that a person hears and sees."""

import numpy as np
import pytest
import soundfile
import yaml

from tests.walkthrough import typed
from wedefense.bin.augment import main
from wedefense.config.loader import load_config
from wedefense.data.augment.codecs import through
from wedefense.data.augment.examples import Example, make_examples, spectrogram_sheet
from wedefense.utils.errors import InputError
from wedefense.utils.examples import EXAMPLES

RATE = 16000


@pytest.fixture
def folder(tmp_path):
    """A recording at 8 kHz, one noise and one room, and a config that switches everything on."""
    rng = np.random.default_rng(0)
    for name in ("musan/noise-0.wav", "rirs/room.wav"):
        (tmp_path / name).parent.mkdir()
        soundfile.write(tmp_path / name, 0.1 * rng.standard_normal(4000) * np.exp(-np.arange(4000) / 500), RATE)
    soundfile.write(tmp_path / "in.wav", 0.3 * np.sin(2 * np.pi * 440 * np.arange(4000) / 8000), 8000)
    config = {"noise_data": str(tmp_path / "musan"), "reverb_data": str(tmp_path / "rirs"), "seed": 5,
              "dataset_args": {"aug_prob": 0.5, "speed_perturb": True, "rawboost": True, "rawboost_args": {"algo": 3},
                               "codec_aug": True, "codec_aug_args": {"codecs": ["alaw", "gsm"], "prob": 0.5}}}
    (tmp_path / "all.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "none.yaml").write_text("seed: 5\n")
    return tmp_path


def run(folder, *arguments, config="all.yaml", out="out"):
    assert main(["--config", str(folder / config), str(folder / "in.wav"), str(folder / out), *arguments]) == 0
    return {path.name: path for path in (folder / out).iterdir()}


def test_examples_and_their_sheet(folder, capsys):
    made = run(folder, "--epochs", "2")
    assert sorted(made) == [
        "00_original.wav", "01_reverb.wav", "02_noise.wav", "03_rawboost_3.wav", "04_codec_alaw.wav",
        "05_codec_gsm.wav", "06_speed_0.9.wav", "07_speed_1.1.wav", "08_epoch_1.wav", "09_epoch_2.wav", "sheet.png"]
    assert len(capsys.readouterr().out.splitlines()) == len(made)
    wavs = {name: soundfile.read(path) for name, path in made.items() if name.endswith(".wav")}
    assert {rate for _, rate in wavs.values()} == {RATE}
    lengths = {name: len(wav) for name, (wav, _) in wavs.items()}
    assert lengths["00_original.wav"] == lengths["03_rawboost_3.wav"] == 8000
    assert lengths["06_speed_0.9.wav"] == 8889 and lengths["07_speed_1.1.wav"] == 7273
    assert len({wav.tobytes() for wav, _ in wavs.values()}) == len(wavs)
    assert made["sheet.png"].read_bytes().startswith(b"\x89PNG")


def test_again_is_the_same_and_overrides_count(folder):
    bytes_of = lambda made: {name: path.read_bytes() for name, path in made.items() if name.endswith(".wav")}
    first = bytes_of(run(folder, "--epochs", "1"))
    assert bytes_of(run(folder, "--epochs", "1", out="again")) == first
    other = bytes_of(run(folder, "--epochs", "0", "--dataset_args.rawboost_args.algo", "4",
                         "--dataset_args.speed_perturb=false"))
    assert "03_rawboost_4.wav" in other and first["01_reverb.wav"] == other["01_reverb.wav"]


def test_the_examples_of_the_help_run_as_they_stand(folder, monkeypatch):
    (folder / "in.wav").rename(folder / "clip.wav")
    (folder / "musan").rename(folder / "noises")
    (folder / "conf").mkdir()
    (folder / "none.yaml").rename(folder / "conf/mhfa.yaml")
    monkeypatch.chdir(folder)
    assert [main(typed(text)[1:]) for text in EXAMPLES["augment"]] == [0, 0]
    assert any("rawboost" in path.name for path in (folder / "heard").iterdir()) and (folder / "noises.tar").is_file()


def test_a_sheet_shows_what_lies_where():
    wav = np.sin(2 * np.pi * 2000 * np.arange(RATE) / RATE)
    figure = spectrogram_sheet([Example("a", wav), Example("b", wav[:8000], "note"), Example("c", wav[:10]),
                                Example("d", wav)], RATE)
    shown = [axes for axes in figure.axes if axes.get_images()]
    assert [axes.get_title() for axes in shown] == ["a", "b: note", "c", "d"]
    picture = shown[0].get_images()[0].get_array()  # (bins, frames)
    assert picture.mean(1).argmax() == picture.shape[0] // 4  # 2 of 8 kHz
    assert shown[1].get_images()[0].get_extent()[1] == 0.5 and shown[1].get_xlim() == (0, 1)


def test_nothing_to_hear_or_no_recording(folder):
    with pytest.raises(InputError, match="switches no augmentation on"):
        run(folder, config="none.yaml")
    (folder / "in.wav").unlink()
    with pytest.raises(InputError, match="in.wav: no such file"):
        run(folder)


def test_pack(folder, capsys):
    assert main(["--pack", str(folder / "musan"), str(folder / "musan.tar")]) == 0
    assert "1 recordings" in capsys.readouterr().out and (folder / "musan.tar.idx").exists()
    run(folder, "--epochs", "0", "--noise_data", str(folder / "musan.tar"))
    for wrong in ([], ["--pack", "--config", "x.yaml"], ["--pack", "--seed", "1"]):
        with pytest.raises(SystemExit):
            main(["in", "out", *wrong])


def test_an_epoch_says_which_codec_was_drawn(tmp_path):
    codecs = {"codec_aug": True, "codec_aug_args": {"codecs": ["alaw", "gsm"], "prob": 1.0}}
    (tmp_path / "codecs.yaml").write_text(yaml.safe_dump({"dataset_args": codecs}))
    config = load_config(tmp_path / "codecs.yaml")
    wav = (0.3 * np.sin(2 * np.pi * 440 * np.arange(8000) / RATE)).astype(np.float32)
    epochs = make_examples(config, wav, "key", 8)[-8:]
    assert {example.note for example in epochs} == {"speed 1.0, codec alaw", "speed 1.0, codec gsm"}
    for example in epochs:
        assert np.array_equal(example.wav, through(example.note.split()[-1], wav, RATE).astype(np.float32))
