"""Blocks and convolutions by the kernels of `wedefense.gpu`, where they run and nothing stands in a kernel's way."""

import torch
from torch import Tensor, nn

from wedefense.frontend.ssl.packing import Packing, Span
from wedefense.frontend.ssl.positional import FFT_KERNEL, PositionalConv
from wedefense.frontend.ssl.products import drops, working_dtype
from wedefense.gpu import kernels_run_on
from wedefense.utils.devices import kept, numbers_on


def fuses(block: nn.Module, x: Tensor, span: Span) -> bool:
    """Whether `fused` serves a block: a whole one without gates, over a residual stream in float32.

    An adapter that is a change of weights is one; a bottleneck, or one that something drops out of, stands in the way.
    """
    if not span.packed or not block.has_attention or block.feed_forward is None or torch.compiler.is_compiling():
        return False
    attention, feed_forward = block.attention, block.feed_forward
    for part in (attention, feed_forward):
        if part.gate is not None or part.sublayer_gate is not None:
            return False
    if attention.relative and attention.head_dim & (attention.head_dim - 1):
        return False  # the kernel of its gate wants a power of two
    if block.bottlenecks is not None or drops(block.linears().values()):
        return False
    return x.dtype == block.layer_norm.weight.dtype == torch.float32


def fused(block: nn.Module, x: Tensor, begun: tuple[Tensor, Tensor] | None, span: Span,
          following: nn.Module | None = None) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """`block(x, [span])`, and what the next block begins with: the same, and its norm, see `wedefense.gpu.block`.

    `begun`: that of x, if the block before made it. `following`: the block that is sure to come next.
    """
    from wedefense.gpu.block import Rows, Shape, fused_block, parameters_of

    attention = block.attention
    dropouts = (attention.dropout, block.dropout.p, block.feed_forward.dropout.p) if block.training else (0.0, 0.0, 0.0)
    shape = Shape(attention.heads, attention.head_dim, block.norm_first, attention.relative, block.layer_norm.eps,
                  dropouts, *_places(attention.kept, attention.total_heads, x.device))
    rows = Rows(span.packing.starts, span.packing.frames, attention.own_rows(span.table))
    learns = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in block.parameters())
    parameters = parameters_of(block, adapted=learns)
    norm = following.layer_norm if following is not None and block.norm_first and fuses(following, x, span) else None
    return fused_block(parameters, shape, x, begun, rows, _products(block, parameters, learns),
                       norm and (norm.weight, norm.bias))


