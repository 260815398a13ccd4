"""Triton kernels of WavLM's gate: what multiplies the position bias of a query and a head, by what the query holds.

`gate = a * (b * const - 1) + 2`, where a and b are sigmoids of two sums of four outputs of one small linear layer.
`heads` are those of the input rows, `place[head]` says which of the kept heads one is (-1: cut away).
"""

import triton
import triton.language as tl


@triton.jit
def _sums_of_four(weight, bias, lane, DIM: tl.constexpr):
    """(DIM,) and () float32: the sum of four rows of the linear layer, the first four where lane is 0."""
    dims, four = tl.arange(0, DIM), tl.arange(0, 4) + 4 * lane
    w = tl.sum(tl.load(weight + four[:, None] * DIM + dims[None, :]).to(tl.float32), 0)
    return w, tl.sum(tl.load(bias + four).to(tl.float32), 0)


@triton.jit
def gates_of(values, weight, bias, const, DIM: tl.constexpr):
    """values (rows, DIM) float32 of one head, and its const -> (rows,) float32."""
    w, shift = _sums_of_four(weight, bias, 0, DIM)
    a = tl.sigmoid(tl.sum(values * w[None, :], 1) + shift)
    w, shift = _sums_of_four(weight, bias, 1, DIM)
    b = tl.sigmoid(tl.sum(values * w[None, :], 1) + shift)
    return a * (b * const - 1) + 2


@triton.jit(do_not_specialize=("rows",))
def gate_gradient_kernel(x, weight, bias, const, place, dgate, dh, dx, partial, rows, heads, kept, ROWS: tl.constexpr,
                         DIM: tl.constexpr):
    """dx (rows, heads, DIM) = dh + what the gates add; partial (heads, programs, 2 * DIM + 3): the two weights, their
    two biases, and the head's const."""
    program, head, dims = tl.program_id(0), tl.program_id(1), tl.arange(0, DIM)
    slot = tl.load(place + head)
    w0, shift0 = _sums_of_four(weight, bias, 0, DIM)
    w1, shift1 = _sums_of_four(weight, bias, 1, DIM)
    factor = tl.load(const + head).to(tl.float32)
    dw0 = tl.zeros((ROWS, DIM), tl.float32)
    dw1 = tl.zeros((ROWS, DIM), tl.float32)
    db0 = tl.zeros((ROWS,), tl.float32)
    db1 = tl.zeros((ROWS,), tl.float32)
    dconst = tl.zeros((ROWS,), tl.float32)
    for first in range(program * ROWS, rows, tl.num_programs(0) * ROWS):
        row = first + tl.arange(0, ROWS)
        there = row[:, None] < rows
        at = (row[:, None].to(tl.int64) * heads + head) * DIM + dims[None, :]
        d = tl.load(dh + at, mask=there, other=0.0).to(tl.float32)
        if slot >= 0:
            values = tl.load(x + at, mask=there, other=0.0).to(tl.float32)
            a = tl.sigmoid(tl.sum(values * w0[None, :], 1) + shift0)
            b = tl.sigmoid(tl.sum(values * w1[None, :], 1) + shift1)
            g = tl.load(dgate + row * kept + slot, mask=row < rows, other=0.0)
            da = g * (b * factor - 1) * a * (1 - a)
            db = g * a * factor * b * (1 - b)
            d += da[:, None] * w0[None, :] + db[:, None] * w1[None, :]
            dw0 += da[:, None] * values
            dw1 += db[:, None] * values
            db0 += da
            db1 += db
            dconst += g * a * b
        tl.store(dx + at, d.to(dx.dtype.element_ty), mask=there)
    line = partial + (head * tl.num_programs(0) + program) * (2 * DIM + 3)
    tl.store(line + dims, tl.sum(dw0, 0))
    tl.store(line + DIM + dims, tl.sum(dw1, 0))
    tl.store(line + 2 * DIM, tl.sum(db0, 0))
    tl.store(line + 2 * DIM + 1, tl.sum(db1, 0))
    tl.store(line + 2 * DIM + 2, tl.sum(dconst, 0))


@triton.jit
def _column(line, parts, width, ROWS: tl.constexpr, TILE: tl.constexpr):
    """(TILE,): sums of `parts` rows that lie `width` values apart, from `line` on."""
    total = tl.zeros((ROWS, TILE), tl.float32)
    for first in range(0, parts, ROWS):
        row = first + tl.arange(0, ROWS)
        place = line + row[:, None] * width + tl.arange(0, TILE)[None, :]
        total += tl.load(place, mask=row[:, None] < parts, other=0.0)
    return tl.sum(total, 0)


@triton.jit(do_not_specialize=("parts", "programs"))
def gate_total_kernel(partial, dlinear, dconst, parts, programs, DIM: tl.constexpr, TILE: tl.constexpr,
                      ROWS: tl.constexpr):
    """Sums of partial (parts = heads * programs, 2 * DIM + 3): dlinear (8 * DIM + 8), weights (8, DIM) then biases, of
    which four rows learn alike; dconst (heads,). Programs: for TILE of the weights, for either bias, for each head."""
    program, width, tiles = tl.program_id(0), 2 * DIM + 3, 2 * DIM // TILE
    four, columns = tl.arange(0, 4), tl.arange(0, TILE)
    if program < tiles:
        weights = _column(partial + program * TILE, parts, width, ROWS, TILE)
        first = program * TILE // DIM * 4
        tl.store(dlinear + (first + four[:, None]) * DIM + program * TILE % DIM + columns[None, :],
                 tl.broadcast_to(weights[None, :], (4, TILE)))
    elif program < tiles + 2:
        bias = _column(partial + 2 * DIM + program - tiles, parts, width, ROWS, 1)
        tl.store(dlinear + 8 * DIM + 4 * (program - tiles) + four, tl.broadcast_to(bias, (4,)))
    else:
        head = program - tiles - 2
        const = _column(partial + head * programs * width + 2 * DIM + 2, programs, width, ROWS, 1)
        tl.store(dconst + head + tl.arange(0, 1), const)
