import random
from collections import Counter

import pytest

from wedefense.data.split import split_by_group


def speakers(number: int, seed: int) -> tuple[list[str], list[str]]:
    """Real speakers, half of them cloned as well, and three voices that are fake alone."""
    draw, rows = random.Random(seed), []
    for speaker in range(number):
        rows += [(f"real{speaker}", "bonafide")] * draw.randint(3, 10)
        rows += [(f"real{speaker}", "spoof")] * (draw.randint(1, 6) * (speaker % 2))
    rows += [(f"fake{voice}", "spoof") for voice in range(3) for _ in range(draw.randint(5, 15))]
    groups, labels = zip(*rows)
    return list(groups), list(labels)


@pytest.mark.parametrize("number", [4, 5, 7, 9])
@pytest.mark.parametrize("seed", range(4))
def test_sets_of_few_groups_have_every_class(number, seed):
    groups, labels = speakers(number, seed)
    sets = split_by_group(groups, labels, (8, 1, 1), seed)
    assert set(zip(sets, labels)) == {(name, label) for name in ("train", "dev", "eval") for label in set(labels)}
    assert all(len({of for of, member in zip(sets, groups) if member == group}) == 1 for group in groups)


def test_shares_of_many_groups_are_kept():
    groups, labels = speakers(200, 0)
    counts, total = Counter(zip(split_by_group(groups, labels, (6, 2, 2), 0), labels)), Counter(labels)
    for (name, label), count in counts.items():
        assert count / total[label] == pytest.approx({"train": 0.6, "dev": 0.2, "eval": 0.2}[name], abs=0.01)
