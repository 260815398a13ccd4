"""A transformer block as few kernels: products by cuBLAS, and everything between two products in one pass.

Equal to `wedefense.frontend.ssl.transformer.Block` without gates, which says what is computed. The residual stream
stays in float32 whatever the precision of the products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wedefense.gpu.attention import attend, attend_backward
from wedefense.gpu.passes import (
    gates,
    gates_backward,
    gelu,
    gelu_backward,
    residual_norm,
    residual_norm_backward,
    weight_gradient,
)

ATTENTION, AFTER_ATTENTION, INSIDE, AFTER_FEED_FORWARD = range(4)  # what is added to the seed of a block's dropouts


@dataclass(frozen=True)
class Rows:
    """Where the utterances lie among the rows, and the bias of their positions."""

    starts: Tensor         # (batch + 1,) int32
    frames: int            # of the longest utterance
    table: Tensor | None   # (heads, 2 * frames - 1) float32


@dataclass(frozen=True)
class Shape:
    """What a block is, but for its numbers."""

    heads: int
    head_dim: int
    norm_first: bool
    relative: bool
    epsilon: float
    dropouts: tuple[float, float, float]  # of attention, hidden values, the feed-forward's units; 0 in evaluation
    place: Tensor                         # (all heads,): a head's place among those kept, or -1


NAMES = ("q.weight", "q.bias", "k.weight", "k.bias", "v.weight", "v.bias", "out.weight", "out.bias", "norm.weight",
         "norm.bias", "inner.weight", "inner.bias", "outer.weight", "outer.bias", "final.weight", "final.bias",
         "gate.weight", "gate.bias", "gate.const")


@dataclass
class Products:
    """Weights and biases in the precision of the products: of queries, keys and values together, and of the others."""

    qkv: tuple[Tensor, Tensor]
    out: tuple[Tensor, Tensor]
    inner: tuple[Tensor, Tensor]
    outer: tuple[Tensor, Tensor]

    @classmethod
    @torch.no_grad()
    def of(cls, p: dict[str, Tensor], dtype: torch.dtype) -> "Products":
        pairs: list[tuple[Tensor, Tensor]] = []

        def whole(*names: str) -> Tensor:
            parts = [p[name].detach() for name in names]
            if len(parts) == 1 and parts[0].dtype == dtype:
                return parts[0]
            out = parts[0].new_empty(sum(map(len, parts)), *parts[0].shape[1:], dtype=dtype)
            pairs.extend(zip(out.split([len(part) for part in parts]), parts))
            return out

        sides = [["q", "k", "v"], ["out"], ["inner"], ["outer"]]
        found = [tuple(whole(*(f"{name}.{kind}" for name in side)) for kind in ("weight", "bias")) for side in sides]
        if pairs:
            torch._foreach_copy_(*map(list, zip(*pairs)))  # all at once
        return cls(*found)


def _linear(x: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
    return torch.addmm(weights[1], x, weights[0].t())


def run(shape: Shape, x: Tensor, copy: Tensor | None, rows: Rows, p: dict[str, Tensor], products: Products,
        seed: Tensor | None, keep: bool) -> tuple[Tensor, Tensor | None, tuple]:
    """x (rows, dim) float32, `copy` the same in the products' precision (norm-first blocks make their own).

    -> the block's output, its copy, and what the way back needs where `keep`.
    """
    dtype, (attention_drop, hidden_drop, unit_drop) = products.out[0].dtype, shape.dropouts
    first, final = (p["norm.weight"], p["norm.bias"]), (p["final.weight"], p["final.bias"])
    statistics: Sequence[Tensor | None] = (None, None)
    if shape.norm_first:
        _, h, _, *statistics = residual_norm(x, None, first, shape.epsilon, dtype)
    else:
        h = x.to(dtype) if copy is None else copy
    qkv = _linear(h, products.qkv).view(len(x), 3, shape.heads, shape.head_dim)
    gate = None
    if shape.relative:
        gate = gates(h, shape.heads, shape.place, (p["gate.weight"], p["gate.bias"]), p["gate.const"])
    attended, sums = attend(qkv, gate, rows.table, rows.starts, seed, rows.frames, attention_drop)
    y = _linear(attended.view(len(x), -1), products.out)
    inner_norm = final if shape.norm_first else first
    total, h2, wide, *inner_statistics = residual_norm(
        x, y, inner_norm, shape.epsilon, dtype, seed, hidden_drop, AFTER_ATTENTION, keep or shape.norm_first,
        wide=not shape.norm_first)
    units = _linear(h2, products.inner)
    active = gelu(units, seed, unit_drop, INSIDE)
    y = _linear(active, products.outer)
    outer: dict[str, Any] = dict(seed=seed, dropout=hidden_drop, salt=AFTER_FEED_FORWARD)
    if shape.norm_first:
        end, copy, last = None, None, [None, None]
        out = residual_norm(total, y, None, shape.epsilon, dtype, **outer)[0]
    else:
        end, copy, out, *last = residual_norm(wide, y, final, shape.epsilon, dtype, keep=keep, wide=True, **outer)
    kept = (x, h, *statistics, qkv, gate, attended, sums, total, h2, *inner_statistics, units, active, end, *last)
    return out, copy, kept if keep else ()


class _Block(torch.autograd.Function):
    """`run` with its way back; gradients of the products' weights go to the parameters they were made from."""

    @staticmethod
    def forward(ctx, shape: Shape, rows: Rows, products: Products, seed: Tensor | None, x: Tensor, copy: Tensor | None,
                table: Tensor | None, *parameters: Tensor | None):
        p = dict(zip(NAMES, parameters))
        out, copy, kept = run(shape, x, copy, rows, p, products, seed, keep=True)
        ctx.shape, ctx.rows, ctx.products, ctx.seed, ctx.dtype = shape, rows, products, seed, x.dtype
        ctx.set_materialize_grads(False)
        ctx.count = len(kept)
        ctx.save_for_backward(*kept, *parameters)
        if copy is not None:
            ctx.mark_non_differentiable(copy)
        return out, copy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dout: Tensor | None, _):
        if dout is None:
            return (None,) * (7 + len(NAMES))
        saved = ctx.saved_tensors
        p, needed = dict(zip(NAMES, saved[ctx.count:])), ctx.needs_input_grad
        way = _WayBack(ctx.shape, ctx.rows, ctx.products, ctx.seed, p, dict(zip(NAMES, needed[7:])))
        dx, dtable = way.run(dout.contiguous(), saved[:ctx.count], for_table=needed[6])
        grads = [way.gradients.get(name) if wanted else None for name, wanted in zip(NAMES, needed[7:])]
        return None, None, None, None, dx if needed[4] else None, None, dtable, *grads


