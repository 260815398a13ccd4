"""Triton kernels of what stands between two products: residual sum, dropout, layer norm, GELU; and their gradients.

A row is a frame. Kernels that give gradients of parameters write a partial sum per program, so that no two programs
write to one place and results do not depend on their order.
"""

import triton
import triton.language as tl

from wedefense.gpu.extractor_kernels import gelu, gelu_slope


@triton.jit
def _dropped(y, seed, place, dropout):
    """y with a share of its values gone and the others larger; numbers of 32 bits are drawn in half the time."""
    return tl.where(tl.rand(seed, place.to(tl.int32), 7) >= dropout, y * (1 / (1 - dropout)), 0.0)


@triton.jit(do_not_specialize=("rows", "salt"))
def residual_norm_kernel(x, y, gain, shift, seed, total, normed, wide, statistics, rows, dim, epsilon, dropout, salt,
                         ADDS: tl.constexpr, DROPS: tl.constexpr, KEEPS: tl.constexpr, NORMS: tl.constexpr,
                         WIDE: tl.constexpr, GELU: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr):
    """total = x + dropout(y), normed = norm(total) (through GELU), wide: the same in float32, all (rows, dim).

    statistics (2, rows) float32: each row's mean, and what its norm multiplies it with.
    """
    row, column = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, DIM)
    inside = (row[:, None] < rows) & (column[None, :] < dim)
    place = row[:, None].to(tl.int64) * dim + column[None, :]
    z = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    if ADDS:
        more = tl.load(y + place, mask=inside, other=0.0).to(tl.float32)
        if DROPS:
            more = _dropped(more, tl.load(seed) + salt, place, dropout)
        z += more
    if KEEPS:
        tl.store(total + place, z.to(total.dtype.element_ty), mask=inside)
    if NORMS:
        middle = tl.sum(z, 1) / dim
        centred = tl.where(inside, z - middle[:, None], 0.0)
        narrow = tl.rsqrt(tl.sum(centred * centred, 1) / dim + epsilon)
        tl.store(statistics + row, middle, mask=row < rows)
        tl.store(statistics + rows + row, narrow, mask=row < rows)
        z = centred * narrow[:, None] * tl.load(gain + column, mask=column < dim, other=0.0)[None, :]
        z += tl.load(shift + column, mask=column < dim, other=0.0)[None, :]
        if GELU:
            z = gelu(z)
        tl.store(normed + place, z.to(normed.dtype.element_ty), mask=inside)
        if WIDE:
            tl.store(wide + place, z, mask=inside)


@triton.jit(do_not_specialize=("rows", "salt"))
def residual_norm_gradient_kernel(total, gain, shift, statistics, dnormed, dwide, seed, dx, dy, partial, rows, dim,
                                  dropout, salt, ADDS: tl.constexpr, DROPS: tl.constexpr, NORMS: tl.constexpr,
                                  NARROW: tl.constexpr, WIDE: tl.constexpr, OF_NORM: tl.constexpr, KEEPS: tl.constexpr,
                                  GELU: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr):
    """dx (float32 where ADDS) and dy, (rows, dim); partial (programs, 3, dim): of gain, shift and the sum of dy.

    dnormed is the gradient of the norm in the products' precision; dwide are WIDE gradients in float32, of the norm
    where OF_NORM, else of the sum itself.
    """
    column = tl.arange(0, DIM)
    known = column < dim
    gains = tl.zeros((DIM,), tl.float32)
    shifts = tl.zeros((DIM,), tl.float32)
    if NORMS:
        gains = tl.load(gain + column, mask=known, other=0.0)
        if GELU:
            shifts = tl.load(shift + column, mask=known, other=0.0)
    dgain = tl.zeros((ROWS, DIM), tl.float32)
    dshift = tl.zeros((ROWS, DIM), tl.float32)
    dbias = tl.zeros((ROWS, DIM), tl.float32)
    drawn = tl.load(seed) + salt if DROPS else 0
    for first in range(tl.program_id(0) * ROWS, rows, tl.num_programs(0) * ROWS):
        row = first + tl.arange(0, ROWS)
        inside = (row[:, None] < rows) & known[None, :]
        place = row[:, None].to(tl.int64) * dim + column[None, :]
        d = tl.zeros((ROWS, DIM), tl.float32)
        if NORMS:
            g = tl.zeros((ROWS, DIM), tl.float32)
            if NARROW:
                g += tl.load(dnormed + place, mask=inside, other=0.0).to(tl.float32)
            if OF_NORM:
                for n in tl.static_range(WIDE):
                    g += tl.load(dwide[n] + place, mask=inside, other=0.0)
            middle = tl.load(statistics + row, mask=row < rows, other=0.0)
            narrow = tl.load(statistics + rows + row, mask=row < rows, other=0.0)
            z = (tl.load(total + place, mask=inside, other=0.0).to(tl.float32) - middle[:, None]) * narrow[:, None]
            z = tl.where(inside, z, 0.0)
            if GELU:
                g = g * gelu_slope(z * gains[None, :] + shifts[None, :], dx.dtype.element_ty)
            dgain += g * z
            dshift += g
            g = g * gains[None, :]
            d = (g - tl.sum(g, 1)[:, None] / dim - z * (tl.sum(g * z, 1) / dim)[:, None]) * narrow[:, None]
        if not OF_NORM:
            for n in tl.static_range(WIDE):
                d += tl.load(dwide[n] + place, mask=inside, other=0.0)
        if KEEPS:  # else it is dwide
            tl.store(dx + place, d.to(dx.dtype.element_ty), mask=inside)
        if ADDS:
            if DROPS:
                d = _dropped(d, drawn, place, dropout)
            d = tl.where(inside, d, 0.0)
            tl.store(dy + place, d.to(dy.dtype.element_ty), mask=inside)
            dbias += d
        else:
            dbias += tl.where(inside, d, 0.0)
    line = partial + tl.program_id(0).to(tl.int64) * 3 * dim + column
    tl.store(line, tl.sum(dgain, 0), mask=known)
    tl.store(line + dim, tl.sum(dshift, 0), mask=known)
    tl.store(line + 2 * dim, tl.sum(dbias, 0), mask=known)


