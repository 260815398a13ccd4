"""What distinguishes one wav2vec 2.0 style encoder from another, as values."""

import math
from dataclasses import dataclass
from typing import Literal

from wedefense.utils.checks import within
from wedefense.utils.errors import OptionError

Family = Literal["wav2vec2", "hubert", "wavlm", "data2vec", "unispeech_sat", "whisper"]

BASE_CONV = ((512, 10, 5), (512, 3, 2), (512, 3, 2), (512, 3, 2), (512, 3, 2), (512, 2, 2), (512, 2, 2))

_WIDEST, _MOST_BLOCKS = 1 << 17, 1000


@dataclass(frozen=True)
class BlockShape:
    """One transformer block; a pruned block has fewer heads or units, or none of them."""

    heads: tuple[int, ...]  # indices of the remaining heads; empty: the block has no attention
    ff_dim: int             # hidden units of the feed-forward; 0: the block has no feed-forward


@dataclass(frozen=True)
class Architecture:
    """The switches of the family. Defaults are those of wav2vec 2.0 base."""

    family: Family
    blocks: tuple[BlockShape, ...]
    dim: int = 768
    total_heads: int = 12                       # heads before pruning; head_dim = dim / total_heads
    conv_layers: tuple[tuple[int, int, int], ...] = BASE_CONV  # (channels, kernel, stride)
    extractor_norm: Literal["group_norm", "layer_norm"] = "group_norm"
    conv_bias: bool = False
    conv_output_scale: bool = False             # pruned models: a factor per output channel (dummy_weight)
    norm_first: bool = False                    # large models normalise before each sublayer
    final_norm: bool = True                     # norm-first models: the last layer is handed out normalised
    pos_conv_kernel: int = 128
    pos_conv_groups: int = 16
    pos_conv_depth: int = 1                     # data2vec stacks 5 convolutions with layer norms between
    rel_buckets: int = 0                        # WavLM's gated relative bias; 0: none
    rel_max_distance: int = 800
    normalize_waveform: bool = False
    normalize_eps: float = 1e-5
    projection_dropout: float = 0.1
    attention_dropout: float = 0.1
    activation_dropout: float = 0.0
    hidden_dropout: float = 0.1
    layer_drop: float = 0.0
    mel_bins: int = 0                           # Whisper: the convolutions see so many mel bands; 0: samples

    def __post_init__(self):
        """A file may say anything; what it describes has to be an encoder, and of a size that there is."""
        within(self, 1, _WIDEST, "dim", "pos_conv_kernel", "pos_conv_groups")
        within(self, 1, 1024, "total_heads")
        within(self, 1, 64, "pos_conv_depth")
        within(self, 0, _WIDEST, "rel_buckets", "mel_bins")
        within(self, 1, 1 << 24, "rel_max_distance")
        within(self, 0, 1, "normalize_eps", "projection_dropout", "attention_dropout", "activation_dropout",
               "hidden_dropout", "layer_drop")
        parted = {"total_heads": self.total_heads}
        if self.family != "whisper":  # which has no positional convolution
            parted["pos_conv_groups"] = self.pos_conv_groups
        for key, parts in parted.items():
            if self.dim % parts:
                raise OptionError(key, f"must divide dim ({self.dim}), got {parts}")
        if not 1 <= len(self.blocks) <= _MOST_BLOCKS:
            raise OptionError("blocks", f"must be 1 to {_MOST_BLOCKS}, got {len(self.blocks)}")
        for block in self.blocks:
            heads = set(block.heads)
            if len(heads) < len(block.heads) or not heads <= set(range(self.total_heads)):
                raise OptionError("blocks", f"heads must be some of 0 to {self.total_heads - 1}, each once, got "
                                            f"{list(block.heads)[:8]}")
            if not 0 <= block.ff_dim <= _WIDEST:
                raise OptionError("blocks", f"ff_dim must lie between 0 and {_WIDEST}, got {block.ff_dim}")
        if not 1 <= len(self.conv_layers) <= 32 or not all(
                len(layer) == 3 and all(1 <= number <= _WIDEST for number in layer) for layer in self.conv_layers):
            raise OptionError("conv_layers", f"must be 1 to 32 of (channels, kernel, stride), each from 1 to {_WIDEST}")

    @property
    def head_dim(self) -> int:
        return self.dim // self.total_heads

    @property
    def num_blocks(self) -> int:
        return len(self.blocks)

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return math.prod(stride for _, _, stride in self.conv_layers)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees: the shortest input there is a frame for."""
        field, step = 1, 1
        for _, kernel, stride in self.conv_layers:
            field += (kernel - 1) * step
            step *= stride
        return field


def full_blocks(count: int, heads: int, ff_dim: int) -> tuple[BlockShape, ...]:
    """`count` unpruned blocks."""
    return (BlockShape(tuple(range(heads)), ff_dim),) * count
