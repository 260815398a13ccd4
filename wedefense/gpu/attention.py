"""Attention over packed utterances with WavLM's gated relative bias, an operator that autograd and compilers know."""

from dataclasses import dataclass

import torch
from torch import Tensor

from wedefense.gpu import MOST_PROGRAMS
from wedefense.gpu import attention_kernels as kernels
from wedefense.gpu.passes import totals_of

# Queries and keys of a program, its warps, and how many loads it runs ahead: the fastest on an H100 at 3 and at 20 s.
# Products of whole float32 numbers are no single instructions; larger tiles of them spill and compile for minutes. Of
# heads above 64 in float32 they hold more than most cards' shared memory.
TILES = {"forward": (64, 32, 4, 3), "key": (64, 64, 4, 1), "query": (4, 2)}  # of queries: as of keys
WIDE_TILES = {"forward": (16, 32, 8, 1), "key": (32, 32, 8, 1), "query": (8, 1)}
SHEET = 2 ** 29  # bytes of the scores' gradients that are kept at a time, at the least those of one head


@dataclass(frozen=True)
class Gating:
    """What gates are made of, where attention reads the queries that they belong to."""

    h: Tensor                      # (rows, all heads * head_dim)
    linear: tuple[Tensor, Tensor]  # weight (8, head_dim), bias
    const: Tensor                  # of all heads
    origin: Tensor                 # (heads,): which of all each is


def packed_attention(qkv: Tensor, gate: Tensor | None, table: Tensor | None, starts: Tensor, frames: int,
                     dropout: float = 0.0) -> Tensor:
    """qkv (rows, 3, heads, head_dim) -> (rows, heads, head_dim): each utterance's frames attend to one another.

    starts (batch + 1,) int32: the first row of every utterance, and the number of rows; `frames` of the longest.
    gate (rows, heads) and table (heads, 2 * frames - 1) add `gate[q, h] * table[h, k - q + frames - 1]` to the score
    of query q and key k; both or neither.
    """
    seed = torch.randint(2 ** 31 - 1, (1,), device=qkv.device) if dropout else None
    return _attend(qkv, gate, table, starts, seed, frames, dropout)[0]


