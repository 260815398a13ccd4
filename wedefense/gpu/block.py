"""A transformer block as few kernels: products by cuBLAS, and everything between two products in one pass.

Equal to `wedefense.frontend.ssl.transformer.Block` without gates, which says what is computed. The residual stream
stays in float32 whatever the precision of the products.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from wedefense.gpu.attention import Gating, attend, attend_backward
from wedefense.gpu.passes import (
    copy_together,
    gates_backward,
    gelu,
    gelu_backward,
    residual_norm,
    residual_norm_backward,
    totals_of,
    weight_gradient,
)

# What a block begins with: its input, and that in the products' precision, normalised where blocks normalise first.
# The input is the layer before under another name, so that what comes back for either is summed where it is read.
Begun: TypeAlias = tuple[Tensor, Tensor]
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
    origin: Tensor                        # (heads,): which of all heads each is


NAMES = ("q.weight", "q.bias", "k.weight", "k.bias", "v.weight", "v.bias", "out.weight", "out.bias", "norm.weight",
         "norm.bias", "inner.weight", "inner.bias", "outer.weight", "outer.bias", "final.weight", "final.bias",
         "gate.weight", "gate.bias", "gate.const", "next.weight", "next.bias")


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
        copy_together(pairs)
        return cls(*found)


def _linear(x: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
    return torch.addmm(weights[1], x, weights[0].t())


class _Beginning(torch.autograd.Function):
    """x (rows, dim) float32 and a norm or None -> what a block begins with, see `fused_block`."""

    @staticmethod
    def forward(ctx, x: Tensor, gain: Tensor | None, shift: Tensor | None, epsilon: float, dtype: torch.dtype):
        ctx.set_materialize_grads(False)
        if gain is None:
            return x.view_as(x), x.to(dtype)
        _, normed, _, statistics = residual_norm(x, None, (gain, shift), epsilon, dtype)
        ctx.save_for_backward(gain, shift, x, statistics)
        return x.view_as(x), normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dx: Tensor | None, dnormed: Tensor | None):
        if dx is None or dnormed is None:
            return dx, None, None, None, None
        saved = ctx.saved_tensors  # once: with checkpointing they are there to be taken a single time
        if not saved:
            return dx + dnormed, None, None, None, None
        gain, shift, *kept = saved
        dx, _, partial = residual_norm_backward(kept, (gain, shift), dnormed, [dx.contiguous()], False, dnormed,
                                                adds=False)
        dgain, dshift, _ = totals_of(partial)[0]
        return dx, dgain, dshift, None, None


def run(shape: Shape, x: Tensor, h: Tensor, rows: Rows, p: dict[str, Tensor], products: Products, seed: Tensor | None,
        keep: bool) -> tuple[Tensor, Tensor | None, tuple]:
    """What the block begins with, see `fused_block` -> its output, what comes with it for the next block, and what the
    way back needs where `keep`."""
    dtype, (attention_drop, hidden_drop, unit_drop) = products.out[0].dtype, shape.dropouts

    def added(x: Tensor, y: Tensor, name: str, salt: int) -> tuple[Tensor, Tensor | None, tuple]:
        """x + y, in models that normalise last the norm of it; its norm in the products' precision; what is kept."""
        norm = None if p[f"{name}.weight"] is None else (p[f"{name}.weight"], p[f"{name}.bias"])
        total, normed, wide, statistics = residual_norm(
            x, y, norm, shape.epsilon, dtype, seed, hidden_drop, salt, keep or shape.norm_first,
            wide=not shape.norm_first)
        return total if shape.norm_first else wide, normed, (total, statistics)

    qkv = _linear(h, products.qkv).view(len(x), 3, shape.heads, shape.head_dim)
    gating = None
    if shape.relative:
        gating = Gating(h, (p["gate.weight"], p["gate.bias"]), p["gate.const"], shape.origin)
    attended, sums, gate = attend(qkv, gating, rows.table, rows.starts, seed, rows.frames, attention_drop)
    first, second = _norms(shape)
    x, h2, inner = added(x, _linear(attended.view(len(x), -1), products.out), first, AFTER_ATTENTION)
    units = _linear(h2, products.inner)
    active = gelu(units, seed, unit_drop, INSIDE)
    out, normed, last = added(x, _linear(active, products.outer), second, AFTER_FEED_FORWARD)
    kept = (h, qkv, gate, attended, sums, h2, units, active, *inner, *last)
    return out, normed, kept if keep else ()


