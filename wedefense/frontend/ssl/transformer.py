"""What follows the convolutions: the projection of their channels, and the transformer."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wedefense.frontend.features import frame_mask
from wedefense.frontend.ssl.architecture import Architecture, BlockShape
from wedefense.frontend.ssl.attention import Attention, attends_packed, gate_sublayer
from wedefense.frontend.ssl.dropping import hand_on
from wedefense.frontend.ssl.extractor import open_layer_norm
from wedefense.frontend.ssl.fusing import fused, fused_positions, fuses, positions_fused
from wedefense.frontend.ssl.packing import Packing, Span, spans_of_blocks
from wedefense.frontend.ssl.positional import positional_conv
from wedefense.frontend.ssl.products import Derived, Linear, wide_dtype
from wedefense.gpu.sections import is_recorded, next_section


class FeatureProjection(nn.Module):
    """Layer norm and a product from the extractor's channels to the transformer's dimension."""

    def __init__(self, channels: int, dim: int, dropout: float):
        super().__init__()
        self.layer_norm = nn.LayerNorm(channels)
        self.projection = Linear(channels, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, gate: Tensor | None) -> Tensor:
        """`gate`: that of the channels, which decides over which of them the norm runs."""
        return self.dropout(self.projection(open_layer_norm(x, self.layer_norm, gate)))


class FeedForward(nn.Module):
    """Two products with GELU between; `gate` multiplies the hidden units, `sublayer_gate` the output."""

    def __init__(self, dim: int, hidden: int, dropout: float):
        super().__init__()
        self.intermediate_dense = Linear(dim, hidden)
        self.output_dense = Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)
        self.gate = None
        self.sublayer_gate = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.intermediate_dense(x, gelu=True))
        units = None if self.gate is None else self.gate()
        if units is not None:
            x = x * units
        return gate_sublayer(self.output_dense(x), units, self.sublayer_gate)


class Block(nn.Module):
    """Attention and feed-forward, each added to its input; a pruned block may lack either."""

    def __init__(self, architecture: Architecture, shape: BlockShape, first: bool):
        super().__init__()
        self.has_attention = bool(shape.heads)
        if shape.heads or (first and architecture.rel_buckets):
            self.attention = Attention(architecture, shape, first)
        self.layer_norm = nn.LayerNorm(architecture.dim)
        self.feed_forward = None
        if shape.ff_dim:
            self.feed_forward = FeedForward(architecture.dim, shape.ff_dim, architecture.activation_dropout)
        self.final_layer_norm = nn.LayerNorm(architecture.dim)
        self.dropout = nn.Dropout(architecture.hidden_dropout)
        self.norm_first = architecture.norm_first
        self.products = Derived()
        self.bottlenecks = None  # of adapters: one after each sum

    def linears(self) -> dict[str, Linear]:
        """The products that there are, by name."""
        found: dict[str, Linear] = {}
        if self.has_attention:
            attention = self.attention
            found |= {name: getattr(attention, name) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
        if (feed_forward := self.feed_forward) is not None:
            found |= {name: getattr(feed_forward, name) for name in ("intermediate_dense", "output_dense")}
        return found

    def forward(self, x: Tensor, spans: list[Span], dropped: bool = False) -> Tensor:
        """(rows, dim) -> (rows, dim); `dropped`: hands on its input, see `Transformer.calls_dropped`."""
        if dropped:
            return hand_on(x, self)
        if fuses(self, x, spans[0]):
            return fused(self, x, None, spans[0])[0]
        after_attention, after_feed_forward = self.bottlenecks or (_as_it_is, _as_it_is)
        if self.norm_first:
            if self.has_attention:
                x = after_attention(x + self.dropout(self.attention(self.layer_norm(x), spans)))
            if self.feed_forward is not None:
                x = after_feed_forward(x + self.dropout(self.feed_forward(self.final_layer_norm(x))))
            return x
        if self.has_attention:
            x = after_attention(x + self.dropout(self.attention(x, spans)))
        x = self.layer_norm(x)  # a block without a sublayer still has its norm
        if self.feed_forward is not None:
            x = after_feed_forward(x + self.dropout(self.feed_forward(x)))
        return self.final_layer_norm(x)


def _as_it_is(x: Tensor) -> Tensor:
    return x


def run_block(block: Block, following: Block | None, x: Tensor, begun: tuple[Tensor, Tensor] | None, spans: list[Span],
              checkpointing: bool, calls: bool = False) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
    """(rows, dim) -> (rows, dim), and what the next block begins with where this one made it, see `fusing.fused`.

    With checkpointing, activations are computed again on the way back; `calls`: by a call, which hooks see.
    """
    if checkpointing and torch.is_grad_enabled():
        return checkpoint(block, x, spans, use_reentrant=False), None
    if calls or not fuses(block, x, spans[0]):
        return block(x, spans), None
    return fused(block, x, begun, spans[0], following)


class Transformer(nn.Module):
    """The positional convolution and the blocks; hands out the input of the first block and every block's output."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.pos_conv_embed = positional_conv(architecture)
        self.layer_norm = nn.LayerNorm(architecture.dim)
        self.layers = nn.ModuleList(
            Block(architecture, shape, first=number == 0) for number, shape in enumerate(architecture.blocks))
        self.dropout = nn.Dropout(architecture.hidden_dropout)
        self.norm_first, self.final_norm = architecture.norm_first, architecture.final_norm
        self.relative, self.head_dim = architecture.rel_buckets > 0, architecture.head_dim
        self.layer_drop = architecture.layer_drop
        self.depth = len(self.layers)  # how many blocks run: those of the layers that are wanted
        self.calls_dropped = False     # set where parameters are shared among ranks, which must all call each block
        self.blocks_recorded_at_once = 0  # see `wedefense.gpu.sections`; 0: all
        self.gradient_checkpointing = False

    def forward(self, x: Tensor, packing: Packing) -> list[Tensor]:
        """(rows, dim) -> z_0 .. z_depth, each (rows, dim), in the parameters' precision.

        Under autocast too: what the blocks add to is never rounded to what they compute in.
        """
        x = x.to(self.layer_norm.weight.dtype)
        x = self._with_positions(x, packing)
        if not self.norm_first:
            x = self.layer_norm(x)
        x = self.dropout(x)
        spans = packing.spans(wide_dtype(x.dtype), self.layers[0].attention.rel_attn_embed if self.relative else None,
                              attends_packed(self.head_dim, x.device))
        outputs, begun, blocks = [x], None, list(self.layers)[:self.depth]
        owns = spans_of_blocks(spans, len(blocks))
        for number, (block, following, own) in enumerate(zip(blocks, [*blocks[1:], None], owns)):
            if self.blocks_at_once and number % self.blocks_at_once == 0:
                x, begun = next_section(len(outputs), x, begun, may_be_left_out=self._drops)
            if not self.dropped():
                x, begun = run_block(block, None if self._drops else following, x, begun, own,
                                     self.gradient_checkpointing, self.calls_dropped)
            elif self.calls_dropped:
                x = block(x, own, dropped=True)
            outputs.append(x)
        if self.norm_first and self.final_norm and self.depth == len(self.layers):
            if self._drops:
                x, begun = next_section(len(outputs) - 1, x, begun, may_be_left_out=False)
            outputs[-1] = self.layer_norm(x)
        return outputs

    def _with_positions(self, x: Tensor, packing: Packing) -> Tensor:
        """(rows, dim) -> the same shape: with what the positional convolution adds."""
        if positions_fused(self.pos_conv_embed, x):
            return fused_positions(self.pos_conv_embed, x, packing)
        padded = packing.pad(x)  # (batch, frames, dim), zeros on padding
        present = None if packing.index is None else frame_mask(packing.lengths, packing.frames)[:, :, None]
        return x + packing.pack(self.pos_conv_embed(padded, present))

    @property
    def blocks_at_once(self) -> int:
        """That are a section of a recording; 0: all."""
        return 1 if self._drops else self.blocks_recorded_at_once

    @property
    def _drops(self) -> bool:
        return self.training and self.layer_drop > 0

    def dropped(self) -> bool:
        """Layer drop: in training a block is now and then left out, and hands on its input."""
        return self._drops and not is_recorded() and torch.rand(()).item() < self.layer_drop


class FrameEncoder(nn.Module):
    """What follows the extractor."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        channels = architecture.conv_layers[-1][0]
        self.feature_projection = FeatureProjection(channels, architecture.dim, architecture.projection_dropout)
        self.transformer = Transformer(architecture)