class _WayBack:
    """The gradients of one block; `gradients` are those of its parameters, by name."""

    def __init__(self, shape: Shape, rows: Rows, products: Products, seed: Tensor | None, p: dict[str, Tensor],
                 wanted: dict[str, bool]):
        self.shape, self.rows, self.products, self.seed, self.p, self.wanted = shape, rows, products, seed, p, wanted
        self.gradients: dict[str, Tensor] = {}

    def run(self, dout: Tensor, kept: tuple, for_table: bool) -> tuple[Tensor, Tensor | None]:
        (x, h, mean, scale, qkv, gate, attended, sums, total, h2, inner_mean, inner_scale, units, active, end,
         last_mean, last_scale) = kept
        norm_first = self.shape.norm_first
        outer, inner = (None, "final") if norm_first else ("final", "norm")
        dy, dtotal = self._before_sum(outer, "outer", (end, last_mean, last_scale), None, dout, h2, AFTER_FEED_FORWARD)
        dh2 = self._feed_forward(dy, units, active, h2)
        dy, dtotal = self._before_sum(inner, "out", (total, inner_mean, inner_scale), dh2, dtotal, h2, AFTER_ATTENTION)
        dh, dgate, dtable = self._attention(dy, qkv, gate, attended, sums, h, for_table)
        if not norm_first:
            dx = self._gate(h, dgate, dh, dtotal, torch.float32)
        else:
            dh = self._gate(h, dgate, dh, None, dh.dtype)
            dx, _, sums = residual_norm_backward((x, mean, scale), self._norm("norm"), dh, None, dtotal, h, adds=False)
            self.gradients |= {"norm.weight": sums[0], "norm.bias": sums[1]}
        return dx, dtable

    def _norm(self, name: str | None) -> tuple[Tensor, Tensor] | None:
        return None if name is None else (self.p[f"{name}.weight"], self.p[f"{name}.bias"])

    def _before_sum(self, norm: str | None, product: str, kept: tuple, dnormed: Tensor | None, dtotal: Tensor,
                    like: Tensor, salt: int) -> tuple[Tensor, Tensor]:
        """From the gradients of a residual sum and its norm to those of what was added, and of the sum.

        A block that normalises after the sum hands on the norm's float32 form alone, so `dtotal` is its gradient.
        """
        wide, rest = (None, dtotal) if self.shape.norm_first else (dtotal, None)
        dx, dy, sums = residual_norm_backward(kept, self._norm(norm), dnormed, wide, rest, like, self.seed,
                                              self.shape.dropouts[1], salt)
        if norm:
            self.gradients |= {f"{norm}.weight": sums[0], f"{norm}.bias": sums[1]}
        self.gradients[f"{product}.bias"] = sums[2]
        return dy, dx

    def _feed_forward(self, dy: Tensor, units: Tensor, active: Tensor, h2: Tensor) -> Tensor:
        self._weight("outer", dy, active)
        dunits, self.gradients["inner.bias"] = gelu_backward(units, dy @ self.products.outer[0], self.seed,
                                                             self.shape.dropouts[2], INSIDE)
        self._weight("inner", dunits, h2)
        return dunits @ self.products.inner[0]

    def _attention(self, dy: Tensor, qkv: Tensor, gate: Tensor | None, attended: Tensor, sums: Tensor, h: Tensor,
                   for_table: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        self._weight("out", dy, attended.view(len(dy), -1))
        gradient = (dy @ self.products.out[0]).view_as(attended)
        wanted = any(self.wanted[f"{name}.{kind}"] for name in "qkv" for kind in ("weight", "bias"))
        dqkv, dgate, dtable, columns = attend_backward(
            gradient, qkv, gate, self.rows.table, self.rows.starts, self.seed, attended, sums, self.rows.frames,
            self.shape.dropouts[0], for_table, for_sums=wanted)
        dqkv = dqkv.view(len(dy), -1)
        if wanted:
            for name, weight, bias in zip("qkv", weight_gradient(dqkv, h).chunk(3), columns.chunk(3)):
                self.gradients |= {f"{name}.weight": weight, f"{name}.bias": bias}
        return dqkv @ self.products.qkv[0], dgate, dtable if for_table else None

    def _gate(self, h: Tensor, dgate: Tensor, dh: Tensor, residual: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The gradient of the attention's input: by the product, by the gates, and by the sum around it."""
        if not self.shape.relative:
            return dh if residual is None else residual + dh
        linear, const = (self.p["gate.weight"], self.p["gate.bias"]), self.p["gate.const"]
        dx, weight, bias, dconst = gates_backward(h, self.shape.place, linear, const, dgate, dh, residual, dtype)
        self.gradients |= {"gate.weight": weight, "gate.bias": bias, "gate.const": dconst}
        return dx

    def _weight(self, name: str, dy: Tensor, x: Tensor) -> None:
        if self.wanted[f"{name}.weight"]:
            self.gradients[f"{name}.weight"] = weight_gradient(dy, x)


def fused_block(parameters: dict[str, Tensor | None], shape: Shape, x: Tensor, copy: Tensor | None, rows: Rows,
                products: Products) -> tuple[Tensor, Tensor | None]:
    """(rows, dim) float32 -> the block's output, and its copy in the products' precision for the next block.

    Gradients go to `parameters`, whose products' weights `products` holds in its precision.
    """
    x = x.contiguous()  # one utterance after a convolution comes with its frames along the rows
    seed = torch.randint(2 ** 30, (1,), device=x.device) if any(shape.dropouts) else None
    if not torch.is_grad_enabled():
        return run(shape, x, copy, rows, parameters, products, seed, keep=False)[:2]
    return _Block.apply(shape, rows, products, seed, x, copy, rows.table, *parameters.values())


def parameters_of(block: nn.Module, adapted: bool = True) -> dict[str, Tensor | None]:
    """A block's parameters by the names of this file, in the order of `NAMES`.

    `adapted`: weights of products are as adapters make them, which takes as many launches as there are adapters.
    """
    attention, feed_forward = block.attention, block.feed_forward
    parts = {"q": attention.q_proj, "k": attention.k_proj, "v": attention.v_proj, "out": attention.out_proj,
             "norm": block.layer_norm, "inner": feed_forward.intermediate_dense, "outer": feed_forward.output_dense,
             "final": block.final_layer_norm}
    found = {f"{name}.{kind}": getattr(part, kind) for name, part in parts.items() for kind in ("weight", "bias")}
    if adapted:
        found |= {f"{name}.weight": parts[name].adapted() for name in ("q", "k", "v", "out", "inner", "outer")}
    relative = attention.relative
    linear = attention.gru_rel_pos_linear if relative else None
    return {**found, "gate.weight": None if linear is None else linear.weight,
            "gate.bias": None if linear is None else linear.bias,
            "gate.const": attention.gru_rel_pos_const if relative else None}
