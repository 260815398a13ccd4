"""Train, dev and eval sets out of one, so that a speaker or an attack is in one of them alone."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from wedefense.utils.errors import InputError

SETS = ("train", "dev", "eval")


def split_by_group(groups: Sequence[str], labels: Sequence[str], shares: Sequence[float], seed: int) -> list[str]:
    """The set of each utterance: whole groups, large ones first, go where the classes come nearest to their shares;
    the last groups of a class to the sets that have none of it.

    >>> split_by_group(["a", "a", "b", "c", "d", "e"], ["bonafide", "spoof"] * 3, (1, 1, 1), seed=0)
    ['train', 'train', 'dev', 'dev', 'eval', 'eval']
    """
    inside: dict[str, Counter] = defaultdict(Counter)
    for group, label in zip(groups, labels, strict=True):
        inside[group][label] += 1
    total = Counter(labels)
    wanted = {name: dict.fromkeys(total, share / sum(shares))
              for name, share in zip(SETS, shares, strict=True) if share > 0}
    lacking = {label: set(wanted) for label in total}
    left = Counter(label for counts in inside.values() for label in counts)
    order = sorted(inside)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda group: -inside[group].total())
    chosen = {}
    for group in order:
        part = {label: count / total[label] for label, count in inside[group].items()}
        needy = [name for name in wanted
                 if any(name in lacking[label] and left[label] <= len(lacking[label]) for label in part)]
        name = chosen[group] = max(needy or wanted, key=lambda name: _nearer(part, wanted[name]))
        for label in part:
            wanted[name][label] -= part[label]
            lacking[label].discard(name)
            left[label] -= 1
    return [chosen[group] for group in groups]


def _nearer(part: dict[str, float], wanted: dict[str, float]) -> float:
    """How much nearer a set comes to what it still wants of each class, by a group that has this part of it."""
    return sum(abs(wanted[label]) - abs(wanted[label] - share) for label, share in part.items())


def require_both_classes(sets: Sequence[str], labels: Sequence[str], shares: Sequence[float], told: str) -> None:
    """A set without bona fide or without spoofs cannot be evaluated, and one of a single class trains nothing."""
    classes = set(labels)
    for name, share in zip(SETS, shares):
        missing = classes - {label for of, label in zip(sets, labels) if of == name}
        if share and missing:
            raise InputError(f"{told}: the set '{name}' would have no {' and no '.join(sorted(missing))}; there are "
                             f"too few groups of it. Split otherwise (--by, --split, --seed) or give a split column")
