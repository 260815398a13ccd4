"""The matrix products that nearly all of the encoder's time goes into, and which library computes them.

Outside autograd a product keeps its weights in the form that is fastest to multiply with (joined, cast, and on a
CPU packed for oneDNN where a measurement finds oneDNN faster than `F.linear`) for as long as the parameters they
come from stay the same. On a CPU this costs the memory of the weights once more.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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

    Writing through a parameter's `.data` goes unseen until `train()` or `eval()` is called. The value is no part of
    the module's state: copies and pickles of a module start without it.
    """

    def __init__(self):
        self.key, self.value = None, None

    def get(self, sources: tuple[Tensor | None, ...], variant, make: Callable):
        sources = tuple(source for source in sources if source is not None)
        if any(source.is_inference() for source in sources):  # carries no version to tell a change by
            return make()
        state = (variant, *((source.data_ptr(), source._version) for source in sources))
        if self.key is None or state != self.key[0] or any(a is not b for a, b in zip(sources, self.key[1])):
            self.value, self.key = make(), (state, sources)  # holding the sources keeps their addresses from reuse
        return self.value

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
            if isinstance(value, Product):
                value.packed.clear()
            elif isinstance(value, Derived):
                value.clear()


class Product:
    """`x @ weight.T + bias` over the last dimension, with a weight that is made from parameters."""

    def __init__(self):
        self.packed = Derived()

    def __call__(self, x: Tensor, sources: tuple[Tensor | None, ...],
                 make: Callable[[], tuple[Tensor, Tensor | None]], gelu: bool = False) -> Tensor:
        """`make()` gives weight and bias from the parameters `sources`; `gelu` applies to the result."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            y = differentiable_linear(x, *make())
            return F.gelu(y) if gelu else y
        dtype = working_dtype(sources[0])
        onednn = x.device.type == "cpu" and onednn_is_faster(dtype)

        def prepared() -> tuple[Tensor, Tensor | None]:
            weight, bias = make()
            weight = weight.to(dtype)
            return _packed(weight) if onednn else weight, None if bias is None else bias.to(dtype)

        weight, bias = self.packed.get(sources, (dtype, onednn), prepared)
        if onednn:
            return _onednn_linear(x.to(dtype), weight, bias, gelu)
        y = F.linear(x.to(dtype), weight, bias)
        return F.gelu(y) if gelu else y


def differentiable_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
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


class Linear(nn.Linear):
    """`nn.Linear` by the fastest product at hand."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        self.product = Product()

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        return self.product(x, (self.weight, self.bias), lambda: (self.weight, self.bias), gelu)


class Scratch:
    """Memory that the parts of one forward pass use one after the other; fresh memory costs as much as a layer."""

    def __init__(self):
        self.memory: dict[str, Tensor] = {}

    def take(self, name: str, rows: int, columns: int, like: Tensor) -> Tensor:
        """(rows, columns), of whatever content; what had the name before is given up."""
        memory = self.memory.get(name)
        if memory is None or memory.numel() < rows * columns or memory.dtype != like.dtype:
            self.memory[name] = memory = like.new_empty(rows * columns)
        return memory[:rows * columns].view(rows, columns)


def windows(x: Tensor, kernel: int, stride: int, scratch: Scratch | None = None) -> Tensor:
    """(time, channels) -> (windows, kernel * channels), a window's rows one after the other.

    Strides cut time into blocks; a window is a block and the beginning of those that follow.
    """
    x, channels, count = x.contiguous(), x.shape[1], (len(x) - kernel) // stride + 1
    parts = [x[start:].as_strided((count, min(stride, kernel - start) * channels), (stride * channels, 1))
             for start in range(0, kernel, stride)]
    if len(parts) == 1:
        return parts[0]
    out = None if scratch is None else scratch.take("windows", count, kernel * channels, x)
    return torch.cat(parts, 1, out=out)


