"""Options, order, probabilities and randomness of the whole pipeline."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from wedefense.config.augment import STEPS, NoiseOptions, OneOfOptions, RawBoostOptions, ReverbOptions, parse_steps
from wedefense.config.data import DatasetOptions
from wedefense.data.augment.pipeline import Pipeline
from wedefense.utils.errors import InputError, OptionError

RATE = 16000


def white(samples=RATE, seed=0, scale=0.1):
    return (np.random.default_rng(seed).standard_normal(samples) * scale).astype(np.float32)


@pytest.fixture
def data(tmp_path):
    """`reverb_data` and `noise_data` with two recordings each."""
    folders = tmp_path / "rirs", tmp_path / "musan"
    for folder in folders:
        folder.mkdir()
        for i in range(2):
            soundfile.write(folder / f"{i}.wav", white(3000, i) * np.exp(-np.arange(3000) / 300), RATE)
    return {"reverb_data": str(folders[0]), "noise_data": str(folders[1])}


def pipeline(*steps, data=None, **dataset):
    return Pipeline.from_options(DatasetOptions(augment=steps, **dataset), RATE, **(data or {}))


EVERYTHING = ({"type": "rawboost", "prob": 0.5, "algo": 4}, {"type": "noise", "prob": 0.5},
              {"type": "reverb", "prob": 0.5},
              {"type": "telephone", "prob": 0.3}, {"type": "low_pass", "prob": 0.5}, {"type": "codec", "prob": 0.5},
              {"type": "one_of", "steps": [{"type": "rawboost"}, {"type": "noise"}]})


def test_nothing_switched_on():
    assert pipeline() is None
    assert pipeline(data={"reverb_data": "/nowhere", "noise_data": "/nowhere"}) is None  # aug_prob is 0


def test_every_kind_of_step_is_there():
    assert {step["type"] for step in EVERYTHING} == {*STEPS.names()}
    for name in STEPS.names():
        assert callable(STEPS.load(name))


def test_same_generator_same_samples_also_after_pickling(data):
    chain = pipeline(*EVERYTHING, data=data, speed_perturb=True)
    chain(white(), np.random.default_rng(99))  # it keeps no state
    copied = pickle.loads(pickle.dumps(chain))
    results = []
    for seed in range(8):
        wav = white(seed=seed)
        one, two = chain(wav, np.random.default_rng(seed)), copied(wav, np.random.default_rng(seed))
        assert one.dtype == np.float32 and one.shape == wav.shape and np.isfinite(one).all()
        assert np.array_equal(one, two) and np.array_equal(wav, white(seed=seed))
        results.append(one.tobytes())
    assert len({*results}) == 8
    assert not np.array_equal(chain(white(), np.random.default_rng(1)), chain(white(), np.random.default_rng(2)))


def test_the_global_generators_are_neither_read_nor_moved(data):
    chain = pipeline(*EVERYTHING, data=data)
    results, states = [], []
    for seed in (5, 6):
        np.random.seed(seed)
        results.append(chain(white(), np.random.default_rng(0)))
        states.append(np.array_equal(np.random.get_state()[1], np.random.RandomState(seed).get_state()[1]))
    assert np.array_equal(*results) and all(states)


def test_steps_run_in_order_each_with_its_probability():
    """A telephone line first removes what a later noise brings back, the other way round it does not."""
    line, hiss = {"type": "telephone"}, {"type": "rawboost", "algo": 3, "SNRmax": 10}
    high = [np.abs(np.fft.rfft(pipeline(*steps)(white(), np.random.default_rng(0))))[5000:7500].mean()
            for steps in ((line, hiss), (hiss, line))]
    assert high[0] > 10 * high[1]
    half = pipeline({**line, "prob": 0.25})
    changed = [not np.array_equal(half(white(), np.random.default_rng(seed)), white()) for seed in range(400)]
    assert 0.18 < np.mean(changed) < 0.32
    never = pipeline({**line, "prob": 0.0})
    assert np.array_equal(never(white(), np.random.default_rng(0)), white())


def test_the_short_keys_stand_for_steps_in_a_fixed_order(data):
    chain = pipeline({"type": "low_pass"}, data=data, aug_prob=0.5, rawboost=True, codec_aug=True,
                     rawboost_args=RawBoostOptions(algo=3))
    assert [step.type for step, _ in chain.steps] == ["one_of", "rawboost", "codec", "low_pass"]
    mixed = chain.steps[0][0].options
    assert mixed.prob == 0.5 and [s.type for s in mixed.parsed()] == ["reverb", "noise"]
    assert chain.steps[1][0].options.algo == 3
    only = pipeline(data={"noise_data": data["noise_data"]}, aug_prob=1.0)
    assert [s.type for s in only.steps[0][0].options.parsed()] == ["noise"]
    told = pipeline(data=data, aug_prob=0.6, noise_args=NoiseOptions(speech_snr=(10, 30), scale_peak=True),
                    reverb_args=ReverbOptions(prob=3.0 / 4, realign=False))
    reverb, noise = told.steps[0][0].options.parsed()
    assert (reverb.options.realign, reverb.options.prob, noise.options.speech_snr) == (False, 0.75, (10, 30))
    assert noise.options.scale_peak and not reverb.options.scale_peak


def test_noise_that_is_asked_for_and_not_there_is_an_error(data):
    with pytest.raises(InputError, match="aug_prob is 0.6 but there is nothing to add: name reverb_data or noise_data"):
        pipeline(aug_prob=0.6)
    with pytest.raises(InputError, match="reverb_data: /nowhere: no such file"):
        pipeline(aug_prob=0.6, data={**data, "reverb_data": "/nowhere"})


def test_one_of_draws_by_weight():
    chain = pipeline({"type": "one_of", "steps": [{"type": "low_pass", "prob": 0.3}, {"type": "rawboost", "algo": 0}]})
    same = [np.array_equal(chain(white(1000), np.random.default_rng(s)), white(1000)) for s in range(300)]
    assert np.mean(same) == pytest.approx(1 / 1.3, abs=0.08)


def test_speeds():
    off, on = pipeline({"type": "low_pass"}), pipeline(speed_perturb=True)
    rng = np.random.default_rng(0)
    assert {off.speed(rng) for _ in range(20)} == {1.0}
    drawn = [on.speed(rng) for _ in range(3000)]
    assert all(abs(drawn.count(s) / 3000 - 1 / 3) < 0.04 for s in (0.9, 1.0, 1.1)) and len({*drawn}) == 3
    assert on.speed_label(7, 1.1, 100) == 7 and on.num_classes(100) == 100


def test_speeds_of_speakers_have_labels_of_their_own():
    chain = Pipeline.from_options(DatasetOptions(speed_perturb=True), RATE, keep_label_on_speed=False)
    assert [chain.speed_label(7, factor, 100) for factor in (1.0, 0.9, 1.1)] == [7, 107, 207]
    assert chain.num_classes(100) == 300
    assert Pipeline.from_options(DatasetOptions(rawboost=True), RATE, keep_label_on_speed=False).num_classes(100) == 100


@pytest.mark.parametrize("step, message", [
    (3, "step 1: must be a mapping like"),
    ({"prob": 1}, r"step 1: must be a mapping .*types: codec, low_pass"),
    ({"type": "rawbost"}, "step 1: unknown augmentation step 'rawbost', did you mean 'rawboost'"),
    ({"type": "noise", "snr": [0, 5]}, "step 1: unknown key 'snr', did you mean"),
    ({"type": "noise", "noise_snr": 5}, "noise_snr: must be a list of 2, got 5"),
    ({"type": "noise", "noise_snr": [5]}, "noise_snr: must be a list of 2"),
    ({"type": "noise", "noise_snr": [9, 5]}, "noise_snr: must go from low to high"),
    ({"type": "noise", "babble": [0, 2]}, "babble: must be at least 1"),
    ({"type": "noise", "kinds": ["musik"]}, "unknown kind 'musik', did you mean 'music'"),
    ({"type": "noise", "kinds": []}, "kinds: name at least one"),
    ({"type": "rawboost", "algo": 9}, "algo: must lie between 0 and 8, got 9"),
    ({"type": "rawboost", "algo": "4"}, "algo: must be a whole number, got '4'"),
    ({"type": "rawboost", "prob": True}, "prob: must be a number, got True"),
    ({"type": "rawboost", "minF": 900, "maxF": 800}, "minF: must not exceed maxF"),
    ({"type": "rawboost", "P": 101}, "P: must not exceed 100"),
    ({"type": "codec", "codecs": ["mp5"]}, "unknown codec 'mp5', did you mean 'mp3'"),
    ({"type": "codec", "opus_kbps": [1, 9]}, "opus_kbps: must lie between 6 and 256"),
    ({"type": "one_of"}, "steps: name at least one step"),
    ({"type": "one_of", "steps": [{"type": "codec", "prob": 2}]}, "steps: step 1: prob: must lie between 0 and 1"),
])
def test_impossible_steps_stop_with_their_place(step, message):
    with pytest.raises(OptionError, match=message) as caught:
        DatasetOptions(augment=(step,))
    assert caught.value.key == "augment"


def test_lists_and_whole_numbers_of_yaml_become_what_the_options_hold():
    noise, codec = parse_steps([{"type": "noise", "noise_snr": [0, 5]}, {"type": "codec", "codecs": ["mp3", "opus"]}])
    assert noise.options.noise_snr == (0.0, 5.0) and isinstance(noise.options.noise_snr[0], float)
    assert codec.options.codecs == ("mp3", "opus")
    assert OneOfOptions(steps=({"type": "rawboost"},)).parsed()[0].options == RawBoostOptions()


def test_options_need_no_torch():
    code = "import sys, wedefense.config.augment; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
