"""What a step makes the host wait for, and what it launches."""

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from tools.bench.timing import wait_for

ROOT = Path(__file__).resolve().parents[2]


def synchronisations(run: Callable[[], object]) -> Counter:
    """How often one call waits for the GPU, by `file:line` of the Python that asked."""
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            run()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return Counter(place(warning) for warning in caught if "called a synchronizing" in str(warning.message))


def place(warning: warnings.WarningMessage) -> str:
    path = Path(warning.filename)
    return f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else '/'.join(path.parts[-3:])}:{warning.lineno}"


def launches(run: Callable[[], object], device: torch.device) -> tuple[dict, list[dict]]:
    """Of one call: how much is launched, and the kernels (on a CPU the operators) that take longest."""
    from torch.profiler import ProfilerActivity, profile

    on_gpu = device.type == "cuda"
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    wait_for(device)
    with profile(activities=kinds) as found:
        run()
        wait_for(device)
    events = found.events()
    if not on_gpu:
        operators = [event for event in events if event.name.startswith("aten::")]
        return {"operators": len(operators)}, longest([(e.name, e.self_cpu_time_total) for e in operators])
    kernels = [event for event in events if event.device_type == torch.autograd.DeviceType.CUDA
               and not event.name.startswith(("Memcpy", "Memset", "ProfilerStep"))
               and not getattr(event, "is_user_annotation", False)]
    counts = {
        "kernels": len(kernels), "copies": sum(event.name.startswith(("Memcpy", "Memset")) for event in events),
        "launched by the host": sum("LaunchKernel" in event.name for event in events),
        "graphs": sum("GraphLaunch" in event.name for event in events)}
    return counts, longest([(event.name, event.time_range.elapsed_us()) for event in kernels])


def longest(timed: list[tuple[str, float]], count: int = 10) -> list[dict]:
    """Names with their number, milliseconds together and share of all."""
    times, numbers = Counter(), Counter()
    for name, microseconds in timed:
        times[name] += microseconds
        numbers[name] += 1
    whole = sum(times.values()) or 1
    return [{"kernel": name[:100], "times": numbers[name], "ms": round(microseconds / 1e3, 3),
             "share": f"{microseconds / whole:.1%}"} for name, microseconds in times.most_common(count)]
