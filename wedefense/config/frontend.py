"""Options of the front-ends, one dataclass each, and the table of their names."""

from dataclasses import dataclass, field

from wedefense.config.registry import Registry, Row
from wedefense.utils.checks import at_least, fraction, positive
from wedefense.utils.errors import OptionError, did_you_mean

PRUNING_UNITS = ("conv", "head", "attlayer", "interm", "ffnlayer")


@dataclass(frozen=True)
class FbankOptions:
    """Mel filter banks as Kaldi computes them."""

    num_mel_bins: int = 80
    frame_shift: float = 10.0   # ms
    frame_length: float = 25.0  # ms
    dither: float = 1.0         # amplitude of the noise added in training, on 16-bit samples

    def __post_init__(self):
        positive(self, "num_mel_bins", "frame_shift", "frame_length")
        at_least(self, 0, "dither")


@dataclass(frozen=True)
class LfccOptions:
    """Cepstra of linearly spaced filters; with `use_delta` the first and second differences follow them."""

    n_fft: int = 512
    n_lfcc: int = 20
    n_filter: int = 20
    frame_shift: float = 10.0   # ms
    frame_length: float = 20.0  # ms
    use_delta: bool = True

    def __post_init__(self):
        positive(self, "n_fft", "n_lfcc", "n_filter", "frame_shift", "frame_length")
        if self.n_lfcc > self.n_filter:
            raise OptionError("n_lfcc", f"must not exceed n_filter ({self.n_filter}), got {self.n_lfcc}")


@dataclass(frozen=True)
class UpstreamOptions:
    """Which pretrained encoder, and which of its units may be pruned."""

    name: str = "wavlm_base_plus"    # a name of the table (`wedefense info` lists them), a hub id or a path
    path_or_url: str | None = None   # a local file or folder, a hub id or a URL that replaces the name's own
    pruning_units: str = ""          # comma list of conv, head, attlayer, interm, ffnlayer

    def __post_init__(self):
        for unit in self.units():
            if unit not in PRUNING_UNITS:
                raise OptionError("pruning_units", f"unknown unit '{unit}'{did_you_mean(unit, PRUNING_UNITS)}")

    def units(self) -> tuple[str, ...]:
        """`"conv, head"` -> `("conv", "head")`."""
        return tuple(unit.strip() for unit in self.pruning_units.split(",") if unit.strip())


@dataclass(frozen=True)
class S3prlUpstreamOptions:
    """Which s3prl upstream."""

    name: str = "wavlm_base_plus"
    path_or_url: str | None = None
    normalize: bool = False  # layer-normalise every hidden state


def _check_layer_choice(options) -> None:
    at_least(options, -1, "layer")
    if options.layer != -1 and options.multilayer_feature:
        raise OptionError("layer", f"layer {options.layer} alone needs multilayer_feature: False")


@dataclass(frozen=True)
class SSLOptions:
    """The native encoder of the wav2vec 2.0 family.

    Which layers come out: `layer` alone where it is not -1; else all of them (`layerwise_feature`), or a
    learned weighted sum (`multilayer_feature`), or the last.
    """

    upstream_args: UpstreamOptions = field(default_factory=UpstreamOptions)
    download_dir: str | None = None       # where downloads are kept; the default is ~/.cache/wedefense
    multilayer_feature: bool = True
    layerwise_feature: bool = True
    layer: int = -1                       # blocks above it do not run
    frozen: bool = False
    freeze_extractor: bool = False        # keep the convolutional extractor frozen while the rest is trained
    frame_shift: float = 20.0             # ms
    frame_length: float = 20.0            # ms
    s3prl_frames: bool = False            # repeat the last frame up to ceil(samples / 320) frames, as s3prl does
    gradient_checkpointing: bool = False  # recompute each block in the backward pass: less memory, more time
    projection_dropout: float | None = None  # these five: None keeps what the checkpoint says
    hidden_dropout: float | None = None
    attention_dropout: float | None = None
    activation_dropout: float | None = None
    layer_drop: float | None = None
    normalize_waveform: bool | None = None   # to mean 0 and variance 1; None: as the checkpoint was trained
    final_norm: bool | None = None           # of the large models: the last layer as the final norm leaves it

    def __post_init__(self):
        positive(self, "frame_shift", "frame_length")
        fraction(self, "projection_dropout", "hidden_dropout", "attention_dropout", "activation_dropout",
                 "layer_drop")
        _check_layer_choice(self)


@dataclass(frozen=True)
class S3prlOptions:
    """Any upstream of s3prl, with s3prl's frame count. The choice of layers is that of `SSLOptions`."""

    upstream_args: S3prlUpstreamOptions = field(default_factory=S3prlUpstreamOptions)
    download_dir: str | None = None
    multilayer_feature: bool = True
    layerwise_feature: bool = False
    layer: int = -1
    frozen: bool = False
    frame_shift: float = 20.0   # ms
    frame_length: float = 20.0  # ms

    def __post_init__(self):
        positive(self, "frame_shift", "frame_length")
        _check_layer_choice(self)


@dataclass(frozen=True)
class WhisperOptions:
    """The encoder of Whisper. The choice of layers is that of `SSLOptions`."""

    upstream_args: UpstreamOptions = field(default_factory=lambda: UpstreamOptions(name="whisper_base"))
    download_dir: str | None = None
    multilayer_feature: bool = True
    layerwise_feature: bool = True
    layer: int = -1
    frozen: bool = False
    freeze_extractor: bool = False  # keep the two convolutions frozen while the rest is trained
    frame_shift: float = 20.0       # ms
    frame_length: float = 25.0      # ms
    gradient_checkpointing: bool = False

    def __post_init__(self):
        positive(self, "frame_shift", "frame_length")
        _check_layer_choice(self)


_SSL = Row("wedefense.frontend.ssl.frontend:SSLFrontend", SSLOptions)

FRONTENDS = Registry("front-end", {
    "fbank": Row("wedefense.frontend.acoustic:Fbank", FbankOptions),
    "lfcc": Row("wedefense.frontend.acoustic:Lfcc", LfccOptions),
    "ssl": _SSL,
    "huggingface": _SSL,  # WeDefense's name of it
    "s3prl": Row("wedefense.frontend.s3prl:S3prlFrontend", S3prlOptions),
    "whisper": Row("wedefense.frontend.whisper:WhisperFrontend", WhisperOptions),
})
