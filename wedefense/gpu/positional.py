"""The wide positional convolution over packed rows, as products of 16-bit floats that are summed in float32.

Equal to `wedefense.frontend.ssl.positional.PositionalConv` and the sum with its input, which say what is computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wedefense.gpu import MOST_PROGRAMS, shared_memory
from wedefense.gpu import positional_kernels as kernels
from wedefense.gpu.passes import PROGRAMS, totals_of
from wedefense.utils.devices import kept, send


@dataclass(frozen=True)
class Tile:
    """What a program of a product has of its result, how deep it goes at a time, its warps, loads that run ahead."""

    rows: int
    columns: int
    inner: int
    warps: int
    stages: int


# Of the convolution, and of the gradient of its taps. Its `inner` are frames; to run ahead with their places, which it
# has to load as well, half of its loads are needed.
TILES = Tile(128, 256, 64, 8, 3), Tile(128, 256, 32, 8, 7)
SMALL_TILES = Tile(64, 128, 32, 4, 4), Tile(64, 128, 32, 4, 5)
ROOM = 160 * 1024  # bytes of shared memory that a program of TILES may want
SIDE, TAPS = 16, 32  # channels and taps of a program that makes the weights
LINES = 32  # of a program that reads all taps of pairs of channels
KEPT = 16  # places: those of fixed crops come again and again


@dataclass(frozen=True)
class Shape:
    """What a convolution is, but for its numbers, and how it is cut."""

    kernel: int
    groups: int
    channels: int     # of a group
    tiles: tuple[Tile, Tile]

    @classmethod
    def of(cls, dim: int, kernel: int, groups: int, device: torch.device) -> "Shape":
        return cls(kernel, groups, dim // groups, TILES if shared_memory(device) >= ROOM else SMALL_TILES)

    def frames(self, tile: Tile) -> int:
        """Of a block: as many as there are columns for, unless their windows had more zeros than taps are worth."""
        return max(min(tile.columns // self.channels, self.kernel // 16), 1)

    @property
    def inner(self) -> int:
        """Values of a block's window."""
        tile = self.tiles[0]
        return -(-(self.kernel + self.frames(tile) - 1) * self.channels // tile.inner) * tile.inner

    @property
    def padded(self) -> int:
        """Taps of an output with the zeros around them."""
        return self.frames(self.tiles[0]) - 1 + -(-self.inner // self.channels)

    @property
    def gap(self) -> int:
        """Zeros between two utterances: no window of one reaches the other, no part of the gradient's frames does."""
        reach = -(-self.inner // self.channels) - self.kernel
        columns, across = self.columns(tile := self.tiles[1])
        return max(self.kernel // 2 + reach, columns * across // self.channels + tile.inner)

    @property
    def tail(self) -> int:
        """Zeros past the last frame, where taps past the last one are that a tile has."""
        tile = self.tiles[1]
        return self.gap + self.kernel + self.frames(tile) * (tile.rows // self.channels + 1)

    def columns(self, tile: Tile) -> tuple[int, int]:
        """Of a program, and how many programs they take."""
        whole = self.frames(tile) * self.channels
        own = min(tile.columns, max(1 << (whole - 1).bit_length(), 16))
        return own, -(-whole // own)


@dataclass(frozen=True)
class Places:
    """Where frames lie when they are spread; all int32 and on the device."""

    source: Tensor  # (places,): the row that lies there, or -1
    blocks: Tensor  # (3, blocks): the place of a block's first frame, its row, how many of its frames there are
    parts: Tensor   # (parts,): places from which on the gradient of the taps takes frames

    @classmethod
    def of(cls, counts: Sequence[int], shape: Shape, device: torch.device) -> "Places":
        """Of utterances of so many frames. Worked out on the host and sent once."""
        return _places(tuple(counts), shape, device)


@kept(maxsize=KEPT)
def _places(counts: tuple[int, ...], shape: Shape, device: torch.device) -> Places:
    sizes = np.array(counts)
    rows = np.cumsum(sizes) - sizes                           # of each utterance, the first
    places = rows + shape.gap * np.arange(1, len(sizes) + 1)
    source = np.full(places[-1] + sizes[-1] + shape.tail, -1)
    owner, frame = _cut(sizes, 1)
    source[places[owner] + frame] = np.arange(len(frame))
    owner, frame = _cut(sizes, frames := shape.frames(shape.tiles[0]))
    blocks = np.stack([places[owner] + frame, rows[owner] + frame, np.minimum(sizes[owner] - frame, frames)])
    owner, frame = _cut(sizes + shape.frames(shape.tiles[1]) - 1, shape.tiles[1].inner)
    every = [source, blocks.ravel(), places[owner] + frame]
    with torch.inference_mode(False):  # what is kept must serve training too
        sent = send(np.concatenate(every).astype(np.int32), device)
        source, blocks, parts = sent.split([len(values) for values in every])
        return Places(source, blocks.view(3, -1), parts)


def _cut(sizes: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """-> whose each part of `step` frames is, and the first of them."""
    count = -(-sizes // step)
    owner = np.repeat(np.arange(len(sizes)), count)
    return owner, step * (np.arange(len(owner)) - (np.cumsum(count) - count)[owner])


@dataclass(frozen=True)
class Taps:
    """The weights that are multiplied with, in 16 bits."""

    there: Tensor          # (groups, out, padded, in)
    back: Tensor | None    # (groups, in, padded, out), the last tap first: for the input's gradient
    squares: Tensor        # (kernel,) float32: the square of the norm of each tap's direction

    @classmethod
    @torch.no_grad()
    def of(cls, shape: Shape, length: Tensor, direction: Tensor, dtype: torch.dtype, back: bool) -> "Taps":
        """length (1, 1, kernel), direction (dim, in, kernel) float32."""
        direction, width = direction.contiguous(), shape.channels
        squares = _tap_sums(shape, direction, None)
        there = direction.new_empty(shape.groups, width, shape.padded, width, dtype=dtype)
        turned = torch.empty_like(there) if back else None
        sides = -(-width // SIDE)
        kernels.taps_kernel[sides * sides, -(-shape.padded // TAPS), shape.groups](
            direction, length, squares, there, there if turned is None else turned, shape.kernel, shape.padded,
            shape.frames(shape.tiles[0]) - 1, TURNED=back, CHANNELS=width, SIDE=SIDE, TAPS=TAPS, num_warps=8)
        return cls(there, turned, squares)


def _tap_sums(shape: Shape, direction: Tensor, gradient: Tensor | None) -> Tensor:
    """(kernel,): of each tap the sum of squares, or of products with the gradient (groups, kernel, in, out)."""
    lines, taps = direction.shape[0] * direction.shape[1], _taps(shape)
    programs = min(2 * PROGRAMS, -(-lines // LINES))
    partial = direction.new_empty(programs, shape.kernel)
    kernels.tap_sums_kernel[programs, -(-shape.kernel // taps)](
        direction, direction if gradient is None else gradient, partial, lines, shape.kernel,
        PRODUCT=gradient is not None, CHANNELS=shape.channels, LINES=LINES, TAPS=taps, num_warps=4)
    return totals_of(partial)[0]


def _taps(shape: Shape) -> int:
    return min(1 << (shape.kernel - 1).bit_length(), 128)


def _spread(shape: Shape, places: Places, x: Tensor, dtype: torch.dtype,
            y: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """x (rows, dim) -> (groups, places, channels); with y that times the slope of GELU at y, and what `totals_of` sums
    to its sum over rows (dim,)."""
    dim, count = x.shape[1], len(places.source)
    across = -(-dim // 256)
    most = MOST_PROGRAMS if y is None else max(4 * PROGRAMS // across, 1)
    down = min(most, -(-count // 16))
    out = x.new_empty(shape.groups, count, shape.channels, dtype=dtype)
    partial = x.new_empty(down if y is not None else 0, dim)
    kernels.spread_kernel[across, down](x, x if y is None else y, places.source, out, partial, count, dim,
                                        CHANNELS=shape.channels, SLOPE=y is not None, ROWS=16, DIM=256, num_warps=4)
    return out, partial


def _convolve(shape: Shape, places: Places, spread: Tensor, weight: Tensor, x: Tensor, bias: Tensor | None,
              y: Tensor | None, before: int) -> Tensor:
    """x (rows, dim) + the convolution; with a bias through GELU, and y is written."""
    tile, count, out = shape.tiles[0], places.blocks.shape[1], torch.empty_like(x)
    columns, across = shape.columns(tile)
    kernels.convolution_kernel[-(-count // tile.rows), shape.groups, across](
        spread, weight, x if bias is None else bias, x, places.blocks, out, x if y is None else y, count,
        spread.shape[1], before, shape.padded, shape.inner, CHANNELS=shape.channels,
        FRAMES=shape.frames(tile), ACTIVE=bias is not None, KEEPS=y is not None, ROWS=tile.rows, COLUMNS=columns,
        INNER=tile.inner, num_warps=tile.warps, num_stages=tile.stages)
    return out


def _weight_gradients(shape: Shape, places: Places, spread: Tensor, dspread: Tensor, squares: Tensor, length: Tensor,
                      direction: Tensor) -> tuple[Tensor, Tensor]:
    """-> those of length and direction."""
    tile, width = shape.tiles[1], shape.channels
    columns, across = shape.columns(tile)
    dtaps = spread.new_empty(shape.groups, shape.kernel, width, width, dtype=torch.float32)
    rows = -(-shape.kernel // shape.frames(tile)) * width
    kernels.tap_gradient_kernel[-(-rows // tile.rows), shape.groups, across](
        spread, dspread, places.parts, dtaps, len(places.parts), spread.shape[1], shape.kernel // 2, shape.kernel,
        CHANNELS=width, FRAMES=shape.frames(tile), ROWS=tile.rows, COLUMNS=columns, INNER=tile.inner,
        num_warps=tile.warps, num_stages=tile.stages)
    direction = direction.contiguous()
    dlength, ddirection, lines = torch.empty_like(length), torch.empty_like(direction), len(direction) * width
    taps = _taps(shape)
    kernels.weight_norm_gradient_kernel[-(-lines // LINES), -(-shape.kernel // taps)](
        direction, length, squares, _tap_sums(shape, direction, dtaps), dtaps, ddirection, dlength, lines,
        shape.kernel, CHANNELS=width, LINES=LINES, TAPS=taps, num_warps=4)
    return dlength, ddirection


class _Positions(torch.autograd.Function):
    """`positions` with its way back; gradients of the taps go to the parameters they were made from."""

    @staticmethod
    def forward(ctx, shape: Shape, places: Places, taps: Taps, x: Tensor, bias: Tensor, length: Tensor,
                direction: Tensor) -> Tensor:
        spread, _ = _spread(shape, places, x, taps.there.dtype)
        y = torch.empty_like(x, dtype=taps.there.dtype)
        ctx.shape, ctx.places, ctx.taps = shape, places, taps
        ctx.save_for_backward(y, length, direction, spread if any(ctx.needs_input_grad[5:]) else None)
        return _convolve(shape, places, spread, taps.there, x, bias, y, shape.kernel // 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        shape, places, taps, needed = ctx.shape, ctx.places, ctx.taps, ctx.needs_input_grad
        y, length, direction, spread = ctx.saved_tensors
        gradient = gradient.contiguous()
        dspread, partial = _spread(shape, places, gradient, y.dtype, y)
        dx = dbias = dlength = ddirection = None
        if needed[3]:
            before = shape.kernel - 1 - shape.kernel // 2  # what an output saw before it sees now what comes after
            dx = _convolve(shape, places, dspread, taps.back, gradient, None, None, before)
        if needed[4]:
            dbias, = totals_of(partial)
        if any(needed[5:]):
            dlength, ddirection = _weight_gradients(shape, places, spread, dspread, taps.squares, length, direction)
        return None, None, None, dx, dbias, dlength, ddirection


def positions(shape: Shape, places: Places, taps: Taps, x: Tensor, bias: Tensor, length: Tensor,
              direction: Tensor) -> Tensor:
    """x (rows, dim) float32 -> x + GELU(convolution + bias); gradients go to the parameters that `taps` came from."""
    x = x.contiguous()  # one utterance after a convolution comes with its frames along the rows
    if torch.is_grad_enabled() and any(given.requires_grad for given in (x, bias, length, direction)):
        return _Positions.apply(shape, places, taps, x, bias, length, direction)
    spread, _ = _spread(shape, places, x, taps.there.dtype)
    return _convolve(shape, places, spread, taps.there, x, bias, None, shape.kernel // 2)
