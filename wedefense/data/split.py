"""Train, dev and eval sets out of one, so that a speaker or an attack is in one of them alone."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from wedefense.utils.errors import InputError

SETS = ("train", "dev", "eval")


def split_by_group(groups: Sequence[str], labels: Sequence[str], shares: Sequence[float], seed: int) -> list[str]:
    """The set of each utterance: whole groups go where most of their classes is still wanted, large groups first.

    >>> split_by_group(["a", "a", "b", "c", "d", "e"], ["bonafide", "spoof"] * 3, (1, 1, 1), seed=0)
    ['train', 'train', 'eval', 'dev', 'dev', 'eval']
    """
    inside: dict[str, Counter] = defaultdict(Counter)
    for group, label in zip(groups, labels, strict=True):
        inside[group][label] += 1
    total = Counter(labels)
    wanted = {name: {label: count * share / sum(shares) for label, count in total.items()}
              for name, share in zip(SETS, shares, strict=True) if share > 0}
    order = sorted(inside)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda group: -inside[group].total())
    chosen = {}
    for group in order:
        chosen[group] = max(wanted, key=lambda name: _worth(inside[group], wanted[name], total))
        for label, count in inside[group].items():
            wanted[chosen[group]][label] -= count
    return [chosen[group] for group in groups]


def _worth(group: Counter, wanted: dict[str, float], total: Counter) -> float:
    """How much of the group is wanted, each class as a share of all there is of it."""
    return sum(count * wanted[label] / total[label] ** 2 for label, count in group.items())


def require_both_classes(sets: Sequence[str], labels: Sequence[str], shares: Sequence[float], told: str) -> None:
    """A set without bona fide or without spoofs cannot be evaluated, and one of a single class trains nothing."""
    classes = set(labels)
    for name, share in zip(SETS, shares):
        missing = classes - {label for of, label in zip(sets, labels) if of == name}
        if share and missing:
            raise InputError(f"{told}: the set '{name}' would have no {' and no '.join(sorted(missing))}; there are "
                             f"too few groups of it. Split otherwise (--by, --split, --seed) or give a split column")
