"""Mixtures and balance: how often everything is drawn, and that it does not matter who draws or from where on."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from corpora import CROPS, loading

from wedefense.config.data import DatasetOptions
from wedefense.config.sampling import parse_levels
from wedefense.data.drawing import Column, Drawing
from wedefense.data.loader import train_loader
from wedefense.data.sampler import TrainSampler
from wedefense.utils.errors import InputError, OptionError
from wedefense.utils.tables import write_table

CORPUS = ["a"] * 90 + ["b"] * 10                                       # 90 and 10 utterances
LABEL = (["spoof"] * 8 + ["bonafide"]) * 10 + ["spoof", "bonafide"] * 5  # 80:10 and 5:5


def drawing(levels, seed=0, **columns):
    levels = parse_levels(levels)
    return Drawing([Column(level.column, columns[level.column]) for level in levels], levels, seed)


def drawn(made, count, column, epochs=1):
    return [Counter(np.array(column)[made.epoch(epoch, count)[0]].tolist()) for epoch in range(epochs)]


def test_three_to_one_is_exact_in_every_epoch():
    made = drawing([{"column": "corpus", "weights": {"a": 3, "b": 1}}], corpus=CORPUS)
    assert drawn(made, 400, CORPUS, 3) == [{"a": 300, "b": 100}] * 3
    places, uses = made.epoch(0, 400)
    assert len(set(zip(places.tolist(), uses.tolist()))) == 400  # each use of an utterance is another one
    assert Counter(places[places >= 90].tolist()) == dict.fromkeys(range(90, 100), 10)


def test_an_inner_level_is_balanced_within_the_outer_one():
    made = drawing([{"column": "corpus", "weights": {"a": 3, "b": 1}}, {"column": "label"}], corpus=CORPUS, label=LABEL)
    both = [f"{corpus} {label}" for corpus, label in zip(CORPUS, LABEL)]
    assert drawn(made, 80, both)[0] == {"a spoof": 30, "a bonafide": 30, "b spoof": 10, "b bonafide": 10}
    assert made.expected(Column("label", LABEL)) == pytest.approx({"bonafide": 0.5, "spoof": 0.5})


@pytest.mark.parametrize("temperature, share", [(1, 0.9), (2, 3 / 4), (None, 0.5)])  # 90**(1/2) = 3 * 10**(1/2)
def test_temperature_goes_from_the_sizes_to_equal_shares(temperature, share):
    made = drawing([{"column": "corpus", "temperature": temperature}], corpus=CORPUS)
    assert made.expected(Column("corpus", CORPUS)) == pytest.approx({"a": share, "b": 1 - share})
    assert drawn(made, 1000, CORPUS)[0] == {"a": round(1000 * share), "b": round(1000 * (1 - share))}


def test_nobody_comes_again_before_all_others_of_the_stratum_did():
    made = drawing([{"column": "corpus"}], corpus=CORPUS)
    over = np.concatenate([made.epoch(epoch, 20)[0] for epoch in range(9)])  # 10 of each corpus in each epoch
    assert sorted(over[over < 90].tolist()) == list(range(90))
    assert made.seen(1, 20) == 20 and made.seen(9, 20) == 100
    assert sorted(over[over >= 90].tolist()) == sorted([*range(90, 100)] * 9)


def test_small_shares_are_right_on_average():
    speakers = [f"s{number}" for number in range(100)]
    made = drawing([{"column": "speaker"}], speaker=speakers)
    counts = sum(drawn(made, 30, speakers, 200), Counter())
    assert sum(counts.values()) == 6000 and all(30 <= counts[name] <= 95 for name in speakers)  # 60 each
    assert len({tuple(made.epoch(epoch, 30)[0]) for epoch in range(20)}) == 20


def test_an_epoch_is_the_same_whichever_were_asked_for_before():
    levels = [{"column": "corpus", "weights": {"a": 1, "b": 2}}]
    forward = drawing(levels, corpus=CORPUS)
    before = [forward.epoch(epoch, 50) for epoch in range(6)]
    again = drawing(levels, corpus=CORPUS).epoch(5, 50)
    assert np.array_equal(before[5][0], again[0]) and np.array_equal(before[5][1], again[1])
    assert not np.array_equal(drawing(levels, seed=1, corpus=CORPUS).epoch(5, 50)[0], again[0])


@pytest.mark.parametrize("grouped", [False, True])
def test_ranks_share_what_one_draws_and_a_resume_goes_on_with_it(grouped):
    groups = np.arange(100) // 10 if grouped else None

    def sampler(batch=12, **ranks):
        return TrainSampler(np.arange(100), 100, batch, seed=5, groups=groups, window=20, **ranks,
                            drawing=drawing([{"column": "corpus"}], seed=5, corpus=CORPUS))

    alone = sampler()
    alone.set_epoch(3)
    steps = list(alone)
    shared = [sampler(4, rank=rank, world_size=3) for rank in range(3)]
    for part in shared:
        part.set_epoch(3)
    assert [sum(parts, []) for parts in zip(*shared)] == steps
    for start in range(9):
        again = sampler()
        again.set_epoch(3, start)
        assert list(again) == steps[start:]
    if grouped:  # shards stay near to each other
        order = np.array([i for batch in steps for _, i, _ in batch]) // 10
        spans = [np.ptp(np.flatnonzero(order == shard)) for shard in set(order.tolist())]
        assert np.mean(spans) < 40


def write_columns(voices):
    keys = [record["key"] for record in voices.records]
    write_table(voices.folder / "utt2corpus", {key: "a" if number < 16 else "b" for number, key in enumerate(keys)})
    return keys


@pytest.mark.parametrize("data_type", ["raw", "shard"])
def test_a_loader_draws_by_tables_beside_the_list(voices, data_type, logged):
    keys = write_columns(voices)
    path = voices.raw_list() if data_type == "raw" else voices.shard_list()
    options = replace(CROPS, sample_num_per_epoch=80,
                      sampling=({"column": "corpus", "weights": {"a": 3, "b": 1}}, {"column": "label"}))
    batches = {}
    for workers in (0, 2):
        loader = train_loader(path, data_type, options, loading(8, workers), seed=3)
        loader.set_epoch(1)
        batches[workers] = [(batch.keys, batch.wav.clone()) for batch in loader]
    assert all(a == b and (x == y).all() for (a, x), (b, y) in zip(*batches.values()))
    corpora = Counter("a" if keys.index(key) < 16 else "b" for batch, _ in batches[0] for key in batch)
    assert corpora == {"a": 60, "b": 20}
    assert loader.label_counts == {"bonafide": 40, "spoof": 40}  # the priors that training sees
    assert "drawn in epoch 2: 80 utterances, 22 of the list's 22; 100.0 % of them so far" in logged.text
    assert "corpus: a 60 (75.0 %, 3.75 times each), b 20 (25.0 %, 3.33 times each)" in logged.text
    loader.set_epoch(1, 4)
    assert [batch.keys for batch in loader] == [keys for keys, _ in batches[0][4:]]


@pytest.mark.parametrize("levels, match", [
    ([{"column": "corpse"}], r"utt2corpse: no such table, so the column 'corpse' is unknown, did you mean 'corpus'"),
    ([{"column": "corpus", "weights": {"a": 1}}], r"corpus 'b' has no weight; 0 leaves it out"),
    ([{"column": "corpus", "weights": {"a": 1, "b": 1, "c": 1}}], r"no utterance has corpus 'c'"),
    ([{"column": "corpus", "weights": {"a": 1, "b": 1}}, {"column": "label", "weights": {"bonafide": 0, "spoof": 0}}],
     "are all 0; nothing would be drawn"),
    ([{"column": "codec"}], r"utt2codec: 21 of 22 utterances of .* are not in this table: u01")])
def test_what_cannot_be_drawn_is_named(voices, levels, match):
    write_columns(voices)
    write_table(voices.folder / "utt2codec", {"u00": "x"})
    with pytest.raises(InputError, match=match):
        train_loader(voices.raw_list(), "raw", replace(CROPS, sampling=tuple(levels)), loading())


@pytest.mark.parametrize("levels, match", [
    (["label"], "level 1: must be a mapping like {column: label}"),
    ([{"column": "label", "weight": {}}], "level 1: unknown key 'weight', did you mean 'weights'"),
    ([{"column": "a/b"}], "level 1.*column: names a table"), ([{"column": "a", "temperature": 0}], "must be above 0"),
    ([{"column": "a", "weights": {"x": -1}}], "of 'x' must be 0 or more"),
    ([{"column": "a", "weights": {"x": 1}, "temperature": 2}], "does not go with weights"),
    ([{"column": "a"}, {"column": "a"}], "names the column 'a' twice")])
def test_options_that_are_impossible_are_named_before_anything_runs(levels, match):
    with pytest.raises(OptionError, match=match):
        DatasetOptions(sampling=tuple(levels))
