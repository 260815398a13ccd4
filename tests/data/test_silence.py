"""Silence cut out as SUPERB's speaker task does."""

import dataclasses

import numpy as np
import pytest
import torch
from corpora import CROPS, loading, noise

from wedefense.data.loader import eval_loader, train_loader
from wedefense.data.silence import GAIN, trim
from wedefense.utils.errors import InputError

RATE = 16000


def stepwise(wav, rate):
    """The same, a sample at a time, as one would write it down from SoX's manual."""
    wav = wav * GAIN
    window, hold, out, held, sounding = [0.0] * round(0.02 * rate), round(0.1 * rate), [], [], False
    for sample in wav:
        window = [*window[1:], float(sample) ** 2]
        level = np.sqrt(sum(window) / len(window))
        loud = np.floor(level * 2 ** 31) / 2 ** 31 > 1e-3
        if loud == sounding:
            out += [*held, sample] if sounding else []
            held = []
            continue
        held.append(sample)
        if len(held) == hold:
            if sounding:
                window = [0.0] * len(window)
            else:
                out += held
            held, sounding = [], not sounding
    return np.array(out + (held if sounding else []), np.float32)


def speech(*parts):
    """Seconds of noise (positive) and of silence (negative), the silence not quite silent."""
    return np.concatenate([noise(round(abs(s) * RATE), i, 0.05 if s > 0 else 2e-4) for i, s in enumerate(parts)])


@pytest.mark.parametrize("parts", [
    (-0.3, 0.5, -0.3), (0.5,), (-0.2, 0.05, -0.2, 0.3), (0.3, -0.05, 0.3),
    (0.3, -0.11, 0.3, -0.5, 0.05, -0.2, 0.4, -0.02), (0.2, -0.12, 0.15, -0.13, 0.2, -0.3)])
def test_against_the_definition_sample_by_sample(parts):
    wav = speech(*parts)[::4]  # at 4 kHz
    assert np.array_equal(trim(wav, RATE // 4), stepwise(wav, RATE // 4))


def test_by_hand():
    tone = np.full(8000, 0.5, np.float32)
    wav = np.concatenate([np.zeros(4000), tone, np.zeros(4000), tone, np.zeros(800)]).astype(np.float32)
    left = trim(wav, RATE)
    # 0.02 s after the tone its mean square is gone, and 0.1 s of silence after that are no more to come at the end
    assert len(left) == 8000 + 319 + 8000 + 800 and left[0] == np.float32(0.5) * GAIN
    assert len(trim(np.zeros(16000, np.float32), RATE)) == len(trim(tone[:1500], RATE)) == 0


def test_lists_are_heard_without_their_silence(corpus):
    for number in range(8):
        corpus.add(f"u{number}", speech(-0.3, 0.5 + 0.05 * number, -0.4, 0.3), subtype="FLOAT")
    corpus.add("silent", np.zeros(16000), subtype="FLOAT")
    options = dataclasses.replace(CROPS, trim_silence=True)
    loader = eval_loader(corpus.raw_list(), "raw", options, loading(16), skip_bad=True)
    (batch,) = loader
    assert loader.skipped == [("silent", "nothing but silence, and dataset_args.trim_silence is on")]
    for key, wav, length in zip(batch.keys, batch.wav, batch.lengths):
        whole = trim(speech(-0.3, 0.5 + 0.05 * int(key[1:]), -0.4, 0.3), RATE)
        assert np.array_equal(wav[:length], whole)
    with pytest.raises(InputError, match="silent: nothing but silence"):
        list(eval_loader(corpus.raw_list(), "raw", options, loading(16)))
    whole_utterances = dataclasses.replace(options, whole_utt=True, filter=True, sample_num_per_epoch=64)
    filtered = dataclasses.replace(whole_utterances, filter_args=dataclasses.replace(
        options.filter_args, min_num_frames=50, max_num_frames=53))
    heard = [batch for batch in train_loader(corpus.raw_list(), "raw", filtered, loading(4))]
    lengths = torch.cat([batch.lengths for batch in heard])
    assert lengths.max() == 53 * 320 and lengths.min() >= 50 * 320  # after the silence is gone
    assert "silent" not in {key for batch in heard for key in batch.keys}
    crops = list(train_loader(corpus.raw_list(), "raw", options, loading(4)))
    again = list(train_loader(corpus.raw_list(), "raw", options, loading(4, 2)))
    assert all(torch.equal(one.wav, other.wav) for one, other in zip(crops, again, strict=True))
