"""Options of the back-ends, one dataclass each, and the table of their names.

Options of a back-end carry the names of WeSpeaker and WeDefense. `feat_dim` and `nb_layer` describe the
front-end: the front-end itself has the last word (see `wedefense.models.backend.check_inputs`).
"""

from dataclasses import dataclass
from typing import Literal

from wedefense.config.registry import Registry, Row
from wedefense.utils.checks import at_least, fraction, positive
from wedefense.utils.errors import OptionError

Pooling = Literal["TAP", "TSDP", "TSTP", "ASTP", "MHASTP", "MQMHASTP", "XI"]


@dataclass(frozen=True)
class BackendOptions:
    """What every back-end has. A back-end of one input takes a learned weighted sum of several layers."""

    feat_dim: int = -1              # features per frame; -1: as the front-end gives
    embed_dim: int = 256
    feature_grad_mult: float = 1.0  # the gradient that flows into the front-end is scaled by this

    def __post_init__(self):
        positive(self, "embed_dim")
        at_least(self, 0, "feature_grad_mult")
        if self.feat_dim != -1:
            positive(self, "feat_dim")


@dataclass(frozen=True)
class SSLBackendOptions(BackendOptions):
    nb_layer: int = -1  # layers of the front-end; advisory, another number is taken with a warning


@dataclass(frozen=True)
class MHFAOptions(SSLBackendOptions):
    """Multi-head factorised attentive pooling."""

    head_nb: int = 8
    compression_dim: int = 128

    def __post_init__(self):
        super().__post_init__()
        positive(self, "head_nb", "compression_dim")


@dataclass(frozen=True)
class CAMHFAOptions(MHFAOptions):
    """Context-aware MHFA: `head_nb` groups of queries that look at `context` frames."""

    context: int = 9
    conv_values: bool = False       # also convolve the values over 5 frames (the dagger row of the paper's table I)
    divide_by_context: bool = True  # scores are means over the context, as in the paper; the authors' code: sums
    l2_norm: bool = True            # embeddings of length 1, as in the paper; the authors' code leaves them

    def __post_init__(self):
        super().__post_init__()
        positive(self, "context")
        if self.context % 2 == 0:
            raise OptionError("context", f"must be odd, as many frames before as after, got {self.context}")


@dataclass(frozen=True)
class SLSOptions(SSLBackendOptions):
    """SLS. The form of the paper: frame_length 201, embed_dim 1024, use_input_layer False."""

    embed_dim: int = 256
    kernel_size: int = 3
    frame_length: int = 150
    use_input_layer: bool = True  # False: the transformer blocks alone, without the layer that enters them
    # Utterances of another length than frame_length: repeated or cut to it as published, or pooled to it.
    fit: Literal["repeat_cut", "adaptive"] = "repeat_cut"

    def __post_init__(self):
        super().__post_init__()
        positive(self, "kernel_size")
        if self.frame_length < self.kernel_size:
            raise OptionError("frame_length", f"must be at least kernel_size ({self.kernel_size}), "
                                              f"got {self.frame_length}")


@dataclass(frozen=True)
class AttentivePoolingOptions(SSLBackendOptions):
    bottleneck_dim: int = 128

    def __post_init__(self):
        super().__post_init__()
        positive(self, "bottleneck_dim")


@dataclass(frozen=True)
class MFAOptions(SSLBackendOptions):
    """Multi-scale feature aggregation: all layers side by side, attentive statistics of them."""

    embed_dim: int = 192
    bottleneck_dim: int = 128
    use_input_layer: bool = True  # False: the blocks alone, without the layer that enters them

    def __post_init__(self):
        super().__post_init__()
        positive(self, "bottleneck_dim")


@dataclass(frozen=True)
class XVecOptions(BackendOptions):
    embed_dim: int = 512
    hid_dim: int = 512
    stats_dim: int = 1500
    pooling_func: Pooling = "TSTP"

    def __post_init__(self):
        super().__post_init__()
        positive(self, "hid_dim", "stats_dim")


@dataclass(frozen=True)
class SuperbXVecOptions(BackendOptions):
    embed_dim: int = 512
    hid_dim: int = 512
    stats_dim: int = 1500

    def __post_init__(self):
        super().__post_init__()
        positive(self, "hid_dim", "stats_dim")


@dataclass(frozen=True)
class ECAPAOptions(BackendOptions):
    embed_dim: int = 192
    pooling_func: Pooling = "ASTP"
    emb_bn: bool = False


@dataclass(frozen=True)
class XiECAPAOptions(ECAPAOptions):
    pooling_func: Pooling = "XI"


@dataclass(frozen=True)
class XiXVecOptions(XVecOptions):
    pooling_func: Pooling = "XI"


