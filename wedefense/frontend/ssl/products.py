"""The matrix products that nearly all of the encoder's time goes into, and which library computes them.

Outside autograd a product keeps its weights in the form that is fastest to multiply with (joined, cast, and packed for
oneDNN on CPUs of the kind where that is faster than `F.linear`) for as long as the parameters they come from stay the
same. On a CPU this costs the memory of the weights once more.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.gpu import kernels_run_on
from wedefense.utils.devices import hold

ONEDNN = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")  # PyTorch's own, which may go
ROWS_PACKED_FOR = 512  # a hint: weights packed for so many rows serve any number


def working_dtype(weight: Tensor) -> torch.dtype:
    """The precision that products run in: autocast's where it is on, else the weights' own."""
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """What to compute in where the lower precisions are too coarse."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class Derived:
    """A value computed from parameters, computed anew when one of them has been written to or replaced.

    Writing through a parameter's `.data`, or by the fused step of an optimiser, goes unseen until `train()` or `eval()`
    is called, see `Forgetting`. The value is no part of the module's state: copies and pickles of a module start
    without it.
    """

    def __init__(self):
        self.key, self.value = None, None

    def get(self, sources: tuple[Tensor | None, ...], variant, make: Callable):
        given = [source for source in sources if source is not None]
        if any([source.is_inference() for source in given]):  # carries no version to tell a change by
            return make()
        state = variant, [(id(source), source.data_ptr(), source._version) for source in given]
        if self.key is None or state != self.key[0]:
            self.value, self.key = make(), (state, given)  # holding the sources keeps their addresses from reuse
        return hold(self.value)

    def clear(self) -> None:
        self.key, self.value = None, None

    def __deepcopy__(self, memo) -> "Derived":
        return Derived()

    def __reduce__(self):
        return Derived, ()


def clear_derived(module: nn.Module) -> None:
    """Forget every value derived from the module's parameters."""
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Derived):
                value.clear()


class Forgetting(nn.Module):
    """An encoder: forgets what was derived from its parameters when its mode changes and when they move.

    `beginnings` are called, with the encoder, where it begins with a batch: within what is recorded on a GPU.
    """

    def __init__(self):
        super().__init__()
        self.beginnings: list[Callable[[nn.Module], None]] = []

    def begin(self) -> None:
        for act in self.beginnings:
            act(self)

    def train(self, mode: bool = True):
        self.forget()
        return super().train(mode)

    def _apply(self, *args, **kwargs):
        self.forget()
        return super()._apply(*args, **kwargs)

    def forget(self) -> None:
        clear_derived(self)


@dataclass
class Weights:
    """What rows are multiplied with: `weights(x)` is `x @ weight.T + bias`."""

    weight: Tensor
    bias: Tensor | None
    packed: bool = False  # for oneDNN

    def __call__(self, x: Tensor, gelu: bool = False) -> Tensor:
        """x (rows, in) -> (rows, out), through GELU if asked."""
        if self.packed:
            return _onednn_linear(x.to(self.weight.dtype), self.weight, self.bias, gelu)
        y = _plain_linear(x, self.weight, self.bias)
        return F.gelu(y) if gelu else y


def weights_of(kept: Derived, sources: tuple[Any, ...],
               make: Callable[[], tuple[Tensor, Tensor | None]]) -> Weights:
    """The fastest form of what `make()` makes from the parameters `sources`; `kept` keeps it outside autograd."""
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return Weights(*make())
    dtype = working_dtype(sources[0])
    device = sources[0].device
    onednn = device.type == "cpu" and not kernels_run_on(device) and onednn_is_faster(dtype)

    def prepared() -> Weights:
        weight, bias = make()
        weight, bias = weight.to(dtype), None if bias is None else bias.to(dtype)
        return Weights(_packed(weight), bias, packed=True) if onednn else Weights(weight, bias)

    return kept.get(sources, (dtype, onednn), prepared)


