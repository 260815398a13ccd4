"""How fast: a step of frozen and of full training, an evaluation batch, and short mixed files, beside the peers."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tools.bench.ssl_encoders import operations
from tools.bench.ssl_peers import PeerMissing, peer_of
from tools.bench.steps import (
    RATE,
    PeerFrontend,
    architecture_of_size,
    built_on,
    detector_on,
    embedding_step,
    noise,
    our_frontend,
    training_step,
)
from tools.bench.timing import median_seconds, wait_for
from tools.gpu.machine import peak_of
from tools.gpu.sections import Check, first_line
from tools.gpu.trace import launches, synchronisations
from wedefense.data.batch import Batch
from wedefense.frontend.ssl.architecture import Architecture


@dataclass(frozen=True)
class Case:
    """What is measured, at its real size; `passes`: how often a step does the forward's work."""

    size: str
    batch: int
    seconds: float
    trained: str      # "frozen", "full", "nothing"
    passes: int

    def tiny(self) -> "Case":
        return Case("large_tiny" if self.size == "large" else "tiny", 2, 0.25, self.trained, self.passes)


CASES = {"frozen": Case("base", 128, 3.0, "frozen", 1), "full": Case("large", 32, 3.0, "full", 3),
         "evaluation": Case("base", 16, 20.0, "nothing", 1)}
COUNTED = ("Counted: multiplications and additions of the encoder's products (convolutions, projections, attention), "
           "without norms, activations, softmax, back-end and optimiser; ")


def frontend_of(system: str, architecture: Architecture, frozen: bool) -> nn.Module:
    if system == "ours":
        return our_frontend(architecture, frozen)
    return PeerFrontend(peer_of(system, architecture), architecture, frozen)


def step_of(case: Case, system: str, kind: str, device: torch.device) -> Callable[[Batch], object]:
    architecture = architecture_of_size(case.size)
    detector = built_on(device, lambda: detector_on(frontend_of(system, architecture, case.trained != "full")))
    make = embedding_step if case.trained == "nothing" else training_step
    return make(detector, kind, device)


def measured(name: str) -> Callable[[Check, Callable], None]:
    """The section of a case."""
    def run(check: Check, emit: Callable) -> None:
        case = CASES[name].tiny() if check.tiny else CASES[name]
        for system in ("ours", *check.peers):
            for kind in check.precisions:
                try:
                    measure(case, system, kind, check, emit)
                except PeerMissing as reason:
                    emit("speed", system=system, words=str(reason))
                    break
                except torch.cuda.OutOfMemoryError:
                    emit("speed", system=system, precision=kind, words="out of memory")
                except Exception as error:
                    if system == "ours":
                        raise
                    emit("speed", system=system, precision=kind, words=f"{type(error).__name__}: {first_line(error)}")
    return run


def measure(case: Case, system: str, kind: str, check: Check, emit: Callable) -> None:
    device = torch.device(check.device)
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    samples = [int(case.seconds * RATE)] * case.batch
    on_host, batch = noise(samples), noise(samples, device)
    started = time.perf_counter()
    step = step_of(case, system, kind, device)
    built = time.perf_counter()
    step(batch)
    wait_for(device)
    first = time.perf_counter() - built
    seconds = median_seconds(lambda: step(batch), device, most=3 if check.tiny else 10)
    work = case.passes * operations(architecture_of_size(case.size), samples)
    row = {"system": system, "precision": kind, "ms": round(1e3 * seconds, 2),
           "utterances_s": round(case.batch / seconds),
           "TFLOP_s": round(work / seconds / 1e12, 5 if check.tiny else 2)}
    peak = peak_of(check, kind)
    if peak:
        row["share_of_peak"] = f"{work / seconds / peak:.1%}"
    if device.type == "cuda":
        row["GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    row |= {"first_step_s": round(first, 2), "built_in_s": round(built - started, 2)}
    emit("speed", **row)
    if system == "ours" and kind == check.precisions[0]:
        trace(lambda: step(on_host.to(device)), device, emit)


def trace(run: Callable[[], object], device: torch.device, emit: Callable) -> None:
    """Of a step of ours that begins with a batch on the host, as the trainer's does."""
    if device.type == "cuda":
        run()
        found = synchronisations(run)
        emit("host", what="synchronisations", value=sum(found.values()),
             words=", ".join(f"{place} x {number}" for place, number in found.most_common()))
    counts, kernels = launches(run, device)
    for what, value in counts.items():
        emit("host", what=what, value=value)
    for kernel in kernels:
        emit("kernels", **kernel)


def short_files(tiny: bool) -> list[int]:
    """Samples of files of 0.5 to 2 s."""
    count = 6 if tiny else 64
    return [8000 + 1000 * (7 * i % 25) for i in range(count)]


def in_batches(samples: Sequence[int], size: int) -> list[list[int]]:
    """Those of like length together, as the loader of stage 4 does it."""
    ordered = sorted(samples, reverse=True)
    return [ordered[i:i + size] for i in range(0, len(ordered), size)]


def mixed(check: Check, emit: Callable) -> None:
    """Short files of mixed lengths to embeddings: batched, and one at a time as the peers need it."""
    device = torch.device(check.device)
    samples, case = short_files(check.tiny), Case("tiny" if check.tiny else "base", 0, 0, "nothing", 1)
    ways = {"batched": [noise(group, device) for group in in_batches(samples, 64)],
            "one at a time": [noise([length], device) for length in samples]}
    peers = [(peer, "one at a time") for peer in check.peers if peer == "s3prl"]
    for kind in check.precisions:
        for system, way in (("ours", "batched"), ("ours", "one at a time"), *peers):
            try:
                step = step_of(case, system, kind, device)
            except PeerMissing as reason:
                emit("mixed", system=system, way=way, precision=kind, words=str(reason))
                continue
            batches = ways[way]
            seconds = median_seconds(lambda: [step(batch) for batch in batches], device, most=5, least=2, warm=1)
            emit("mixed", system=system, way=way, precision=kind, files=len(samples), ms=round(1e3 * seconds, 1),
                 files_s=round(len(samples) / seconds), audio_h_s=round(sum(samples) / RATE / 3600 / seconds, 3))