@dataclass(frozen=True)
class ResNetOptions(BackendOptions):
    m_channels: int = 32        # channels of the first stage
    pooling_func: Pooling = "TSTP"
    two_emb_layer: bool = False

    def __post_init__(self):
        super().__post_init__()
        positive(self, "m_channels")


@dataclass(frozen=True)
class CAMPPlusOptions(BackendOptions):
    embed_dim: int = 512
    pooling_func: Pooling = "TSTP"


@dataclass(frozen=True)
class ReDimNetOptions(BackendOptions):
    embed_dim: int = 192
    pooling_func: Pooling = "ASTP"
    two_emb_layer: bool = False


@dataclass(frozen=True)
class RepVGGOptions(BackendOptions):
    embed_dim: int = 256
    pooling_func: Pooling = "TSTP"
    deploy: bool = False  # one convolution in the place of each block's branches, to read weights merged elsewhere
    use_se: bool = False


@dataclass(frozen=True)
class LCNNLSTMOptions(BackendOptions):
    pooling_func: Pooling = "TSTP"
    dropout: float = 0.7

    def __post_init__(self):
        super().__post_init__()
        fraction(self, "dropout")


@dataclass(frozen=True)
class LLGFOptions(SSLBackendOptions):
    """A linear layer, a light CNN, two bidirectional LSTM layers, average pooling."""

    embed_dim: int = 64
    compression_dim: int = 128
    dropout: float = 0.7

    def __post_init__(self):
        super().__post_init__()
        fraction(self, "dropout")
        at_least(self, 16, "compression_dim")


@dataclass(frozen=True)
class MultiResolutionOptions(SSLBackendOptions):
    """gMLP on frames halved `num_scale - 1` times. A negative `embed_dim` divides the features that are left.

    As published: num_scale 6, gmlp_layers 5, and all of multi_reso_active.
    """

    embed_dim: int = -2
    num_scale: int = 6
    seq_len: int = 2001                                       # frames; what comes later is not heard
    gmlp_layers: int = 1
    flag_pool: Literal["ap"] = "ap"                           # mean over time
    # Branches: segments of n frames of 10 ms where the front-end gives one every 20 ms, and whole utterances.
    multi_reso_active: tuple[Literal["2", "4", "8", "16", "32", "64", "utt"], ...] = ("utt",)
    batch_first: bool = True                                  # these two are of WeDefense's configs; not used
    Frame_shifts: tuple[int, ...] = ()

    def __post_init__(self):
        if self.embed_dim > 0:
            super().__post_init__()
        elif self.embed_dim == 0:
            raise OptionError("embed_dim", "must not be 0")
        at_least(self, 2, "num_scale")
        positive(self, "gmlp_layers")
        if self.seq_len >> (self.num_scale - 1) < 1:
            raise OptionError("seq_len", f"must be at least {1 << (self.num_scale - 1)} with num_scale "
                                         f"{self.num_scale}, got {self.seq_len}")
        if not self.multi_reso_active:
            raise OptionError("multi_reso_active", "name at least one branch")
        if self.active and max(self.active) >= self.num_scale:
            raise OptionError("multi_reso_active", f"'{1 << max(self.active) + 1}' needs num_scale "
                                                   f"{max(self.active) + 1}, got {self.num_scale}")

    @property
    def of_utterances(self) -> bool:
        return "utt" in self.multi_reso_active

    @property
    def active(self) -> tuple[int, ...]:
        """How often each branch for segments halves."""
        return tuple(sorted({int(name).bit_length() - 2 for name in self.multi_reso_active if name != "utt"}))


@dataclass(frozen=True)
class BAMOptions(SSLBackendOptions):
    """Boundary-aware attention. As published: on the last layer of WavLM-Large (its 1,024 features) alone."""

    embed_dim: int = -1      # features of a segment; -1: as many as a frame has
    pool_frames: int = 8     # frames of a segment: 160 ms of a front-end with one every 20 ms
    gap_layer_num: int = 2   # attentions that heed the boundaries
    gap_head_num: int = 1    # of each attention

    def __post_init__(self):
        if self.embed_dim != -1:
            super().__post_init__()
        positive(self, "pool_frames", "gap_layer_num", "gap_head_num")


@dataclass(frozen=True)
class PooledOptions(SSLBackendOptions):
    """Of a back-end whose embedding may come out as it is pooled (-1), or through a linear layer."""

    def __post_init__(self):
        if self.embed_dim != -1:
            super().__post_init__()
        at_least(self, 0, "feature_grad_mult")


@dataclass(frozen=True)
class RAPTOROptions(PooledOptions):
    """Gated layers and a Conformer with a class token, which is the embedding unless `embed_dim` asks for a layer."""

    embed_dim: int = -1
    num_blocks: int = 4
    heads: int = 4
    ff_mult: int = 4         # hidden units of a feed-forward, times the dimension
    conv_expansion: int = 2  # channels of a convolution, times the dimension
    kernel_size: int = 31    # of it, in frames

    def __post_init__(self):
        super().__post_init__()
        positive(self, "num_blocks", "heads", "ff_mult", "conv_expansion", "kernel_size")


