"""Position as a convolution over frames: one wide weight-normed one, or data2vec's stack of narrow ones."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from wedefense.frontend.ssl.architecture import Architecture
from wedefense.frontend.ssl.products import Derived, wide_dtype
from wedefense.utils.devices import kept

FFT_SIZE = 256            # on a CPU, whose cache holds a few blocks of it
FFT_SIZES = (256, 288, 320, 384, 512)  # elsewhere: the least that takes an utterance at one go, or the last
FFT_KERNEL = 32  # the least width at which the detour through frequencies pays


class PositionalConv(nn.Module):
    """wav2vec 2.0: one convolution with a weight norm over its taps.

    It runs through frequencies (overlap-save): 128 taps times 48 channels per group make it 30 times fewer
    operations, and it is 4 to 6 times as fast as the best direct convolution. In 16 bits a GPU takes all of them,
    over packed rows: `fusing.fused_positions`, which `Transformer` calls in the place of this.
    """

    def __init__(self, dim: int, kernel: int, groups: int):
        super().__init__()
        conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)
        nn.init.normal_(conv.weight, std=2 / math.sqrt(kernel * dim))
        nn.init.zeros_(conv.bias)
        self.conv = weight_norm(conv, dim=2)
        self.spectrum, self.taps = Derived(), Derived()

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x (batch, frames, dim) with zeros on padding, mask (batch, frames, 1) or None -> what to add to x."""
        if self.conv.kernel_size[0] < FFT_KERNEL:
            return F.gelu(same_conv(self.conv, x))
        wide = wide_dtype(x.dtype)
        with torch.autocast(x.device.type, enabled=False):
            kernel = self.conv.kernel_size[0]
            size = fft_size(x.shape[1], kernel, x.device)
            y = fft_conv(x.to(wide), self._spectrum(wide, size), kernel, size) + self.conv.bias.to(wide)
        return F.gelu(y.to(x.dtype))

    def _weight(self) -> Tensor:
        """`self.conv.weight`; on a GPU torch's kernels for it take longer than all else that is done here."""
        if self.conv.bias.device.type == "cpu":
            return self.conv.weight
        length, direction = self.conv.parametrizations.weight.parameters()  # (1, 1, kernel), (dim, in, kernel)
        return direction * (length / torch.linalg.vector_norm(direction, dim=(0, 1), keepdim=True))

    def _spectrum(self, dtype: torch.dtype, size: int) -> Tensor:
        def make() -> Tensor:
            weight = self._weight().to(dtype)  # (dim, in, kernel)
            parts = fourier(weight.shape[-1], size, dtype, weight.device) @ weight.flatten(0, 1).t()
            real, imaginary = parts.view(2, -1, self.conv.groups, len(weight) // self.conv.groups, weight.shape[1])
            return torch.complex(real, imaginary).transpose(2, 3) / size  # so that the way back need not divide

        if torch.is_grad_enabled():
            return make()
        return self.spectrum.get(tuple(self.conv.parametrizations.weight.parameters()), (dtype, size), make)


def fft_size(frames: int, kernel: int, device: torch.device) -> int:
    """How many frames are transformed at a time."""
    if device.type == "cpu":
        return FFT_SIZE
    return next((size for size in FFT_SIZES if size >= frames + kernel - 1), FFT_SIZES[-1])


@kept(maxsize=128)
def fourier(kernel: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(2 * bins, kernel): real and imaginary parts of the frequencies of taps, the last tap first.

    A product with it is several times as fast as an FFT of taps with zeros after them.
    """
    with torch.inference_mode(False):  # what is kept must serve training too
        turns = torch.arange(size // 2 + 1)[:, None] * torch.arange(kernel - 1, -1, -1) % size
        angles = 2 * math.pi / size * turns.double()
        return torch.cat((angles.cos(), -angles.sin())).to(device, dtype)


def fft_conv(x: Tensor, spectrum: Tensor, kernel: int, size: int) -> Tensor:
    """x (batch, frames, dim), spectrum (bins, groups, in, out) over `size` -> as x, padded by kernel // 2.

    Blocks of `size` frames overlap by kernel - 1; what wraps around at a block's beginning is cut off.
    """
    batch, frames, _ = x.shape
    bins, groups, _, outputs = spectrum.shape
    step = size - kernel + 1
    blocks = -(-frames // step)
    before, inputs = kernel // 2, x.transpose(1, 2)  # (batch, dim, frames)
    x = inputs.new_zeros(*inputs.shape[:2], blocks * step + kernel - 1)
    x[:, :, before:before + frames] = inputs  # turned as it is copied: transforms want frames side by side
    x = x.unfold(2, size, step)  # (batch, dim, blocks, size)
    x = torch.fft.rfft(x).unflatten(1, (groups, -1))  # (batch, groups, in, blocks, bins)
    x = x.permute(4, 1, 0, 3, 2).flatten(2, 3) @ spectrum  # (bins, groups, batch * blocks, out)
    x = torch.fft.irfft(x, size, dim=0, norm="forward")[kernel - 1:]  # (step, groups, batch * blocks, out)
    x = x.unflatten(2, (batch, blocks)).permute(2, 3, 0, 1, 4)  # (batch, blocks, step, groups, out)
    return x.reshape(batch, blocks * step, groups * outputs)[:, :frames]


def same_conv(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """(batch, frames, dim) -> the same shape; an even kernel sees one frame more of the past than of the future."""
    weight, bias, dtype = conv.weight, conv.bias, conv.weight.dtype
    if x.device.type == "cpu":  # weights in bfloat16 too, see wedefense.utils.convolutions
        x, weight, bias = (t.to(wide_dtype(t.dtype)) for t in (x, weight, bias))
    y = F.conv1d(x.transpose(1, 2), weight, bias, padding=conv.padding, groups=conv.groups)
    return (y if dtype == weight.dtype else y.to(dtype))[:, :, :x.shape[1]].transpose(1, 2)


class StackedLayer(nn.Module):
    """One convolution of data2vec's stack."""

    def __init__(self, dim: int, kernel: int, groups: int):
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        x = same_conv(self.conv, x)
        return F.gelu(F.layer_norm(x, x.shape[-1:]))


class StackedPositionalConv(nn.Module):
    """data2vec: narrow convolutions, each followed by a layer norm without parameters."""

    def __init__(self, dim: int, kernel: int, groups: int, depth: int):
        super().__init__()
        kernel = max(3, kernel // depth)
        self.layers = nn.ModuleList(StackedLayer(dim, kernel, groups) for _ in range(depth))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """As `PositionalConv`; padding is zeroed before each layer, as it is at the edge of an utterance alone."""
        for layer in self.layers:
            x = layer(x)
            if mask is not None:
                x = x * mask
        return x


def positional_conv(architecture: Architecture) -> nn.Module:
    dim, kernel, groups = architecture.dim, architecture.pos_conv_kernel, architecture.pos_conv_groups
    if architecture.pos_conv_depth > 1:
        return StackedPositionalConv(dim, kernel, groups, architecture.pos_conv_depth)
    return PositionalConv(dim, kernel, groups)