def attend(qkv: Tensor, gate: Tensor | Gating | None, table: Tensor | None, starts: Tensor, seed: Tensor | None,
           frames: int, dropout: float) -> tuple[Tensor, Tensor, Tensor | None]:
    """-> attended (rows, heads, head_dim), log2 of the sum of exponentials (heads, rows), gate (rows, heads)."""
    rows, _, heads, dim = qkv.shape
    out, sums = qkv.new_empty(rows, heads, dim), qkv.new_empty(heads, rows, dtype=torch.float32)
    tile, source, total = _tile(qkv, "forward"), (qkv,) * 5, heads
    makes = isinstance(gate, Gating)
    if isinstance(gate, Gating):
        source, total = (gate.h, *gate.linear, gate.const, gate.origin), gate.const.numel()
        gate = qkv.new_empty(rows, heads, dtype=torch.float32)
    # left to itself the compiler takes 155 registers for some cards, and one program less fits
    least = {"maxnreg": 128} if qkv.element_size() == 2 and dim <= 64 else {}
    kernels.forward_kernel[-(-frames // tile["QUERIES"]), len(starts) - 1, heads](
        qkv, *_or_filler(qkv, gate, table), *source, starts, _filler(qkv, seed), out, sums,
        *_numbers(qkv, frames, dropout), total, HEADS=heads, **_width(dim), BIASED=table is not None, MAKES=makes,
        DROPS=dropout > 0, PRECISION=precision(), **tile, **least)
    return out, sums, gate


def attend_backward(gradient: Tensor, qkv: Tensor, gate: Tensor | None, table: Tensor | None, starts: Tensor,
                    seed: Tensor | None, out: Tensor, sums: Tensor, frames: int, dropout: float,
                    for_table: bool, for_sums: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """-> gradients of qkv and of gate (rows, heads); what `totals_of` sums to that of table, and to that of qkv summed
    over rows (3 * heads * head_dim,); all but the first empty where there is none or nobody asks."""
    (rows, _, heads, dim), batch, biased = qkv.shape, len(starts) - 1, table is not None
    tile, tile_of_queries = _tile(qkv, "key"), _tile(qkv, "query")
    size = tile["KEYS"]
    parts = -(-frames // size)

    def floats(wanted: bool, *shape: int) -> Tensor:
        return qkv.new_empty(shape if wanted else 0, dtype=torch.float32)

    dqkv, delta, dgate = torch.empty_like(qkv), torch.empty_like(sums), floats(biased, rows, heads)
    dtable = floats(biased and for_table, batch, heads, 2 * frames - 1)
    partial = floats(for_sums, batch * parts, 3 * heads * dim)
    scale, dropout, rows, width, middle = numbers = _numbers(qkv, frames, dropout)
    bias, of_heads = _or_filler(qkv, gate, table), dict(HEADS=heads, **_width(dim))
    fixed = dict(**of_heads, BIASED=biased, SUMS=for_sums, PRECISION=precision())
    kernels.delta_kernel[-(-rows // 64), heads](out, gradient, delta, rows, **of_heads, ROWS=64, num_warps=4)
    at_once = min(batch * heads, MOST_PROGRAMS, max(1, SHEET // (frames * parts * size * qkv.element_size())))
    sheet = qkv.new_empty(at_once, frames, parts * size)
    for first in range(0, batch * heads, at_once):
        grid = parts, min(at_once, batch * heads - first)
        kernels.key_gradient_kernel[grid](qkv, *bias, starts, _filler(qkv, seed), gradient, sums, delta, dqkv, sheet,
                                          partial, *numbers, first, DROPS=dropout > 0, **fixed, **tile)
        kernels.query_gradient_kernel[grid](qkv, bias[1], starts, sheet, dqkv, dgate, partial, scale, width, middle,
                                            first, SIZE=size, **fixed, **tile_of_queries)
        if len(dtable):
            kernels.table_gradient_kernel[-(-16 * -(-frames // 8) // 120), grid[1]](
                bias[0], starts, sheet, dtable, frames, parts, first, HEADS=heads, SIZE=size, COLUMNS=128, num_warps=4)
    return dqkv, dgate, dtable, partial


@torch.library.custom_op("wedefense::packed_attention", mutates_args=())
def _attend(qkv: Tensor, gate: Tensor | None, table: Tensor | None, starts: Tensor, seed: Tensor | None, frames: int,
            dropout: float) -> tuple[Tensor, Tensor]:
    return attend(qkv.contiguous(), gate, table, starts, seed, frames, dropout)[:2]


@_attend.register_fake
def _(qkv, gate, table, starts, seed, frames, dropout):
    rows, _, heads, dim = qkv.shape
    return qkv.new_empty(rows, heads, dim), qkv.new_empty(heads, rows, dtype=torch.float32)


@torch.library.custom_op("wedefense::packed_attention_backward", mutates_args=())
def _attend_backward(gradient: Tensor, qkv: Tensor, gate: Tensor | None, table: Tensor | None, starts: Tensor,
                     seed: Tensor | None, out: Tensor, sums: Tensor, frames: int, dropout: float,
                     for_table: bool) -> tuple[Tensor, Tensor, Tensor]:
    dqkv, dgate, dtable, _ = attend_backward(gradient.contiguous(), qkv.contiguous(), gate, table, starts, seed, out,
                                             sums, frames, dropout, for_table)
    return dqkv, dgate, totals_of(dtable)[0] if len(dtable) else dtable


@_attend_backward.register_fake
def _(gradient, qkv, gate, table, starts, seed, out, sums, frames, dropout, for_table):
    nothing = qkv.new_empty(0, dtype=torch.float32)
    return (torch.empty_like(qkv), nothing if gate is None else torch.empty_like(gate, dtype=torch.float32),
            nothing if table is None or not for_table else torch.empty_like(table, dtype=torch.float32))


def _keep(ctx, inputs, output) -> None:
    ctx.set_materialize_grads(False)  # nobody goes back through the sums
    *tensors, ctx.frames, ctx.dropout = inputs
    ctx.save_for_backward(*tensors, *output)


def _backward(ctx, gradient: Tensor, _):
    qkv, gate, table, starts, seed, out, sums = ctx.saved_tensors
    for_table = table is not None and ctx.needs_input_grad[2]
    dqkv, dgate, dtable = _attend_backward(gradient, qkv, gate, table, starts, seed, out, sums, ctx.frames,
                                           ctx.dropout, for_table)
    return (dqkv, None if gate is None else dgate.to(gate.dtype), dtable.to(table.dtype) if for_table else None, None,
            None, None, None)


_attend.register_autograd(_backward, setup_context=_keep)


def _width(dim: int) -> dict[str, int]:
    """Of heads: as wide as they are, and as many lanes as a kernel has for them."""
    return {"DIM": dim, "LANES": max(1 << (dim - 1).bit_length(), 16)}


def _tile(qkv: Tensor, kernel: str) -> dict[str, int]:
    wide = qkv.dtype == torch.float32 and (precision() == "ieee" or qkv.shape[3] > 64)
    tile = (WIDE_TILES if wide else TILES)[kernel]
    return dict(zip(("QUERIES", "KEYS", "num_warps", "num_stages")[-len(tile):], tile))


def precision() -> str:
    """How products of float32 run; lower precisions do not ask."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


def _filler(qkv: Tensor, tensor: Tensor | None) -> Tensor:
    """A kernel wants a pointer even where it reads nothing."""
    return qkv if tensor is None else tensor


def _or_filler(qkv: Tensor, gate: Tensor | None, table: Tensor | None) -> tuple[Tensor, Tensor]:
    return (qkv, qkv) if table is None or gate is None else (gate.contiguous(), table.float().contiguous())


def _numbers(qkv: Tensor, frames: int, dropout: float) -> tuple[float, float, int, int, int]:
    """Scale, dropout, rows, and the table's width and middle."""
    return qkv.shape[3] ** -0.5, dropout, len(qkv), 2 * frames - 1, frames - 1
