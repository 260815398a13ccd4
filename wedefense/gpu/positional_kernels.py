"""Triton kernels of a wide convolution over frames in groups of channels, and of the weight norm over its taps.

Frames lie spread: (groups, places, channels of a group), zeros between the utterances and around them, so that the
window of a frame is one run of values. A block is FRAMES frames that follow one another, whose windows are nearly the
same: their outputs are the columns of one product, with weights that begin a frame later from each to the next.
"""

import triton
import triton.language as tl

from wedefense.gpu.extractor_kernels import gelu_into, gelu_slope


@triton.jit(do_not_specialize=("source", "places"))
def spread_kernel(x, y, source, out, partial, places, dim, CHANNELS: tl.constexpr, SLOPE: tl.constexpr,
                  ROWS: tl.constexpr, DIM: tl.constexpr):
    """out (groups, places, CHANNELS): x (rows, dim) where it belongs; source (places,): the row of each, or -1.

    SLOPE: x times the slope of GELU at y (rows, dim), and partial (programs down, dim), its sums over rows.
    """
    column = tl.program_id(0) * DIM + tl.arange(0, DIM)
    own = (column // CHANNELS).to(tl.int64) * places * CHANNELS + column % CHANNELS
    total = tl.zeros((ROWS, DIM), tl.float32)
    for first in range(tl.program_id(1) * ROWS, places, tl.num_programs(1) * ROWS):
        place = first + tl.arange(0, ROWS)
        row = tl.load(source + place, mask=place < places, other=-1).to(tl.int64)
        inside = (row >= 0)[:, None] & (column < dim)[None, :]
        here = row[:, None] * dim + column[None, :]
        value = tl.load(x + here, mask=inside, other=0.0).to(tl.float32)
        if SLOPE:
            value *= gelu_slope(tl.load(y + here, mask=inside, other=0.0).to(tl.float32), out.dtype.element_ty)
            total += value
        tl.store(out + own[None, :] + place[:, None].to(tl.int64) * CHANNELS, value.to(out.dtype.element_ty),
                 mask=(place < places)[:, None] & (column < dim)[None, :])
    if SLOPE:
        tl.store(partial + tl.program_id(1) * dim + column, tl.sum(total, 0), mask=column < dim)


@triton.jit
def _half(x, number: tl.constexpr):
    """The first or the second half of the columns of x (rows, columns)."""
    one, other = tl.split(tl.permute(tl.reshape(x, (x.shape[0], 2, x.shape[1] // 2)), (0, 2, 1)))
    return one if number == 0 else other


@triton.jit
def _finish(total, first, bias, x, out, y, row, filled, CHANNELS: tl.constexpr, FRAMES: tl.constexpr,
            ACTIVE: tl.constexpr, KEEPS: tl.constexpr, KIND: tl.constexpr):
    """What becomes of the columns from `first` on of what a program of `convolution_kernel` has summed."""
    column = first + tl.arange(0, total.shape[1])
    frame, own = column // CHANNELS, tl.program_id(1) * CHANNELS + column % CHANNELS
    inside = (frame[None, :] < filled[:, None]) & (frame < FRAMES)[None, :]
    dim = tl.num_programs(1) * CHANNELS
    here = row[:, None].to(tl.int64) * dim + (frame * dim + own)[None, :]
    if ACTIVE:
        total += tl.load(bias + own, mask=frame < FRAMES, other=0.0)[None, :]
        if KEEPS:
            tl.store(y + here, total.to(y.dtype.element_ty), mask=inside)
        total = gelu_into(total, KIND)
    tl.store(out + here, tl.load(x + here, mask=inside, other=0.0) + total, mask=inside)


@triton.jit(do_not_specialize=("blocks", "count", "places"))
def convolution_kernel(spread, weight, bias, x, blocks, out, y, count, places, before, padded, inner,
                       CHANNELS: tl.constexpr, FRAMES: tl.constexpr, ACTIVE: tl.constexpr, KEEPS: tl.constexpr,
                       ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr):
    """out = x + the convolution of what is spread, all (rows, dim); where ACTIVE x + GELU(convolution + bias), and y
    what GELU is taken of where KEEPS.

    weight (groups, CHANNELS, padded, CHANNELS): of each output FRAMES - 1 taps of zeros, its taps, zeros; `inner`
    values of it are multiplied. blocks (3, count): the place of a block's first frame, its row, how many of its frames
    there are.
    """
    group, block = tl.program_id(1), tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column, depth = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, INNER)
    safe = tl.where(column < FRAMES * CHANNELS, column, 0)
    frame, channel = safe // CHANNELS, safe % CHANNELS
    place = tl.load(blocks + block, mask=block < count, other=before).to(tl.int64) - before
    a = spread + (group.to(tl.int64) * places + place[:, None]) * CHANNELS + depth[None, :]
    b = weight + (group * CHANNELS + channel[None, :]).to(tl.int64) * (padded * CHANNELS)
    b += (FRAMES - 1 - frame)[None, :] * CHANNELS + depth[:, None]
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for _ in range(0, inner, INNER):
        total = tl.dot(tl.load(a), tl.load(b), total)
        a += INNER
        b += INNER
    filled = tl.load(blocks + 2 * count + block, mask=block < count, other=0)
    row = tl.load(blocks + count + block, mask=block < count, other=0)
    first = tl.program_id(2) * COLUMNS
    if COLUMNS < 64:
        _finish(total, first, bias, x, out, y, row, filled, CHANNELS, FRAMES, ACTIVE, KEEPS, spread.dtype.element_ty)
    else:  # with a quarter at a time there is room for the input too
        for half in tl.static_range(2):
            for quarter in tl.static_range(2):
                part = _half(_half(total, half), quarter)
                _finish(part, first + (2 * half + quarter) * (COLUMNS // 4), bias, x, out, y, row, filled, CHANNELS,
                        FRAMES, ACTIVE, KEEPS, spread.dtype.element_ty)


@triton.jit(do_not_specialize=("parts", "count", "places"))
def tap_gradient_kernel(spread, gradient, parts, out, count, places, before, kernel, CHANNELS: tl.constexpr,
                        FRAMES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr):
    """out (groups, kernel, in, out) float32: gradients of taps, from the input and the output's gradient, both spread.

    A program has the taps of some of the rows (every FRAMES-th tap, in) and, as columns, (FRAMES, out): a tap later is
    the gradient of a frame before. parts (count,): places where INNER frames begin.
    """
    group = tl.program_id(1).to(tl.int64)
    row, column = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    tap, channel = row // CHANNELS * FRAMES, row % CHANNELS  # those past the last lie among the zeros at the end
    frame, output = column // CHANNELS, column % CHANNELS
    frames = tl.arange(0, INNER)[:, None] * CHANNELS
    a = frames + ((tap - before) * CHANNELS + channel)[None, :]
    b = frames + (output - frame * CHANNELS)[None, :]
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for part in range(0, count):
        start = (group * places + tl.load(parts + part)) * CHANNELS
        total = tl.dot(tl.trans(tl.load(spread + start + a)), tl.load(gradient + start + b), total)
    tap = tap[:, None] + frame[None, :]
    here = ((group * kernel + tap) * CHANNELS + channel[:, None]) * CHANNELS + output[None, :]
    tl.store(out + here, total, mask=(tap < kernel) & (frame < FRAMES)[None, :])


@triton.jit
def _places_of(first, lines, tap, kernel, CHANNELS: tl.constexpr, LINES: tl.constexpr):
    """Of lines (groups, in, out) and taps: where they lie in (groups, out, in, kernel) and (groups, kernel, in, out),
    and which there are."""
    line = first + tl.arange(0, LINES)
    group, pair = (line // (CHANNELS * CHANNELS)).to(tl.int64), line % (CHANNELS * CHANNELS)
    turned = pair % CHANNELS * CHANNELS + pair // CHANNELS
    own = (group * CHANNELS * CHANNELS + turned)[:, None] * kernel + tap[None, :]
    of_taps = (group[:, None] * kernel + tap[None, :]) * CHANNELS * CHANNELS + pair[:, None]
    return own, of_taps, (line < lines)[:, None] & (tap < kernel)[None, :]


@triton.jit
def tap_sums_kernel(direction, gradient, partial, lines, kernel, PRODUCT: tl.constexpr, CHANNELS: tl.constexpr,
                    LINES: tl.constexpr, TAPS: tl.constexpr):
    """partial (programs, kernel): of each tap the sum of direction's squares, where PRODUCT of its products with the
    gradient of taps."""
    tap = tl.program_id(1) * TAPS + tl.arange(0, TAPS)
    total = tl.zeros((LINES, TAPS), tl.float32)
    for first in range(tl.program_id(0) * LINES, lines, tl.num_programs(0) * LINES):
        own, of_taps, inside = _places_of(first, lines, tap, kernel, CHANNELS, LINES)
        value = tl.load(direction + own, mask=inside, other=0.0)
        other = value
        if PRODUCT:
            other = tl.load(gradient + of_taps, mask=inside, other=0.0)
        total += value * other
    tl.store(partial + tl.program_id(0) * kernel + tap, tl.sum(total, 0), mask=tap < kernel)


@triton.jit
def taps_kernel(direction, length, squares, taps, turned, kernel, padded, lead, TURNED: tl.constexpr,
                CHANNELS: tl.constexpr, SIDE: tl.constexpr, TAPS: tl.constexpr):
    """taps (groups, out, padded, in) = direction (groups, out, in, kernel) * length / norm (kernel,), from the tap
    `lead` on, with zeros around; turned (groups, in, padded, out): the same with the last tap first, where TURNED."""
    across, group = tl.cdiv(CHANNELS, SIDE), tl.program_id(2).to(tl.int64) * CHANNELS
    output = (tl.program_id(0) // across * SIDE + tl.arange(0, SIDE))[:, None, None]
    channel = (tl.program_id(0) % across * SIDE + tl.arange(0, SIDE))[None, :, None]
    tap = tl.program_id(1) * TAPS + tl.arange(0, TAPS)
    scale = tl.load(length + tap, mask=tap < kernel, other=0.0)
    scale *= tl.rsqrt(tl.load(squares + tap, mask=tap < kernel, other=1.0))
    tap, scale = tap[None, None, :], scale[None, None, :]
    here = (output < CHANNELS) & (channel < CHANNELS)
    weight = tl.load(direction + ((group + output) * CHANNELS + channel) * kernel + tap, mask=here & (tap < kernel),
                     other=0.0) * scale
    weight = weight.to(taps.dtype.element_ty)
    place = tl.where(tap + lead < padded, tap + lead, tap + lead - padded)  # zeros of taps past the last go around
    tl.store(taps + ((group + output) * padded + place) * CHANNELS + channel, weight, mask=here & (tap < padded))
    if TURNED:
        place = lead + kernel - 1 - tap
        place = tl.where(place >= 0, place, place + padded)
        tl.store(turned + ((group + channel) * padded + place) * CHANNELS + output, weight,
                 mask=here & (tap < padded))


@triton.jit
def weight_norm_gradient_kernel(direction, length, squares, products, gradient, ddirection, dlength, lines, kernel,
                                CHANNELS: tl.constexpr, LINES: tl.constexpr, TAPS: tl.constexpr):
    """From the gradient of taps those of direction and length; squares and products (kernel,), see `tap_sums_kernel`.
    """
    tap = tl.program_id(1) * TAPS + tl.arange(0, TAPS)
    known = tap < kernel
    inverse = tl.rsqrt(tl.load(squares + tap, mask=known, other=1.0))
    along = tl.load(products + tap, mask=known, other=0.0) * inverse
    scale = (tl.load(length + tap, mask=known, other=0.0) * inverse)[None, :]
    own, of_taps, inside = _places_of(tl.program_id(0) * LINES, lines, tap, kernel, CHANNELS, LINES)
    value = tl.load(direction + own, mask=inside, other=0.0)
    found = tl.load(gradient + of_taps, mask=inside, other=0.0)
    tl.store(ddirection + own, scale * (found - value * (along * inverse)[None, :]), mask=inside)
    if tl.program_id(0) == 0:
        tl.store(dlength + tap, along, mask=known)
