"""Triton kernels of weighted sums of many layers: each layer is read once."""

import triton
import triton.language as tl


@triton.jit
def mix_kernel(layers, weights, out, count, LAYERS: tl.constexpr, MIXES: tl.constexpr, ROWS: tl.constexpr,
               BLOCK: tl.constexpr):
    """out (MIXES, count) = weights (MIXES, LAYERS) @ layers, a tuple of tensors of `count` values."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mix, inside = tl.arange(0, ROWS), place < count
    total = tl.zeros((ROWS, BLOCK), tl.float32)
    for n in tl.static_range(LAYERS):
        x = tl.load(layers[n] + place, mask=inside, other=0.0).to(tl.float32)
        w = tl.load(weights + mix * LAYERS + n, mask=mix < MIXES, other=0.0)
        total += w[:, None] * x[None, :]
    tl.store(out + mix[:, None].to(tl.int64) * count + place[None, :], total.to(out.dtype.element_ty),
             mask=(mix[:, None] < MIXES) & inside[None, :])


@triton.jit
def mix_gradient_kernel(layers, gradients, partial, count, LAYERS: tl.constexpr, MIXES: tl.constexpr,
                        BLOCK: tl.constexpr):
    """partial (programs, MIXES, LAYERS): sums of gradients[m] * layers[n] over BLOCK values.

    A program holds its values of two mixes, as back-ends have them in pairs, while layer after layer goes by.
    """
    program = tl.program_id(0).to(tl.int64)
    place = program * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    for m in tl.static_range(0, MIXES, 2):
        one = tl.load(gradients[m] + place, mask=inside, other=0.0).to(tl.float32)
        other = one
        if m + 1 < MIXES:
            other = tl.load(gradients[m + 1] + place, mask=inside, other=0.0).to(tl.float32)
        for n in tl.static_range(LAYERS):
            x = tl.load(layers[n] + place, mask=inside, other=0.0).to(tl.float32)
            tl.store(partial + (program * MIXES + m) * LAYERS + n, tl.sum(x * one))
            if m + 1 < MIXES:
                tl.store(partial + (program * MIXES + m + 1) * LAYERS + n, tl.sum(x * other))


@triton.jit
def unmix_kernel(gradients, weights, outs, count, LAYERS: tl.constexpr, MIXES: tl.constexpr, BLOCK: tl.constexpr):
    """outs[n] = sum over m of weights[m, n] * gradients[m]."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < count
    for n in tl.static_range(LAYERS):
        total = tl.zeros((BLOCK,), tl.float32)
        for m in tl.static_range(MIXES):
            x = tl.load(gradients[m] + place, mask=inside, other=0.0).to(tl.float32)
            total += x * tl.load(weights + m * LAYERS + n)
        tl.store(outs[n] + place, total.to(outs[n].dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=("rows",))
def centre_kernel(x, out, rows, dim, ROWS: tl.constexpr, DIM: tl.constexpr):
    """out (rows, dim): x less the mean of each row."""
    row, column = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, DIM)
    inside = (row[:, None] < rows) & (column[None, :] < dim)
    place = row[:, None].to(tl.int64) * dim + column[None, :]
    values = tl.load(x + place, mask=inside, other=0.0).to(tl.float32)
    values -= (tl.sum(values, 1) / dim)[:, None]
    tl.store(out + place, values.to(out.dtype.element_ty), mask=inside)
