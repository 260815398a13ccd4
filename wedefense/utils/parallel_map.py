"""One function over many items in several processes, with a progress bar."""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

from wedefense.utils.log import progress


def default_workers() -> int:
    return min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def parallel_map(function: Callable, items: Sequence, num_workers: int, desc: str, unit: str, *constants) -> list:
    """`[function(item, *constants) for item in items]`, in order; `function` must be importable."""
    if num_workers <= 1 or len(items) < 2:
        return list(_bar((function(item, *constants) for item in items), len(items), desc, unit))
    chunk = max(1, min(256, len(items) // (4 * num_workers)))
    with ProcessPoolExecutor(min(num_workers, len(items))) as pool:
        arguments = [items, *(repeat(constant) for constant in constants)]
        return list(_bar(pool.map(function, *arguments, chunksize=chunk), len(items), desc, unit))


def _bar(results: Iterable, total: int, desc: str, unit: str) -> Iterable:
    return progress(results, total=total, desc=desc, unit=unit)