def _norms(shape: Shape) -> tuple[str, str]:
    """Which norms follow the two sums: where blocks normalise first, the last is the first of the next block."""
    return ("final", "next") if shape.norm_first else ("norm", "final")


class _Block(torch.autograd.Function):
    """`run` with its way back; gradients of the products' weights go to the parameters they were made from."""

    @staticmethod
    def forward(ctx, shape: Shape, rows: Rows, products: Products, seed: Tensor | None, x: Tensor, h: Tensor,
                table: Tensor | None, *parameters: Tensor | None):
        out, normed, kept = run(shape, x, h, rows, dict(zip(NAMES, parameters)), products, seed, keep=True)
        ctx.shape, ctx.rows, ctx.products, ctx.seed = shape, rows, products, seed
        ctx.set_materialize_grads(False)
        ctx.count = len(kept)
        ctx.save_for_backward(*kept, *parameters)
        return out, out.detach(), normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dlayer: Tensor | None, dnext: Tensor | None, dnormed: Tensor | None):
        dout = [d.contiguous() for d in (dnext, dlayer) if d is not None]
        if not dout:
            return (None,) * (7 + len(NAMES))
        saved = ctx.saved_tensors
        p, needed = dict(zip(NAMES, saved[ctx.count:])), ctx.needs_input_grad
        way = _WayBack(ctx.shape, ctx.rows, ctx.products, ctx.seed, p, dict(zip(NAMES, needed[7:])))
        dx, dh, dtable = way.run(dout, dnormed, saved[:ctx.count], for_table=needed[6])
        grads = [way.gradients.get(name) if wanted else None for name, wanted in zip(NAMES, needed[7:])]
        return None, None, None, None, dx if needed[4] else None, dh if needed[5] else None, dtable, *grads