@triton.jit(do_not_specialize=("salt",))
def gelu_kernel(x, seed, out, count, dropout, salt, DROPS: tl.constexpr, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    y = gelu(tl.load(x + place, mask=place < count, other=0.0).to(tl.float32))
    if DROPS:
        y = _dropped(y, tl.load(seed) + salt, place, dropout)
    tl.store(out + place, y.to(out.dtype.element_ty), mask=place < count)


@triton.jit(do_not_specialize=("rows", "salt"))
def gelu_gradient_kernel(x, seed, gradient, dx, partial, rows, dim, dropout, salt, DROPS: tl.constexpr,
                         ROWS: tl.constexpr, DIM: tl.constexpr):
    """dx (rows, dim), and partial (programs down, dim): its sums over rows."""
    column = tl.program_id(0) * DIM + tl.arange(0, DIM)
    drawn = tl.load(seed) + salt if DROPS else 0
    total = tl.zeros((ROWS, DIM), tl.float32)
    for first in range(tl.program_id(1) * ROWS, rows, tl.num_programs(1) * ROWS):
        row = first + tl.arange(0, ROWS)
        inside = (row[:, None] < rows) & (column[None, :] < dim)
        place = row[:, None].to(tl.int64) * dim + column[None, :]
        d = tl.load(gradient + place, mask=inside, other=0.0).to(tl.float32)
        if DROPS:
            d = _dropped(d, drawn, place, dropout)
        d *= gelu_slope(tl.load(x + place, mask=inside, other=0.0).to(tl.float32), dx.dtype.element_ty)
        tl.store(dx + place, d.to(dx.dtype.element_ty), mask=inside)
        total += d
    tl.store(partial + tl.program_id(1) * dim + column, tl.sum(total, 0), mask=column < dim)


@triton.jit
def _summed(line, parts, dim, inside, ROWS: tl.constexpr, DIM: tl.constexpr):
    """(DIM,): sums over rows that lie `dim` values apart, from `line` (DIM,) on, in one order whatever ran first."""
    total = tl.zeros((ROWS, DIM), tl.float32)
    for first in range(0, parts, ROWS):
        row = first + tl.arange(0, ROWS)
        total += tl.load(line[None, :] + row[:, None] * dim, mask=(row[:, None] < parts) & inside[None, :], other=0.0)
    return tl.sum(total, 0)


@triton.jit(do_not_specialize=("parts",))
def sum_kernel(x, out, parts, dim, ROWS: tl.constexpr, DIM: tl.constexpr):
    """x (groups, parts, dim) float32 -> out (groups, dim): the sum over parts."""
    group, column = tl.program_id(1).to(tl.int64), tl.program_id(0) * DIM + tl.arange(0, DIM)
    total = _summed(x + group * parts * dim + column, parts, dim, column < dim, ROWS, DIM)
    tl.store(out + group * dim + column, total, mask=column < dim)


@triton.jit(do_not_specialize=("parts0", "parts1", "parts2", "parts3", "parts4"))
def sums_kernel(xs, out, dims, parts0, parts1, parts2, parts3, parts4, COUNT: tl.constexpr, ROWS: tl.constexpr,
                DIM: tl.constexpr):
    """COUNT tensors xs[n] (parts[n], dims[n]) float32 -> out: their sums over parts, one after the other."""
    parts, before = (parts0, parts1, parts2, parts3, parts4), 0  # numbers in a tuple would tell programs apart
    for n in tl.static_range(COUNT):
        column = (tl.program_id(0) - before) * DIM + tl.arange(0, DIM)
        if (tl.program_id(0) >= before) & (tl.program_id(0) < before + tl.cdiv(dims[n], DIM)):
            total = _summed(xs[n] + column, parts[n], dims[n], column < dims[n], ROWS, DIM)
            tl.store(out + column, total, mask=column < dims[n])
        before += tl.cdiv(dims[n], DIM)
        out += dims[n]
