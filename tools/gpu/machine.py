"""What the check ran on, and what this machine can do at most."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch

from tools.bench.timing import PRECISIONS, matrix_peak, median_seconds, precision
from tools.gpu.sections import Check
from wedefense.gpu import kernels_run_on

ROOT = Path(__file__).resolve().parents[2]
OTHERS = ("torchaudio", "triton", "s3prl", "transformers", "soundfile", "kaldiio", "pytest")


def output_of(*command: str) -> str:
    """What a command says, or nothing where there is none such."""
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def commit() -> str:
    changed = output_of("git", "status", "--porcelain", "--untracked-files=no")
    return (output_of("git", "rev-parse", "--short=12", "HEAD") or "unknown") + (" with changes" if changed else "")


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def versions(check: Check, emit: Callable) -> None:
    about = {"wedefense commit": commit(), "Python": platform.python_version(), "torch": torch.__version__}
    if check.device == "cuda":
        chosen = torch.cuda.get_device_properties(0)
        about |= {
            "GPU": chosen.name, "GPUs": torch.cuda.device_count(), "memory GiB": round(chosen.total_memory / 2**30, 1),
            "compute capability": f"{chosen.major}.{chosen.minor}", "multiprocessors": chosen.multi_processor_count,
            "driver": output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split("\n")[0],
            "power limit": output_of("nvidia-smi", "--query-gpu=power.limit", "--format=csv,noheader").split("\n")[0],
            "CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version(),
            "NCCL": ".".join(map(str, torch.cuda.nccl.version())),
            "kernels": "ours" if kernels_run_on(torch.device("cuda")) else "PyTorch's"}
    processor = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    about |= {"processor": (processor or [platform.processor()])[0], "cores used": check.workers}
    for name, value in {**about, **{package: version(package) for package in OTHERS}}.items():
        emit("versions", what=name, value=value)


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def ceilings(check: Check, emit: Callable) -> None:
    device = torch.device(check.device)
    size = 8192 if device.type == "cuda" else 256
    for name in PRECISIONS:
        with precision(name, device):
            peak = matrix_peak(torch.bfloat16 if name == "bfloat16" else torch.float32, device, size=size)
        emit("ceilings", what=f"product {size}^3 of random numbers, {name}", precision=name,
             value=round(peak / 1e12, 3 if check.tiny else 1), unit="TFLOP/s")
    count = 2**30 if device.type == "cuda" else 2**22
    source = torch.empty(count, device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    seconds = median_seconds(lambda: target.copy_(source), device)
    emit("ceilings", what="copy on the device, bytes read and written", value=round(2 * count / seconds / 1e12, 3),
         unit="TB/s")
    if device.type == "cuda":
        host = torch.empty(2**28, dtype=torch.uint8, pin_memory=True)
        seconds = median_seconds(lambda: target[:2**28].copy_(host, non_blocking=True), device)
        emit("ceilings", what="copy from page-locked memory", value=round(2**28 / seconds / 1e9, 1), unit="GB/s")


def peak_of(check: Check, name: str) -> float | None:
    """Measured operations per second in this precision."""
    products = {row.get("precision"): row["value"] for row in check.rows("ceilings", "ceilings")}
    return 1e12 * products[name] if name in products else None
