"""Self-attention over frames, with WavLM's gated relative position bias."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.frontend.ssl.architecture import Architecture, BlockShape
from wedefense.frontend.ssl.packing import Span
from wedefense.frontend.ssl.products import Derived, Linear, drops, weights_of, wide_dtype, with_dropped
from wedefense.gpu import kernels_run_on
from wedefense.utils.devices import kept, numbers_on, send

LONGEST_KEPT = 1024  # frames: a table for more would hold too much memory for too few utterances
# Where no gradient is wanted and (batch, heads, queries, keys) has more than MOST_SCORES values, some queries attend
# at a time, so that memory grows with the length of a recording and not with its square: PART values on a CPU (they
# stay in its cache, and in memory that is not given back), as many as may be elsewhere; queries in multiples of
# STEP, which keeps the CPU kernel's bits.
MOST_SCORES, PART_ON_CPU, STEP = 2**28, 2**22, 64


def distance_buckets(frames: int, buckets: int, max_distance: int) -> Tensor:
    """The bucket of each distance key - query from -(frames-1) to frames-1: exact when near, logarithmic when far."""
    distance = torch.arange(1 - frames, frames)
    half = buckets // 2
    exact = half // 2
    far = torch.log(distance.abs().clamp(min=1).float() / exact) / math.log(max_distance / exact) * (half - exact)
    far = (exact + far).long().clamp(max=half - 1)
    near = distance.abs()
    return torch.where(near < exact, near, far) + half * (distance > 0)


@kept(maxsize=64)
def _buckets_on(frames: int, buckets: int, max_distance: int, device: torch.device) -> Tensor:
    """`distance_buckets` on a device."""
    with torch.inference_mode(False):  # what is kept must serve training too
        return send(distance_buckets(frames, buckets, max_distance).numpy(), device)


def gate_sublayer(y: Tensor, units: Tensor | None, sublayer_gate: Callable[[], Tensor] | None) -> Tensor:
    """A sublayer's output times its gate; without an open unit it adds nothing, its bias included, as when cut."""
    if units is not None:
        y = y * (units > 0).any()
    return y if sublayer_gate is None else y * sublayer_gate()


