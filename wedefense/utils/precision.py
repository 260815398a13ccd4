"""In which precision a device computes: one choice, set in one place.

`float32` is float32 everywhere: TF32 off for products and for cuDNN's convolutions too (PyTorch leaves those on).
`tf32` has it on for both. `bfloat16` is autocast, and what autocast leaves in float32 stays float32. `auto` is
bfloat16 on GPUs that have it and float32 elsewhere.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from wedefense.utils.checks import PRECISIONS
from wedefense.utils.errors import OptionError, did_you_mean
from wedefense.utils.log import info_once, warn_once


@dataclass(frozen=True)
class Precision:
    name: str  # float32, tf32 or bfloat16
    device: torch.device

    def __str__(self) -> str:
        on_gpu = self.device.type == "cuda"
        on = torch.cuda.get_device_name(self.device) if on_gpu else f"this {self.device.type.upper()}"
        return f"{self.name} on {on}"

    def autocast(self) -> torch.autocast:
        """A context for forward passes; off, it also ends an autocast around it."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.name == "bfloat16")

    def set_switches(self) -> None:
        """For the whole process: what training needs, whose backward pass runs outside of `autocast`."""
        if self.device.type == "cuda":
            _set_switches(self.name == "tf32")

    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """A context for inference: switches and autocast. A caller's own switches are put back."""
        if self.device.type != "cuda":
            with self.autocast():
                yield
            return
        before = _switches()
        self.set_switches()
        try:
            with self.autocast():
                yield
        finally:
            _restore(before)


def resolve(choice: str, device: torch.device) -> Precision:
    """What a choice comes to on a device; told once in the log."""
    check(choice)
    on_gpu = device.type == "cuda"
    name = choice
    if choice == "auto":
        name = "bfloat16" if on_gpu and _has_bfloat16() else "float32"
    elif choice == "bfloat16" and on_gpu and not _has_bfloat16():
        name = "float32"
        warn_once("precision: this GPU has no bfloat16; computing in float32")
    elif choice == "tf32" and not on_gpu:
        name = "float32"  # which it is on a CPU
    found = Precision(name, device)
    info_once(f"precision: {found}")
    return found


def resolve_for_inference(asked: str, trained: str, device: torch.device) -> Precision:
    """`asked` by the caller; where that is auto, on a GPU what the experiment's config says, on a CPU float32.

    So a model that was trained in bfloat16 on a GPU is heard exactly on a CPU, which gains little by bfloat16.
    """
    return resolve(trained if asked == "auto" and device.type == "cuda" else asked, device)


def check(choice: str) -> None:
    if choice not in PRECISIONS:
        raise OptionError("precision", f"unknown precision '{choice}'{did_you_mean(choice, PRECISIONS)}")


def _has_bfloat16() -> bool:
    return torch.cuda.is_bf16_supported(including_emulation=False)


def _fp32_modules() -> tuple:
    cudnn = torch.backends.cudnn
    return torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn


def _switches() -> tuple[list[str], bool]:
    return [module.fp32_precision for module in _fp32_modules()], torch.backends.cuda.cudnn_sdp_enabled()


def _set_switches(tf32: bool) -> None:
    # by the older names, which PyTorch itself still reads, and which raise where only the newer were set
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    # cuDNN's attention gives NaN gradients in bfloat16 on Hopper where a mask meets frames % 128 == 64
    # (https://github.com/pytorch/pytorch/issues/196678), and PyTorch prefers it there
    torch.backends.cuda.enable_cudnn_sdp(False)


def _restore(switches: tuple[list[str], bool]) -> None:
    (matmul, *others), attention = switches
    torch.backends.cuda.matmul.allow_tf32 = matmul == "tf32"
    torch.backends.cudnn.allow_tf32 = all(other == "tf32" for other in others)
    for module, value in zip(_fp32_modules(), (matmul, *others), strict=True):
        if module.fp32_precision != value:  # what only the newer names can say
            module.fp32_precision = value
    torch.backends.cuda.enable_cudnn_sdp(attention)
