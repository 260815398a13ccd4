"""Spans stay with their audio: a tone planted in what is fake is found where the batch says that it is."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from corpora import CROPS, loading, noise

from wedefense.bin.make_list import main as make_list
from wedefense.config.augment import RawBoostOptions
from wedefense.config.data import FilterOptions
from wedefense.data.augment.pipeline import Pipeline
from wedefense.data.loader import eval_loader, train_loader
from wedefense.data.span_crops import Cut, cut_spans, frame_targets
from wedefense.data.spans import Span, write_spans
from wedefense.utils.errors import InputError

RATE, FRAME = 16000, 320


def planted(seconds, spans, rate, seed):
    """Soft noise, and a loud chord in what is fake: a filter may take one of its tones out."""
    time = np.arange(round(seconds * rate)) / rate
    fake = sum(((time >= s.start) & (time < s.end)) for s in spans if s.label == "spoof")
    chord = sum(np.sin(2 * np.pi * hertz * time) for hertz in (500, 1000, 1700))
    return noise(len(time), seed, 0.001) + np.float32(0.32) * (fake * chord).astype(np.float32)


@pytest.fixture(params=["raw", "shard"])
def listed(request, tmp_path):
    """A data folder with `segments`, listed by stage 2: recordings of 0.25 to 2 s at two rates."""
    rng, spans, lines = np.random.default_rng(0), {}, {"wav.scp": [], "utt2lab": []}
    for i in range(12):
        key, rate, seconds = f"u{i:02d}", (16000, 22050)[i % 2], 0.25 + 0.16 * i
        edges = [0, *np.sort(rng.uniform(0.02, seconds - 0.02, 3)).round(4), seconds]
        classes = ("bonafide", "spoof") if i % 3 else ("bonafide", "bonafide")
        spans[key] = [Span(s, e, classes[j % 2]) for j, (s, e) in enumerate(zip(edges, edges[1:]))]
        soundfile.write(tmp_path / f"{key}.wav", planted(seconds, spans[key], rate, i), rate)
        lines["wav.scp"].append(f"{key} {tmp_path / f'{key}.wav'}\n")
        lines["utt2lab"].append(f"{key} {classes[1]}\n")
    for name, rows in lines.items():
        (tmp_path / name).write_text("".join(rows))
    write_spans(tmp_path / "segments", spans)
    assert make_list(["--data_dir", str(tmp_path), "--data_type", request.param, "--num_utts_per_shard", "5",
                      "--num_workers", "1"]) == 0
    return tmp_path / f"{request.param}.list", request.param


def disagreements(batch):
    """Frames whose loudness and target differ, but for those beside a boundary (resampling rings)."""
    wrong = frames = 0
    for row, wav, length in zip(frame_targets(batch.spans, FRAME / RATE, batch.wav.shape[1] // FRAME), batch.wav,
                                batch.lengths):
        whole = int(length) // FRAME
        loud = wav.numpy()[:whole * FRAME].reshape(whole, FRAME).std(axis=1) > 0.03
        target = row.numpy()
        assert (target[:whole] >= 0).all() and (target[whole + 1:] == -1).all()
        target = target[:whole] == 1
        inner = np.ones(whole, dtype=bool)
        edges = np.flatnonzero(np.diff(target))
        inner[edges] = inner[edges + 1] = False
        wrong, frames = wrong + int((loud != target)[inner].sum()), frames + int(inner.sum())
    return wrong, frames


@pytest.mark.parametrize("options", [{}, {"speed_perturb": True}, {"rawboost": True}, {"augment_whole": True,
                                                                                     "speed_perturb": True},
                                     {"whole_utt": True, "speed_perturb": True}, {"cache": "memory"},
                                     {"filter": True},
                                     {"augment_whole": True, "filter": True, "filter_args": FilterOptions(10, 30)}])
def test_a_tone_is_found_where_the_spans_say(listed, options):
    dataset = replace(CROPS, num_frms=40, sample_num_per_epoch=48, **options)  # 0.8 s: longer than some
    if "rawboost" in options:  # stationary noise, far below the tone
        dataset = replace(dataset, rawboost_args=RawBoostOptions(algo=3, SNRmin=40.0))
    loader = train_loader(*listed, dataset, loading(batch_size=6), seed=3,
                          pipeline=Pipeline.from_options(dataset, RATE))
    wrong = frames = fake = 0
    for epoch in range(2):
        loader.set_epoch(epoch)
        for batch in loader:
            found = disagreements(batch)
            wrong, frames = wrong + found[0], frames + found[1]
            fake += int((frame_targets(batch.spans, 0.02, 40) == 1).sum())
    assert frames > 2000 and fake > 500 and wrong == 0


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    """A soft noise, and a room that rings for a few milliseconds."""
    folder = tmp_path_factory.mktemp("rooms")
    for name in ("noise", "room"):
        (folder / name).mkdir()
    soundfile.write(folder / "noise/noise-free-sound-0.wav", noise(RATE, 5, 0.1), RATE)
    soundfile.write(folder / "room/room.wav", noise(800, 6) * np.exp(-np.arange(800) / 20), RATE)
    return folder


STEPS = {"noise": {"noise_snr": [30, 40], "kinds": ["noise"]}, "reverb": {}, "codec": {}, "telephone": {},
         "low_pass": {}, **{f"rawboost {algo}": {"algo": algo, "SNRmin": 40.0, "P": 1} for algo in range(1, 8)}}


@pytest.mark.parametrize("on", ["cpu", "device"])
@pytest.mark.parametrize("step", STEPS)
def test_no_augmentation_moves_the_tone(listed, rooms, step, on):
    if listed[1] == "shard" or (on == "device" and step in ("noise", "codec")):
        pytest.skip("the same audio, or the same code")
    dataset = replace(CROPS, num_frms=40, augment=({"type": step.split()[0], **STEPS[step]},), speed_perturb=True,
                      augment_on=on)
    pipeline = Pipeline.from_options(dataset, RATE, str(rooms / "room"), str(rooms / "noise"))
    wrong = frames = fake = 0
    for batch in train_loader(*listed, dataset, loading(batch_size=6), seed=3, pipeline=pipeline):
        found = disagreements(batch)
        wrong, frames = wrong + found[0], frames + found[1]
        fake += int((frame_targets(batch.spans, 0.02, 40) == 1).sum())
    assert frames > 300 and fake > 100 and wrong == 0


def test_evaluation_and_workers_tell_the_same_spans(listed):
    batches = list(eval_loader(*listed, CROPS, loading(batch_size=5)))
    assert sum(len(batch) for batch in batches) == 12 and all(disagreements(batch)[0] == 0 for batch in batches)
    alone, shared = ([batch.spans for batch in train_loader(*listed, CROPS, loading(workers=workers), seed=1)]
                     for workers in (0, 2))
    assert alone == shared and len(alone) == 3


def test_audio_is_the_same_with_and_without_spans(listed, tmp_path):
    path, data_type = listed
    if data_type == "raw":
        plain = path.with_name("plain.list")
        records = [json.loads(line) for line in path.read_text().splitlines()]
        plain.write_text("".join(json.dumps({k: v for k, v in r.items() if k != "spans"}) + "\n" for r in records))
    else:
        (tmp_path / "segments").unlink()
        make_list(["--data_dir", str(tmp_path), "--data_type", "raw", "--num_workers", "1"])
        plain, data_type = tmp_path / "raw.list", "raw"
        listed = (tmp_path / "shard.list", "shard")
    ours = {key: wav for batch in eval_loader(*listed, CROPS, loading()) for key, wav in zip(batch.keys, batch.wav)}
    for batch in eval_loader(plain, data_type, CROPS, loading()):
        assert batch.spans is None
        for key, wav, length in zip(batch.keys, batch.wav, batch.lengths):
            assert np.array_equal(ours[key][:length], wav[:length])


def test_cuts_by_hand():
    spans = [Span(0, 1, "bonafide"), Span(1, 2, "spoof"), Span(2, 3, "bonafide")]
    assert cut_spans(spans, Cut(5, 10), 10, 10) == [Span(0, 0.5, "bonafide"), Span(0.5, 1.0, "spoof")]
    # twice as fast: 1.5 s, of which the second half second is fake; repeated up to 2 s
    assert cut_spans(spans, Cut(0, 15, 2.0), 10, 20) == [Span(0, 0.5, "bonafide"), Span(0.5, 1.0, "spoof"),
                                                         Span(1.0, 2.0, "bonafide")]
    late = [Span(0, 1 - 1e-9, "bonafide"), Span(1 - 1e-9, 2, "spoof")]  # of which rounding alone is in this cut
    assert cut_spans(late, Cut(0, 10), 10, 10) == [Span(0, 1, "bonafide")]
    assert frame_targets([cut_spans(spans, Cut(5, 10), 10, 10), None], 0.25, 5).tolist() == [[0, 0, 1, 1, -1], [-1] * 5]


def test_what_spans_cannot_follow_or_contradict_is_refused(listed, tmp_path, capsys):
    path, data_type = listed
    with pytest.raises(InputError, match="has spans, which dataset_args.trim_silence would cut loose"):
        train_loader(path, data_type, replace(CROPS, trim_silence=True), loading())
    text = (tmp_path / "segments").read_text().replace("spoof", "bonafide")
    (tmp_path / "segments").write_text(text)
    with pytest.raises(InputError, match=r"8 x label against spans: u01 \(spoof in utt2lab, bonafide by seg"):
        make_list(["--data_dir", str(tmp_path), "--data_type", data_type, "--num_workers", "1"])
    assert "12 utterances (bonafide: 12)" in capsys.readouterr().out
