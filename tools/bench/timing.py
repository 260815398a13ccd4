"""What every measurement shares: the clock of a device, the three precisions, the fastest product there is."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator

import torch

from wedefense.frontend.ssl.products import Linear
from wedefense.utils.precision import Precision

PRECISIONS = ("bfloat16", "tf32", "float32")


@contextlib.contextmanager
def precision(name: str, device: torch.device, ours: bool = True) -> Iterator[Callable[[], torch.autocast]]:
    """Everything inside computes in this precision (see `wedefense.utils.precision`); gives the context that a forward
    pass runs in. A peer keeps the attention that PyTorch chooses.

        with precision("bfloat16", device) as forward:
            with forward():
                loss = model(x)
            loss.backward()
    """
    products, convolutions, cuda = torch.backends.cuda.matmul, torch.backends.cudnn, torch.backends.cuda
    before = products.allow_tf32, convolutions.allow_tf32, cuda.cudnn_sdp_enabled()
    chosen = Precision(name, device)
    chosen.set_switches()
    if device.type == "cuda" and not ours:
        cuda.enable_cudnn_sdp(before[2])
    try:
        yield chosen.autocast
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before[:2]
        cuda.enable_cudnn_sdp(before[2])


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(run: Callable[[], object], device: torch.device,
               clock: Callable[[], float] = time.perf_counter) -> float:
    """Of one call: between two events on the stream of a GPU, by `clock` elsewhere."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3
    started = clock()
    run()
    return clock() - started


def median_seconds(run: Callable[[], object], device: torch.device, most: int = 10, least: int = 3, warm: int = 3,
                   patience: float = 2.0) -> float:
    """The median of up to `most` calls after `warm` others; no more than `least` of each once `patience` seconds
    are over. On a GPU calls follow one another as the steps of a training do, without the host waiting for each."""
    started = time.perf_counter()
    for done in range(warm):
        if done and time.perf_counter() - started > patience / 2:
            break
        run()
    wait_for(device)
    if device.type == "cuda":
        return statistics.median(_in_a_row(run, most, least, patience))
    times, started = [], time.perf_counter()
    while len(times) < least or len(times) < most and time.perf_counter() - started < patience:
        times.append(seconds_of(run, device))
    return statistics.median(times)


def _in_a_row(run: Callable[[], object], most: int, least: int, patience: float) -> list[float]:
    """Seconds between the ends of one call and the next, by events on the stream."""
    first = seconds_of(run, torch.device("cuda"))
    calls = max(least, min(most, int(patience / first)))
    ends = [torch.cuda.Event(enable_timing=True) for _ in range(calls + 1)]
    for end in ends:
        run()
        end.record()
    ends[-1].synchronize()
    return [one.elapsed_time(other) / 1e3 for one, other in zip(ends, ends[1:])]


def matrix_peak(dtype: torch.dtype, device: torch.device, clock: Callable[[], float] = time.perf_counter,
                size: int | None = None) -> float:
    """Operations per second of a large product of random numbers, by the fastest library there is.

    On a GPU of 8192^3, the median by its own events: smaller ones, zeros and the host's clock flatter or wrong it.
    On a CPU of 2048^3, the best of several.
    """
    if device.type == "cuda":
        size = size or 8192
        x, y = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        return 2 * size**3 / median_seconds(lambda: x @ y, device)
    size = size or 2048
    layer, x = Linear(size, size).to(device, dtype), torch.randn(size, size, device=device).to(dtype)
    with torch.no_grad():
        return 2 * size**3 / min(seconds_of(lambda: layer(x), device, clock) for _ in range(8))
