"""Who reads what, in numbers."""

import numpy as np
import pytest

from wedefense.data.sampler import TrainSampler, length_batches


def test_two_passes_each_hold_every_utterance_once():
    sampler = TrainSampler(np.arange(10, 15), 10, 1, seed=1)
    items = [item for (item,) in sampler]
    assert sorted(items) == [(0, i, o) for i in range(10, 15) for o in (0, 1)]
    assert [o for _, _, o in items] == [0] * 5 + [1] * 5


def test_orders_differ_by_epoch_and_seed_only():
    def order(seed, epoch):
        sampler = TrainSampler(np.arange(50), 50, 5, seed=seed)
        sampler.set_epoch(epoch)
        return [i for batch in sampler for _, i, _ in batch]

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6
    assert sorted(order(1, 2)) == list(range(50))


def test_without_shuffling_the_order_is_the_lists():
    sampler = TrainSampler(np.arange(6), 12, 2, shuffle=False)
    assert [i for batch in sampler for _, i, _ in batch] == [*range(6), *range(6)]


@pytest.mark.parametrize("ranks, batch", [(1, 12), (2, 6), (3, 4), (4, 3)])
def test_a_global_step_is_the_same_for_any_number_of_ranks(ranks, batch):
    alone = list(TrainSampler(np.arange(100), 100, 12, seed=5))
    shared = [list(TrainSampler(np.arange(100), 100, batch, rank=rank, world_size=ranks, seed=5))
              for rank in range(ranks)]
    assert len(alone) == 8
    for step, items in enumerate(alone):
        assert [item for part in shared for item in part[step]] == items


def test_blocks_by_length_hold_every_utterance_once_and_little_padding():
    """As WeDefense's block_shuffle_by_length: the batches of a step are of like length, in another order each epoch."""
    lengths = np.random.default_rng(0).uniform(1, 20, 103)
    firsts = []
    for epoch in (0, 1):
        shares = [TrainSampler(np.arange(103), 103, 5, rank=rank, world_size=2, seed=3, lengths=lengths)
                  for rank in (0, 1)]
        for share in shares:
            share.set_epoch(epoch)
        steps = [[i for part in parts for _, i, _ in part] for parts in zip(*shares, strict=True)]
        assert len(steps) == 10 and len({i for step in steps for i in step}) == 100
        assert max(np.ptp(lengths[step]) for step in steps) < 4
        firsts.append(steps[0])
    assert sorted(firsts[0]) != sorted(firsts[1])


def test_shards_are_shuffled_within_a_window():
    groups = np.repeat(np.arange(40), 100)
    sampler = TrainSampler(np.arange(4000), 4000, 1, seed=2, groups=groups, window=200)
    order = np.array([i for ((_, i, _),) in sampler])
    assert sorted(order) == list(range(4000))
    shards = order // 100
    open_at = [np.flatnonzero(shards == shard) for shard in range(40)]
    assert max(places[-1] - places[0] for places in open_at) <= 100 + 2 * 200  # each is read within a short span
    first = sorted(range(40), key=lambda shard: open_at[shard].mean())
    assert first != list(range(40)) and np.corrcoef(order[:500] % 100, np.arange(500))[0, 1] < 0.5


def test_length_batches_hold_every_utterance_once_within_the_limits():
    durations = np.random.default_rng(0).uniform(0.5, 20, 500)
    durations[7] = 100.0  # longer than a batch may be: alone
    shares = [length_batches(durations, 32, 60.0, rank=rank, world_size=3) for rank in range(3)]
    batches = [batch for share in shares for batch in share]
    assert sorted(i for batch in batches for i in batch) == list(range(500))
    assert [7] in batches
    padded = [max(durations[batch]) * len(batch) for batch in batches if batch != [7]]
    assert max(padded) <= 60 and max(map(len, batches)) <= 32
    assert sum(padded) < 1.05 * durations[durations < 100].sum()  # little padding
    assert shares[0][0] == [7]


def test_length_batches_of_unreadable_files():
    assert length_batches(np.zeros(5), 4, 10.0) == [[0, 1, 2, 3], [4]]
