"""A Triton kernel for products of rows that may overlap, with bias and GELU on the way out."""

import triton
import triton.language as tl

from wedefense.gpu.extractor_kernels import gelu_into


@triton.jit(do_not_specialize=("rows",))
def product_kernel(x, weight, bias, out, rows, columns, inner, step, BIAS: tl.constexpr, GELU: tl.constexpr,
                   PRECISION: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
                   INNER: tl.constexpr, GROUP: tl.constexpr):
    """out (rows, columns) = x @ weight.T (+ bias) (through GELU); weight (columns, inner), row i of x at i * step."""
    down, across = tl.cdiv(rows, ROWS), tl.cdiv(columns, COLUMNS)
    program = tl.program_id(0)
    group = program // (GROUP * across)
    height = tl.minimum(down - group * GROUP, GROUP)
    i = group * GROUP + program % (GROUP * across) % height
    j = program % (GROUP * across) // height
    row, column, depth = i * ROWS + tl.arange(0, ROWS), j * COLUMNS + tl.arange(0, COLUMNS), tl.arange(0, INNER)
    safe_row = tl.where(row < rows, row, 0).to(tl.int64)
    safe_column = tl.where(column < columns, column, 0)
    a = x + safe_row[:, None] * step + depth[None, :]
    b = weight + safe_column[None, :] * inner + depth[:, None]
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for begin in range(0, inner, INNER):
        left = inner - begin
        total = tl.dot(tl.load(a, mask=depth[None, :] < left, other=0.0),
                       tl.load(b, mask=depth[:, None] < left, other=0.0), total, input_precision=PRECISION)
        a += INNER
        b += INNER
    if BIAS:
        total += tl.load(bias + safe_column)[None, :].to(tl.float32)
    if GELU:
        total = gelu_into(total, out.dtype.element_ty)
    tl.store(out + row[:, None].to(tl.int64) * columns + column[None, :], total.to(out.dtype.element_ty),
             mask=(row[:, None] < rows) & (column[None, :] < columns))