@dataclass
class ConvWeights:
    """A convolution's weights as its products want them."""

    weight: Tensor
    bias: Tensor | None
    form: Literal["autograd", "product", "onednn", "convolution"]


class StridedConv(nn.Conv1d):
    """`nn.Conv1d` over rows, (time, in) -> (windows, out): a product with windows, or a convolution if faster.

    `prepare` once per forward pass, then `forward` for each part of it.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, bias: bool):
        super().__init__(inputs, outputs, kernel, stride, bias=bias)
        nn.init.kaiming_normal_(self.weight)
        self.derived = Derived()

    def prepare(self) -> ConvWeights:
        dtype = working_dtype(self.weight)
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self.prepared(dtype, "autograd")
        form = "product"
        if self.weight.device.type == "cpu" and onednn_is_faster(dtype):
            form = "convolution" if dtype == torch.bfloat16 else "onednn"  # each by a tenth, as measured
        return self.derived.get((self.weight, self.bias), (dtype, form), lambda: self.prepared(dtype, form))

    def prepared(self, dtype: torch.dtype, form: str) -> ConvWeights:
        bias = None if self.bias is None else self.bias.to(dtype)
        if form == "convolution":
            weight = self.weight.to(dtype)[:, :, None].contiguous(memory_format=torch.channels_last)
            size = [1, self.in_channels, 1, 4 * ROWS_PACKED_FOR]
            weight = torch.ops.mkldnn._reorder_convolution_weight(weight, [0, 0], [1, *self.stride], [1, 1], 1, size)
            return ConvWeights(weight, bias, form)
        matrix = self.weight.transpose(1, 2).flatten(1).to(dtype)  # (out, kernel * in)
        return ConvWeights(_packed(matrix) if form == "onednn" else matrix, bias, form)

    def forward(self, x: Tensor, weights: ConvWeights, gelu: bool = False, scratch: Scratch | None = None) -> Tensor:
        x = x.to(weights.weight.dtype)
        if weights.form == "convolution":
            image = x[None, None].permute(0, 3, 1, 2)  # (1, in, 1, time), channels last in memory
            y = torch.ops.mkldnn._convolution_pointwise(image, weights.weight, weights.bias, [0, 0],
                                                        [1, *self.stride], [1, 1], 1, *_activation(gelu))
            return y[0, :, 0].t()  # (windows, out)
        x = windows(x, self.kernel_size[0], self.stride[0], scratch)
        if weights.form == "onednn":
            return _onednn_linear(x, weights.weight, weights.bias, gelu)
        y = differentiable_linear(x, weights.weight, weights.bias)
        return F.gelu(y) if gelu else y


def _activation(gelu: bool) -> tuple[str, list, str]:
    return ("gelu", [], "none") if gelu else ("none", [], "")


def _packed(weight: Tensor) -> Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS_PACKED_FOR)


def _onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, *_activation(gelu))


@lru_cache
def onednn_is_faster(dtype: torch.dtype) -> bool:
    """Whether packed oneDNN beats `F.linear` here, measured once per precision.

    oneDNN is kept unless it is clearly slower, so that noise does not make runs of one machine differ in bits.
    """
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    if dtype == torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        x, weight = torch.ones(256, 768, dtype=dtype), torch.ones(768, 768, dtype=dtype)
        packed = _packed(weight)
        onednn, plain = _least_times(lambda: _onednn_linear(x, packed, None, gelu=False), lambda: F.linear(x, weight))
    return onednn < 1.25 * plain


def _least_times(*runs: Callable[[], Tensor], repeats: int = 10) -> list[float]:
    """The least time of each, taken in turn so that other work on the machine meets all alike."""
    least = [float("inf")] * len(runs)
    for _ in range(repeats):
        for i, run in enumerate(runs):
            start = time.perf_counter()
            run()
            least[i] = min(least[i], time.perf_counter() - start)
    return least