class _WayBack:
    """The gradients of one block; `gradients` are those of its parameters, by name."""

    def __init__(self, shape: Shape, rows: Rows, products: Products, seed: Tensor | None, p: dict[str, Tensor],
                 wanted: dict[str, bool]):
        self.shape, self.rows, self.products, self.seed, self.p, self.wanted = shape, rows, products, seed, p, wanted
        self.gradients: dict[str, Tensor] = {}
        self.partials: list[tuple[Tensor, list[str]]] = []  # what gives those of some parameters when it is summed

    def run(self, dout: list[Tensor], dnormed: Tensor | None, kept: tuple,
            for_table: bool) -> tuple[Tensor, Tensor, Tensor | None]:
        h, qkv, gate, attended, sums, h2, units, active, *of_sums = kept
        first, second = _norms(self.shape)
        last = None if self.shape.norm_first and dnormed is None else second
        dy, dx = self._before_sum(last, "outer", of_sums[2:], dnormed, dout, h2, AFTER_FEED_FORWARD)
        dh2 = self._feed_forward(dy, units, active, h2)
        dy, dx = self._before_sum(first, "out", of_sums[:2], dh2, [dx], h2, AFTER_ATTENTION)
        dh, dgate, of_table = self._attention(dy, qkv, gate, attended, sums, h, for_table)
        totals = totals_of(*(partial for partial, _ in self.partials), *of_table)
        for (_, names), total in zip(self.partials, totals):
            self.gradients |= dict(zip(names, total.flatten().chunk(len(names))))
        return dx, self._gate(h, dgate, dh), totals[-1] if of_table else None

    def _before_sum(self, name: str | None, product: str, kept: Sequence[Tensor], dnormed: Tensor | None,
                    dwide: list[Tensor], like: Tensor, salt: int) -> tuple[Tensor, Tensor]:
        """From the gradients of a norm and of what runs on beside it to those of what was added, and of the sum."""
        norm = None if name is None else (self.p[f"{name}.weight"], self.p[f"{name}.bias"])
        dx, dy, partial = residual_norm_backward(kept, norm, dnormed, dwide, not self.shape.norm_first, like, self.seed,
                                                 self.shape.dropouts[1], salt)
        self.partials.append((partial, [f"{name}.weight", f"{name}.bias", f"{product}.bias"]))
        return dy, dx

    def _feed_forward(self, dy: Tensor, units: Tensor, active: Tensor, h2: Tensor) -> Tensor:
        self._weight("outer", dy, active)
        dunits, partial = gelu_backward(units, dy @ self.products.outer[0], self.seed, self.shape.dropouts[2], INSIDE)
        self.partials.append((partial, ["inner.bias"]))
        self._weight("inner", dunits, h2)
        return dunits @ self.products.inner[0]

    def _attention(self, dy: Tensor, qkv: Tensor, gate: Tensor | None, attended: Tensor, sums: Tensor, h: Tensor,
                   for_table: bool) -> tuple[Tensor, Tensor, list[Tensor]]:
        """The gradients of the attention's input and of its gates; what `totals_of` sums to that of the table."""
        self._weight("out", dy, attended.view(len(dy), -1))
        gradient = (dy @ self.products.out[0]).view_as(attended)
        wanted = any(self.wanted[f"{name}.{kind}"] for name in "qkv" for kind in ("weight", "bias"))
        dqkv, dgate, dtable, partial = attend_backward(
            gradient, qkv, gate, self.rows.table, self.rows.starts, self.seed, attended, sums, self.rows.frames,
            self.shape.dropouts[0], for_table, for_sums=wanted)
        dqkv = dqkv.view(len(dy), -1)
        if wanted:
            self.partials.append((partial, ["q.bias", "k.bias", "v.bias"]))
            self.gradients |= dict(zip(("q.weight", "k.weight", "v.weight"), weight_gradient(dqkv, h).chunk(3)))
        return dqkv @ self.products.qkv[0], dgate, [dtable] if for_table else []

    def _gate(self, h: Tensor, dgate: Tensor, dh: Tensor) -> Tensor:
        """The gradient of the attention's input: by the product, and by the gates."""
        if not self.shape.relative:
            return dh
        linear, const = (self.p["gate.weight"], self.p["gate.bias"]), self.p["gate.const"]
        dx, weight, bias, dconst = gates_backward(h, self.shape.place, linear, const, dgate, dh)
        self.gradients |= {"gate.weight": weight, "gate.bias": bias, "gate.const": dconst}
        return dx

    def _weight(self, name: str, dy: Tensor, x: Tensor) -> None:
        if self.wanted[f"{name}.weight"]:
            self.gradients[f"{name}.weight"] = weight_gradient(dy, x)


def fused_block(parameters: dict[str, Tensor | None], shape: Shape, x: Tensor, begun: Begun | None, rows: Rows,
                products: Products, following: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Begun | None]:
    """(rows, dim) float32 -> the block's output, and what the next block begins with.

    Gradients go to `parameters`, whose products' weights `products` holds in its precision. Where blocks normalise
    first, `following` is the first norm of the next block; without it that block has to begin by itself.
    """
    if begun is None:
        norm = (parameters["norm.weight"], parameters["norm.bias"]) if shape.norm_first else (None, None)
        x = x.contiguous()  # one utterance after a convolution comes with its frames along the rows
        begun = _Beginning.apply(x, *norm, shape.epsilon, products.out[0].dtype)
    seed = torch.randint(2 ** 30, (1,), device=x.device) if any(shape.dropouts) else None
    parameters = dict(zip(NAMES, (*parameters.values(), *(following or (None, None)))))
    if torch.is_grad_enabled():
        out, again, normed = _Block.apply(shape, rows, products, seed, *begun, rows.table, *parameters.values())
    else:
        out, normed, _ = run(shape, begun[0], begun[1], rows, parameters, products, seed, keep=False)
        again = out
    return out, None if normed is None else (again, normed)


def parameters_of(block: nn.Module, adapted: bool = True) -> dict[str, Tensor | None]:
    """A block's parameters by the names of this file, in the order of `NAMES`; the next block's are not among them.

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