class Linear(nn.Linear):
    """`nn.Linear` by the fastest product at hand.

    `adapter` (see `wedefense.frontend.ssl.adapters`) makes the weight that rows are multiplied with from its own.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        self.kept = Derived()
        self.adapter: Any = None

    @property
    def sources(self) -> tuple[Tensor, ...]:
        """All that the weights are made from."""
        return (self.weight, self.bias, *(() if self.adapter is None else self.adapter.parameters()))

    def adapted(self) -> Tensor:
        """The weight of the product, (out, in)."""
        return self.weight if self.adapter is None else self.adapter.changed(self.weight)

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        weights = weights_of(self.kept, self.sources, lambda: (self.adapted(), self.bias))
        if not drops((self,)):
            return weights(x, gelu)
        y = with_dropped((self,), x, weights(x))
        return F.gelu(y) if gelu else y


def drops(parts: Iterable[Linear]) -> bool:
    """Whether what an adapter adds is computed for itself, since something drops out of it."""
    return any(part.adapter is not None and part.adapter.drops for part in parts)


def with_dropped(parts: Sequence[Linear], x: Tensor, y: Tensor) -> Tensor:
    """y (rows, outputs of all parts), with what those adapters add that are not in the weights."""
    columns = y.split([part.out_features for part in parts], dim=1)
    return torch.cat([column + part.adapter(x) if drops((part,)) else column
                      for part, column in zip(parts, columns, strict=True)], dim=1)


class StridedConv(nn.Conv1d):
    """`nn.Conv1d` over rows, as a product with windows of rows.

    Call `weights` once per forward pass and `forward` for each part of the input.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, bias: bool):
        super().__init__(inputs, outputs, kernel, stride, bias=bias)
        nn.init.kaiming_normal_(self.weight)
        self.kept = Derived()

    def weights(self) -> Weights:
        def make() -> tuple[Tensor, Tensor | None]:
            return self.weight.transpose(1, 2).flatten(1), self.bias  # (out, kernel * in)

        weights = weights_of(self.kept, (self.weight, self.bias), make)
        if torch.is_grad_enabled():  # cast once, and not for each part
            weights.weight = weights.weight.to(working_dtype(self.weight))
        return weights

    def forward(self, x: Tensor, weights: Weights, gelu: bool = False) -> Tensor:
        """(time, in) -> (windows, out)."""
        return weights(windows(x.to(weights.weight.dtype), self.kernel_size[0], self.stride[0]), gelu)


def windows(x: Tensor, kernel: int, stride: int) -> Tensor:
    """(time, channels) -> (windows, kernel * channels), a window's rows one after the other.

    Windows that overlap share their memory (oneDNN reads them where they lie) unless autograd has to go back through
    them.
    """
    x, channels, count = x.contiguous(), x.shape[1], (len(x) - kernel) // stride + 1
    if not torch.is_grad_enabled():
        return x.as_strided((count, kernel * channels), (stride * channels, 1))
    # strides cut time into blocks; a window is a block and the beginning of those that follow
    parts = [x[start:].as_strided((count, min(stride, kernel - start) * channels), (stride * channels, 1))
             for start in range(0, kernel, stride)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _plain_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear`, on a CPU in float32 by oneDNN where that is faster."""
    if (x.device.type == "cpu" and x.dtype == weight.dtype == torch.float32 == working_dtype(weight)
            and not torch.compiler.is_compiling() and onednn_is_faster(torch.float32)):
        return _OneDNNLinear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


class _OneDNNLinear(torch.autograd.Function):
    """x (rows, in) @ weight.T + bias; oneDNN reads transposed operands where they lie."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _onednn_linear(x, weight, bias, gelu=False)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()  # that of a sum holds one value many times
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (_onednn_linear(gradient, weight.t(), None, gelu=False) if for_x else None,
                _onednn_linear(gradient.t(), x.t(), None, gelu=False) if for_weight else None,
                gradient.sum(0) if for_bias else None)


def _packed(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS_PACKED_FOR)


def _onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    name, how = ("gelu", "none") if gelu else ("none", "")
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, name, [], how)


@lru_cache
def onednn_is_faster(dtype: torch.dtype) -> bool:
    """Whether products run by packed oneDNN here: by what the processor has, never by timing.

    A clock decides otherwise in a busy moment, and the bits of a run with it. Where it was measured (AMD processors,
    float32), oneDNN took from half of MKL's time to the same; `WEDEFENSE_ONEDNN=0` says no.
    """
    if os.environ.get("WEDEFENSE_ONEDNN") == "0" or not torch.backends.mkldnn.is_available():
        return False
    if not all(hasattr(torch.ops.mkldnn, name) for name in ONEDNN):
        return False
    if dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32 and torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