@dataclass(frozen=True)
class Nes2NetOptions(PooledOptions):
    """Nested Res2Net. The embedding is twice `feat_dim` unless `embed_dim` asks for a linear layer."""

    embed_dim: int = -1
    Nes_ratio: tuple[int, int] = (8, 8)  # groups outside, and inside each of them
    dilation: int = 1
    SE_ratio: int = 1
    pool_func: Pooling = "ASTP"
    weighted: bool = True                # Nes2Net-X: learned sums of the branches; False: Nes2Net

    def __post_init__(self):
        super().__post_init__()
        positive(self, "dilation", "SE_ratio")
        if min(self.Nes_ratio) < 2:
            raise OptionError("Nes_ratio", f"both must be at least 2, got {list(self.Nes_ratio)}")


def _row(place: str, options: type) -> Row:
    return Row(f"wedefense.models.{place}", options)


BACKENDS = Registry("back-end", {
    "SSL_BACKEND_MHFA": _row("mhfa:MHFA", MHFAOptions),
    "SSL_BACKEND_CA_MHFA": _row("mhfa:CAMHFA", CAMHFAOptions),
    "SSL_BACKEND_SLS": _row("sls:SLS", SLSOptions),
    "SSL_BACKEND_MEAN": _row("simple:MeanPooling", PooledOptions),
    "SSL_BACKEND_ATTENTIVE": _row("simple:AttentivePooling", AttentivePoolingOptions),
    "SSL_BACKEND_MFA": _row("simple:MFA", MFAOptions),
    "SSL_BACKEND_LLGF": _row("lcnn:LLGF", LLGFOptions),
    "SSL_BACKEND_aasist": _row("aasist:AASIST", PooledOptions),
    "SSL_BACKEND_utt_only_nes2net": _row("nes2net:Nes2Net", Nes2NetOptions),
    "SSL_BACKEND_RAPTOR": _row("raptor:RAPTOR", RAPTOROptions),
    "SSL_BACKEND_multireso_MaxPool1dLin_gmlp": _row("gmlp:MultiResolutionGMLP", MultiResolutionOptions),
    "SSL_BACKEND_BAM": _row("bam:BAM", BAMOptions),
    "XVEC": _row("xvector:XVEC", XVecOptions),
    "SUPERB_XVECTOR": _row("superb_xvector:SuperbXVector", SuperbXVecOptions),
    "LCNN_LSTM": _row("lcnn:LCNNLSTM", LCNNLSTMOptions),
    "ECAPA_TDNN_c512": _row("ecapa_tdnn:ECAPA512", ECAPAOptions),
    "ECAPA_TDNN_GLOB_c512": _row("ecapa_tdnn:ECAPA512Glob", ECAPAOptions),
    "ECAPA_TDNN_c1024": _row("ecapa_tdnn:ECAPA1024", ECAPAOptions),
    "ECAPA_TDNN_GLOB_c1024": _row("ecapa_tdnn:ECAPA1024Glob", ECAPAOptions),
    "XI_VEC_ECAPA_TDNN_c512": _row("ecapa_tdnn:ECAPA512Xi", XiECAPAOptions),
    "XI_VEC_ECAPA_TDNN_c1024": _row("ecapa_tdnn:ECAPA1024Xi", XiECAPAOptions),
    "XI_VEC_XVEC": _row("xvector:XVEC", XiXVecOptions),
    "CAMPPlus": _row("campplus:CAMPPlus", CAMPPlusOptions),
    "SSL_BACKEND_utt_only_res1d": _row("res1d:Res1D", SSLBackendOptions),
    **{name: _row(f"res2net:{name}", ResNetOptions) for name in (
        "Res2Net34_Base", "Res2Net34_Large", "ERes2Net34_Base", "ERes2Net34_Large")},
    **{f"Gemini_DF_ResNet{depth}": _row(f"gemini:Gemini_DF_ResNet{depth}", ResNetOptions)
       for depth in (60, 114, 183, 237)},
    **{f"ReDimNetB{size}": _row(f"redimnet:ReDimNetB{size}", ReDimNetOptions) for size in range(7)},
    **{f"REPVGG_{size}": _row(f"repvgg:REPVGG_{size}", RepVGGOptions) for size in (
        "TINY_A0", "A0", "A1", "A2", "B0", "B1", "B2")},
    **{name: _row(f"resnet:{name}", ResNetOptions) for name in (
        "ResNet18", "ResNet34", "ResNet50", "ResNet101", "ResNet152", "ResNet221", "ResNet293")},
}, "backends", BackendOptions, scores=True)