@kept(maxsize=256)
def _places(heads: tuple[int, ...] | None, total: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of the heads kept, all if None: (total,) the place of each among them, or -1; and (heads,) which each is."""
    heads = heads or tuple(range(total))
    place = [-1] * total
    for number, head in enumerate(heads):
        place[head] = number
    return numbers_on(tuple(place), device), numbers_on(heads, device)


def _products(block: nn.Module, parameters: dict[str, Tensor | None], learns: bool):
    """The weights of the block's products in their precision; frozen ones, and those of evaluation, are kept."""
    from wedefense.gpu.block import Products, parameters_of

    dtype = working_dtype(block.attention.out_proj.weight)
    if learns:
        block.products.clear()
        return Products.of(parameters, dtype)
    adapters = [part.adapter for part in block.linears().values() if part.adapter is not None]
    sources = (*parameters.values(), *(source for adapter in adapters for source in adapter.parameters()))
    return block.products.get(sources, dtype, lambda: Products.of(parameters_of(block), dtype))


def positions_fused(embed: nn.Module, x: Tensor) -> bool:
    """Whether `fused_positions` serves: one wide convolution in 16 bits, over a residual stream in float32."""
    if not isinstance(embed, PositionalConv) or torch.compiler.is_compiling():
        return False
    bias = embed.conv.bias
    low = working_dtype(bias) in (torch.bfloat16, torch.float16) and x.dtype == bias.dtype == torch.float32
    return low and embed.conv.kernel_size[0] >= FFT_KERNEL and kernels_run_on(x.device)


def fused_positions(embed: nn.Module, x: Tensor, packing: Packing) -> Tensor:
    """x (rows, dim) with what `embed` adds to it. Weights of frozen convolutions, and of evaluation, are kept."""
    from wedefense.gpu.positional import Places, Shape, Taps, positions

    conv, dtype = embed.conv, working_dtype(embed.conv.bias)
    shape = Shape.of(x.shape[1], conv.kernel_size[0], conv.groups, x.device)
    length, direction = conv.parametrizations.weight.parameters()  # (1, 1, kernel), (dim, in, kernel)
    grad = torch.is_grad_enabled()
    back = grad and x.requires_grad

    def make() -> Taps:
        return Taps.of(shape, length, direction, dtype, back)

    if grad and (length.requires_grad or direction.requires_grad):
        embed.taps.clear()
        taps = make()
    else:
        taps = embed.taps.get((length, direction), (dtype, back), make)
    places = Places.of(packing.counts, shape, x.device)
    return positions(shape, places, taps, x, conv.bias, length, direction)


def samples_fused(signal: Tensor, stride: int) -> bool:
    """Whether kernels read the samples (slots, slot): float32, and as many windows to a slot as a product takes."""
    ready = kernels_run_on(signal.device) and signal.dtype == torch.float32 and not torch.compiler.is_compiling()
    return ready and signal.shape[1] // stride % 16 == 0


def extracts_fused(signal: Tensor, stride: int, gates: list[Tensor | None]) -> bool:
    """Whether the extractor's kernels serve: no channel has a gate."""
    return samples_fused(signal, stride) and all(gate is None for gate in gates)


def _window_products(signal: Tensor, slots, conv: nn.Module) -> Tensor:
    from wedefense.gpu.extractor import Signal, window_products

    return window_products(Signal(signal.contiguous(), slots.owner, slots.starts, slots.longest), slots.windows,
                           conv.kernel_size[0], conv.stride[0])


def window_statistics(signal: Tensor, slots, conv: nn.Module) -> tuple[Tensor, Tensor]:
    """As `FirstLayer._window_statistics`, in one pass over the samples."""
    last = conv.kernel_size[0]
    sums = _window_products(signal, slots, conv).double().sum(1)[:, :last + 1, :last + 1]
    count = sums[:, -1, -1]
    mean = sums[:, -1, :-1] / count[:, None]
    return mean, sums[:, :-1, :-1] / count[:, None, None] - mean[:, :, None] * mean[:, None, :]


def folded_weights(signal: Tensor, slots, conv: nn.Module, norm: nn.Module) -> Tensor:
    """As `FirstLayer.weights` with a norm over time, without a way back."""
    from wedefense.gpu.extractor import folded_weights

    return folded_weights(_window_products(signal, slots, conv), conv.weight[:, 0], norm.weight, norm.bias, norm.eps)


def fused_frames(layers: nn.ModuleList, signal: Tensor, slots, start: int, weights: list) -> Tensor:
    """As `Extractor._frames`, of the slots from `start` on."""
    from wedefense.gpu.extractor import FirstLayer, Signal, conv_layer

    first, *others = layers
    own = Signal(signal.contiguous(), slots.owner[start:start + len(signal)], slots.starts, slots.longest, start)
    x = FirstLayer.apply(own, first.conv.stride[0], *_norm(first)[:1], working_dtype(first.conv.weight), weights[0],
                         *_norm(first)[1:])
    for layer, own in zip(others, weights[1:], strict=True):
        epsilon, *norm = _norm(layer)
        x = conv_layer(layer.conv.stride[0], epsilon, own.weight.detach(), x, layer.conv.weight, layer.conv.bias, *norm)
    return x


def _norm(layer: nn.Module) -> tuple[float, Tensor | None, Tensor | None]:
    """Of a layer's channels: epsilon, gain, shift."""
    if not layer.norms_channels:
        return 0.0, None, None
    return layer.layer_norm.eps, layer.layer_norm.weight, layer.layer_norm.bias