def queries_at_once(batch: int, heads: int, frames: int, device: torch.device) -> int:
    """How many queries attend at one go: all of them where gradients are wanted or the scores are few."""
    if torch.is_grad_enabled() or batch * heads * frames * frames <= MOST_SCORES:
        return frames
    part = PART_ON_CPU if device.type == "cpu" else MOST_SCORES
    return max(part // (batch * heads * frames) // STEP * STEP, STEP)


@dataclass
class BiasRows:
    """A position bias (heads, frames, frames) too large to exist: its rows are made when they are wanted."""

    table: Tensor  # (heads, 2 * frames - 1): the bias of each distance key - query, from -(frames - 1)

    def __getitem__(self, at: tuple[Tensor | slice, slice]) -> Tensor:
        """[heads, queries] -> (heads, queries, frames)."""
        heads, queries = at
        frames = (self.table.shape[1] + 1) // 2
        start, stop, _ = queries.indices(frames)
        # window r of the table starts at distance r - (frames - 1): that of query frames - 1 - r
        return self.table[heads, frames - stop:2 * frames - 1 - start].unfold(1, frames, 1).flip(1)


class PositionBias(nn.Embedding):
    """WavLM's learnt bias per bucket of distance and head, shared by all blocks."""

    def __init__(self, buckets: int, heads: int, max_distance: int):
        super().__init__(buckets, heads)
        nn.init.xavier_normal_(self.weight)
        self.max_distance = max_distance
        self.table = Derived()

    def forward(self, frames: int) -> Tensor | BiasRows:
        """-> (heads, frames, frames): what to add to the score of [query, key]."""
        if queries_at_once(1, self.embedding_dim, frames, self.weight.device) < frames:
            return BiasRows(self.by_distance(frames))
        if torch.is_grad_enabled() or frames > LONGEST_KEPT:
            return self._of(frames)
        room = min(2 ** math.ceil(math.log2(max(frames, 64))), LONGEST_KEPT)  # so that few lengths make a table anew
        if self.table.value is not None:
            room = max(room, self.table.value.shape[1])
        return self.table.get((self.weight,), room, lambda: self._of(room))[:, :frames, :frames]

    def _of(self, frames: int) -> Tensor:
        return BiasRows(self.by_distance(frames))[:, :]

    def by_distance(self, frames: int) -> Tensor:
        """(heads, 2 * frames - 1)"""
        buckets = _buckets_on(frames, self.num_embeddings, self.max_distance, self.weight.device)
        table = F.embedding(buckets, self.weight)  # (2 * frames - 1, heads)
        return table.t().to(wide_dtype(table.dtype)).contiguous()


def packed_attention(qkv: Tensor, scale: Tensor | None, table: Tensor | None, starts: Tensor, frames: int,
                     dropout: float) -> Tensor:
    """See `wedefense.gpu.attention`, which is imported where it runs alone."""
    from wedefense.gpu.attention import packed_attention

    return packed_attention(qkv, None if scale is None else scale.float(), table, starts, frames, dropout)


def attends_packed(head_dim: int, device: torch.device) -> bool:
    """Whether the kernels for rows serve heads of this width on this device."""
    return head_dim <= 128 and head_dim % 8 == 0 and kernels_run_on(device)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Attention with a mask that adds to the scores.

    On a CPU the kernel takes a mask finer than bfloat16, at no cost and with a third of the error.
    """
    with torch.autocast(q.device.type, enabled=False):
        if mask is not None and (q.device.type != "cpu" or torch.is_grad_enabled()):
            mask = mask.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


class Attention(nn.Module):
    """Multi-head self-attention of the heads that a block has.

    `gate` multiplies the heads' outputs (a value per head) before the output projection, `sublayer_gate` the whole
    output. A first block without heads keeps the position bias that the other blocks use.
    """

    def __init__(self, architecture: Architecture, shape: BlockShape, first: bool):
        super().__init__()
        dim, inner = architecture.dim, len(shape.heads) * architecture.head_dim
        self.heads, self.total_heads = len(shape.heads), architecture.total_heads
        self.head_dim, self.dropout = architecture.head_dim, architecture.attention_dropout
        self.kept = None if self.heads == self.total_heads else tuple(shape.heads)
        self.relative = architecture.rel_buckets > 0
        if self.heads:
            self.q_proj, self.k_proj, self.v_proj = (Linear(dim, inner) for _ in range(3))
            self.out_proj = Linear(inner, dim)
            self.joined = Derived()
            if self.relative:
                self.gru_rel_pos_linear = nn.Linear(self.head_dim, 8)
                self.gru_rel_pos_const = nn.Parameter(torch.ones(1, self.total_heads, 1, 1))
        if self.relative and first:
            self.rel_attn_embed = PositionBias(architecture.rel_buckets, self.total_heads,
                                               architecture.rel_max_distance)
        self.gate = None
        self.sublayer_gate = None

    def forward(self, x: Tensor, spans: list[Span]) -> Tensor:
        """x (rows, dim) -> (rows, dim)."""
        sizes = [span.rows for span in spans]
        qkv = self._projected(x).split(sizes)
        scales = self._bias_scales(x).split(sizes) if self.relative else [None] * len(spans)
        y = [self._attended(*parts) for parts in zip(spans, qkv, scales, strict=True)]
        y = y[0] if len(y) == 1 else torch.cat(y)  # (rows, heads, head_dim)
        heads = None if self.gate is None else self.gate()
        if heads is not None:
            y = y * heads[:, None]
        return gate_sublayer(self.out_proj(y.flatten(1)), heads, self.sublayer_gate)  # (rows, dim)

    def _attended(self, span: Span, qkv: Tensor, scale: Tensor | None) -> Tensor:
        """qkv (rows, 3 * heads * head_dim), scale (rows, heads) -> (rows, heads, head_dim)."""
        dropout = self.dropout if self.training else 0.0
        if span.packed:
            return packed_attention(qkv.unflatten(-1, (3, self.heads, self.head_dim)), scale, self.own_rows(span.table),
                                    span.packing.starts, span.packing.frames, dropout)
        qkv = span.packing.pad(qkv).unflatten(-1, (3, self.heads, self.head_dim))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (batch, heads, frames, head_dim)
        if scale is None:  # the kernels hold no scores
            y = attend(q, k, v, span.mask, dropout)
        else:
            y = self._attended_by_distance(span, q, k, v, span.packing.pad(scale).transpose(1, 2)[..., None])
        return span.packing.pack(y.transpose(1, 2))

    def own_rows(self, of_all_heads: Tensor | None) -> Tensor | None:
        """(all heads, ..) -> (heads, ..)"""
        if of_all_heads is None or self.kept is None:
            return of_all_heads
        return of_all_heads.index_select(0, numbers_on(self.kept, of_all_heads.device))

    def _attended_by_distance(self, span: Span, q: Tensor, k: Tensor, v: Tensor, scale: Tensor) -> Tensor:
        """With the position bias times `scale` (batch, heads, frames, 1), some queries at a time if there are many."""
        frames, dropout = span.packing.frames, self.dropout if self.training else 0.0
        size = queries_at_once(len(q), self.heads, frames, q.device)
        if size >= frames:
            return attend(q, k, v, self._bias(span, scale, slice(0, frames)), dropout)
        y = torch.empty_like(q.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
        for start in range(0, frames, size):
            part = slice(start, start + size)
            y[:, :, part] = attend(q[:, :, part], k, v, self._bias(span, scale[:, :, part], part), dropout)
        return y

    def _projected(self, x: Tensor) -> Tensor:
        """Queries, keys and values by one product: (rows, dim) -> (rows, 3 * heads * head_dim)."""
        parts = self.q_proj, self.k_proj, self.v_proj

        def joined() -> tuple[Tensor, Tensor]:
            return torch.cat([part.adapted() for part in parts]), torch.cat([part.bias for part in parts])

        y = weights_of(self.joined, tuple(source for part in parts for source in part.sources), joined)(x)
        return with_dropped(parts, x, y) if drops(parts) else y

    def _bias_scales(self, x: Tensor) -> Tensor:
        """What multiplies the position bias of a query and a head: (rows, dim) of the queries -> (rows, heads)."""
        x = x.unflatten(-1, (self.total_heads, self.head_dim))  # (rows, all heads, head_dim)
        const = self.gru_rel_pos_const.flatten()
        if self.kept is not None:
            kept = numbers_on(self.kept, x.device)
            x, const = x.index_select(1, kept), const.index_select(0, kept)
        # the eight outputs are summed by fours: summing the weights gives the same with a quarter of the work
        weight = self.gru_rel_pos_linear.weight.unflatten(0, (2, 4)).sum(1)
        bias = self.gru_rel_pos_linear.bias.unflatten(0, (2, 4)).sum(1)
        a, b = torch.sigmoid(F.linear(x, weight, bias)).unbind(-1)  # (rows, heads)
        return a * (b * const - 1) + 2

    def _bias(self, span: Span, scale: Tensor, queries: slice) -> Tensor:
        """(batch, heads, queries, frames): the position bias times `scale`, and the mask if there is one."""
        heads = slice(None) if self.kept is None else numbers_on(self.kept, scale.device)
        bias = span.position_bias[heads, queries]
        scale = scale.to(bias.dtype)
        return scale * bias if span.mask is None else torch.addcmul(span.mask, scale, bias)
