"""Everything between two products in one pass each: residual sum, dropout, norm, GELU, gates; and the ways back."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from wedefense.gpu import cast_kernels, gate_kernels, norm_kernels

PROGRAMS = 264  # that share the rows where sums over rows are wanted: two for each multiprocessor of an H100


def residual_norm(x: Tensor, y: Tensor | None, norm: tuple[Tensor, Tensor] | None, epsilon: float, dtype: torch.dtype,
                  seed: Tensor | None = None, dropout: float = 0.0, salt: int = 0, keep: bool = True,
                  wide: bool = False, gelu: bool = False) -> tuple[Tensor | None, ...]:
    """total = x + dropout(y) and its layer norm in `dtype` (and in float32) -> total, normed, wide, means and scales.

    Without y the total is x; without `norm` there is but the total; what is not kept is None.
    """
    rows, dim = x.shape
    total = torch.empty_like(x) if y is not None and keep else None
    normed = x.new_empty(rows, dim, dtype=dtype) if norm else None
    also = x.new_empty(rows, dim, dtype=torch.float32) if wide else None
    statistics = x.new_empty(2, rows, dtype=torch.float32) if norm else None
    tile = _tile(dim)
    norm_kernels.residual_norm_kernel[(-(-rows // tile),)](
        x, _or(y, x), *(norm or (x, x)), _or(seed, x), _or(total, x), _or(normed, x), _or(also, x),
        _or(statistics, x), rows, dim, epsilon, dropout, salt, ADDS=y is not None, DROPS=dropout > 0,
        KEEPS=total is not None, NORMS=norm is not None, WIDE=wide, GELU=gelu, ROWS=tile, DIM=_power(dim), num_warps=4)
    return x if y is None else total, normed, also, statistics


def residual_norm_backward(kept: Sequence[Tensor], norm: tuple[Tensor, Tensor] | None, dnormed: Tensor | None,
                           dwide: Sequence[Tensor], of_norm: bool, like: Tensor, seed: Tensor | None = None,
                           dropout: float = 0.0, salt: int = 0, adds: bool = True, gelu: bool = False,
                           dx_dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor | None, Tensor]:
    """-> dx, dy in the type of `like` where y was added, and what `totals_of` sums to (3, dim): of the gain, the shift,
    y's sum over rows.

    `kept`: total, means and scales; `dwide`: gradients in float32, of the norm where `of_norm`, else of the total.
    """
    total, statistics = kept if norm else (like, like)
    rows, dim = like.shape
    keeps = norm is not None or len(dwide) > 1
    dx = like.new_empty(rows, dim, dtype=dx_dtype) if keeps else dwide[0]
    dy = torch.empty_like(like) if adds else None
    tile, most = (4, PROGRAMS) if _power(dim) >= 1024 else (2, 2 * PROGRAMS)
    programs = min(most, -(-rows // tile))
    partial = like.new_empty(programs, 3, dim, dtype=torch.float32)
    norm_kernels.residual_norm_gradient_kernel[(programs,)](
        total, *(norm or (like, like)), statistics, _or(dnormed, like), tuple(dwide) or (like,),
        _or(seed, like), dx, _or(dy, like), partial, rows, dim, dropout, salt, ADDS=adds, DROPS=dropout > 0,
        NORMS=norm is not None, NARROW=dnormed is not None, WIDE=len(dwide), OF_NORM=of_norm, KEEPS=keeps, GELU=gelu,
        ROWS=tile, DIM=_power(dim), num_warps=4)
    return dx, dy, partial


def gelu(x: Tensor, seed: Tensor | None = None, dropout: float = 0.0, salt: int = 0) -> Tensor:
    out = torch.empty_like(x)
    norm_kernels.gelu_kernel[(-(-x.numel() // 2048),)](x, _or(seed, x), out, x.numel(), dropout, salt,
                                                       DROPS=dropout > 0,
                                                       BLOCK=2048, num_warps=4)
    return out


def gelu_backward(x: Tensor, gradient: Tensor, seed: Tensor | None = None, dropout: float = 0.0,
                  salt: int = 0) -> tuple[Tensor, Tensor]:
    """-> dx (rows, dim), and what `totals_of` sums to its sum over rows (dim,) float32."""
    rows, dim = x.shape
    across = -(-dim // 512)
    down = min(max(2 * PROGRAMS // across, 1), -(-rows // 8))
    dx, partial = torch.empty_like(x), x.new_empty(down, dim, dtype=torch.float32)
    norm_kernels.gelu_gradient_kernel[(across, down)](
        x, _or(seed, x), gradient, dx, partial, rows, dim, dropout, salt, DROPS=dropout > 0, ROWS=8, DIM=512,
        num_warps=4)
    return dx, partial


def gates_backward(x: Tensor, place: Tensor, linear: tuple[Tensor, Tensor], const: Tensor, dgate: Tensor,
                   dh: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """-> dx = dh + what the gates add, and gradients of the linear layer's weight and bias, of const.

    `place` (all heads,): a head's among those kept, or -1.
    """
    heads, dim = len(place), x.shape[1] // len(place)
    programs = max(min(4 * PROGRAMS // heads, -(-len(x) // 32)), 1)
    dx, partial = torch.empty_like(dh), x.new_empty(heads, programs, 2 * dim + 3, dtype=torch.float32)
    gate_kernels.gate_gradient_kernel[(programs, heads)](
        x, *linear, const, place, dgate, dh, dx, partial, len(x), heads, dgate.shape[1], ROWS=32, DIM=dim, num_warps=4)
    dlinear = x.new_empty(8 * dim + 8, dtype=torch.float32)
    dconst = x.new_empty(const.shape, dtype=torch.float32)
    tile = min(dim, 16)
    gate_kernels.gate_total_kernel[(2 * dim // tile + 2 + heads,)](
        partial, dlinear, dconst, heads * programs, programs, DIM=dim, TILE=tile, ROWS=128, num_warps=4)
    return dx, dlinear[:8 * dim].view(8, dim), dlinear[8 * dim:], dconst


def weight_gradient(dy: Tensor, x: Tensor) -> Tensor:
    """dy (rows, out), x (rows, in) -> (out, in) float32."""
    if dy.is_cuda and dy.dtype != torch.float32:
        return torch.mm(dy.t(), x, out_dtype=torch.float32)
    return dy.t().float() @ x.float()


def total_of(x: Tensor) -> Tensor:
    """(groups, parts, ..) float32 -> (groups, values): the sum over parts."""
    x = x.flatten(2)
    groups, parts, dim = x.shape
    out = x.new_empty(groups, dim)
    norm_kernels.sum_kernel[-(-dim // 32), groups](x, out, parts, dim, ROWS=128, DIM=32, num_warps=4)
    return out


def totals_of(*partials: Tensor) -> list[Tensor]:
    """At most five of (parts, ..) float32 -> the sum over parts of each, by one launch for all."""
    dims, parts = tuple(x[0].numel() for x in partials), [*map(len, partials), 0, 0, 0, 0][:5]
    out = partials[0].new_empty(sum(dims))
    norm_kernels.sums_kernel[(sum(-(-dim // 32) for dim in dims),)](partials, out, dims, *parts, COUNT=len(dims),
                                                                    ROWS=32, DIM=32, num_warps=4)
    return [total.view(x.shape[1:]) for total, x in zip(out.split(dims), partials)]


def copy_together(pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Writes the second of each pair into the first, in its precision, by one launch for as many as can be."""
    if not pairs:
        return
    if len(pairs) > cast_kernels.MOST or not all(map(_can_be_cast, chain(*pairs))):
        for there, here in pairs:
            there.copy_(here)
        return
    outs, sources = zip(*pairs)
    sizes, block = [out.numel() for out in outs], cast_kernels.BLOCK
    cast_kernels.cast_kernel[(sum(-(-size // block) for size in sizes),)](
        sources, outs, *sizes, *[0] * (cast_kernels.MOST - len(sizes)), COUNT=len(sizes), BLOCK=block, num_warps=8)


def _can_be_cast(x: Tensor) -> bool:
    return x.dtype in (torch.float32, torch.bfloat16, torch.float16) and x.is_contiguous()


def _or(tensor: Tensor | None, other: Tensor) -> Tensor:
    """A kernel wants a pointer even where it reads nothing."""
    return other if tensor is None else tensor


def _power(dim: int) -> int:
    return max(1 << (dim - 1).bit_length(), 16)


def _tile(dim: int) -> int:
    """Rows of a program: about two thousand values."""
    return max(2048 // _power(dim), 1)
