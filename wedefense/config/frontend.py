"""Options of the front-ends, one dataclass each, and the table of their names."""

from dataclasses import dataclass, field, make_dataclass
from typing import Any

from wedefense.config.adapters import AdapterOptions
from wedefense.config.registry import Registry, Row
from wedefense.utils.checks import at_least, fraction, positive
from wedefense.utils.errors import InputError, OptionError, did_you_mean

# samples: shorter audio is repeated up to it, and further where a front-end's `min_samples` asks for more
SHORTEST = 400
PRUNING_UNITS = ("conv", "head", "attlayer", "interm", "ffnlayer")


@dataclass(frozen=True)
class FrontendOptions:
    """What every front-end has."""

    frame_shift: float = 10.0   # ms from one frame to the next
    frame_length: float = 25.0  # ms of audio that a frame is made of

    def __post_init__(self):
        positive(self, "frame_shift", "frame_length")


@dataclass(frozen=True)
class FbankOptions(FrontendOptions):
    """Mel filter banks as Kaldi computes them."""

    num_mel_bins: int = 80
    dither: float = 1.0         # amplitude of the noise added in training, on 16-bit samples

    def __post_init__(self):
        super().__post_init__()
        positive(self, "num_mel_bins")
        at_least(self, 0, "dither")


@dataclass(frozen=True)
class LfccOptions(FrontendOptions):
    """Cepstra of linearly spaced filters; with `use_delta` the first and second differences follow them."""

    n_fft: int = 512
    n_lfcc: int = 20
    n_filter: int = 20
    frame_length: float = 20.0  # ms
    use_delta: bool = True

    def __post_init__(self):
        super().__post_init__()
        positive(self, "n_fft", "n_lfcc", "n_filter")
        if self.n_lfcc > self.n_filter:
            raise OptionError("n_lfcc", f"must not exceed n_filter ({self.n_filter}), got {self.n_lfcc}")


@dataclass(frozen=True)
class LfccDecibelOptions(LfccOptions):
    """The same of 16-bit samples, decibels in the place of the logarithm, none lower than 80 below the loudest."""

    n_filter: int = 128


@dataclass(frozen=True)
class Upstream:
    """Which pretrained model."""

    name: str = "wavlm_base_plus"    # a name of the table (`wedefense info` lists them), a hub id or a path
    path_or_url: str | None = None   # a local file or folder, a hub id or a URL that replaces the name's own


@dataclass(frozen=True)
class UpstreamOptions(Upstream):
    """Which pretrained encoder, and which of its units may be pruned."""

    pruning_units: str = ""          # comma list of conv, head, attlayer, interm, ffnlayer

    def __post_init__(self):
        for unit in self.units():
            if unit not in PRUNING_UNITS:
                raise OptionError("pruning_units", f"unknown unit '{unit}'{did_you_mean(unit, PRUNING_UNITS)}")

    def units(self) -> tuple[str, ...]:
        """`"conv, head"` -> `("conv", "head")`."""
        return tuple(unit.strip() for unit in self.pruning_units.split(",") if unit.strip())


@dataclass(frozen=True)
class S3prlUpstreamOptions(Upstream):
    """Which s3prl upstream."""

    normalize: bool = False  # layer-normalise every hidden state


@dataclass(frozen=True)
class PretrainedOptions(FrontendOptions):
    """What every pretrained front-end has.

    Which layers come out: `layer` alone where it is not -1; else all of them (`layerwise_feature`), or a
    learned weighted sum (`multilayer_feature`), or the last.
    """

    upstream_args: Upstream = field(default_factory=Upstream)
    download_dir: str | None = None  # where downloads are kept; the default is ~/.cache/wedefense
    multilayer_feature: bool = True
    layerwise_feature: bool = True
    layer: int = -1                  # blocks above it do not run
    frozen: bool = False
    frozen_dropout: bool = False     # a frozen encoder drops out while the rest is trained, as WeDefense's does
    frame_shift: float = 20.0        # ms
    frame_length: float = 20.0       # ms

    def __post_init__(self):
        super().__post_init__()
        at_least(self, -1, "layer")
        if self.layer != -1 and self.multilayer_feature:
            raise OptionError("layer", f"layer {self.layer} alone needs multilayer_feature: False")


@dataclass(frozen=True)
class NativeOptions(PretrainedOptions):
    """What front-ends have whose encoder is this toolkit's own."""

    upstream_args: UpstreamOptions = field(default_factory=UpstreamOptions)
    freeze_extractor: bool = False        # keep the convolutions frozen while the rest is trained
    gradient_checkpointing: bool = False  # recompute each block in the backward pass: less memory, more time
    adapters: AdapterOptions = AdapterOptions()  # trained in the place of the encoder's own weights

    def __post_init__(self):
        super().__post_init__()
        if self.adapters.wanted and self.frozen:
            raise OptionError("frozen", "adapters are trained, and the encoder's own weights are not in any case; set "
                                        "frozen: False, or adapters.type: none")
        if self.adapters.wanted and self.upstream_args.units():
            raise OptionError("adapters.type", "units are pruned of an encoder that is trained itself; set "
                                               "upstream_args.pruning_units: '', or adapters.type: none")


def adapters_in(options: object) -> AdapterOptions:
    """Of a front-end's options; of one that takes none, those of none."""
    return options.adapters if isinstance(options, NativeOptions) else AdapterOptions()


@dataclass(frozen=True)
class SSLOptions(NativeOptions):
    """The native encoder of the wav2vec 2.0 family."""

    s3prl_frames: bool = False               # repeat the last frame up to ceil(samples / 320) frames, as s3prl does
    projection_dropout: float | None = None  # these five: None keeps what the checkpoint says
    hidden_dropout: float | None = None
    attention_dropout: float | None = None
    activation_dropout: float | None = None
    layer_drop: float | None = None
    normalize_waveform: bool | None = None   # to mean 0 and variance 1; None: as the checkpoint was trained
    final_norm: bool | None = None           # of the large models: the last layer as the final norm leaves it

    def __post_init__(self):
        super().__post_init__()
        fraction(self, "projection_dropout", "hidden_dropout", "attention_dropout", "activation_dropout",
                 "layer_drop")


@dataclass(frozen=True)
class S3prlOptions(PretrainedOptions):
    """Any upstream of s3prl, with s3prl's frame count."""

    upstream_args: S3prlUpstreamOptions = field(default_factory=S3prlUpstreamOptions)
    layerwise_feature: bool = False


@dataclass(frozen=True)
class WhisperOptions(NativeOptions):
    """The encoder of Whisper."""

    upstream_args: UpstreamOptions = field(default_factory=lambda: UpstreamOptions(name="whisper_base"))


@dataclass(frozen=True)
class ConformerOptions(PretrainedOptions):
    """The encoder of a Conformer for speech recognition, in NeMo's file."""

    upstream_args: Upstream = field(default_factory=lambda: Upstream(name="stt_en_conformer_ctc_large"))
    frame_shift: float = 40.0        # ms; 80 for a FastConformer
    frame_length: float = 25.0


@dataclass(frozen=True)
class FrontendRow(Row):
    """All that the rest of the toolkit has to know of a front-end without making one."""

    self_contained: bool = False    # it needs nothing but its options, and no model is named but itself
    over_time: bool = False         # cmvn is of each feature over the time of an utterance, not over each frame
    local: bool = False             # no frame depends on what is a second away from it
    prunable: bool = False          # its encoder has places for gates
    shape_in_weights: bool = False  # names and sizes of its tensors tell how its encoder is built, if it is native
    recordable: bool = False        # training may record what its encoder launches on a GPU, and play it back
    exportable: str | None = None   # "package.module:Class" of the same in operations that exporters know


_SSL = FrontendRow("wedefense.frontend.ssl.frontend:SSLFrontend", SSLOptions, prunable=True, shape_in_weights=True,
                   recordable=True, exportable="wedefense.detect.export_modules:ExportableSSL")

# In this order they are asked whether a name is theirs (see `wedefense.frontend.load`).
FRONTENDS = Registry("front-end", {
    "fbank": FrontendRow("wedefense.frontend.acoustic:Fbank", FbankOptions, self_contained=True, over_time=True,
                         local=True, exportable="wedefense.frontend.acoustic:ExportableFbank"),
    "lfcc": FrontendRow("wedefense.frontend.acoustic:Lfcc", LfccOptions, self_contained=True, over_time=True,
                        local=True, exportable="wedefense.frontend.acoustic:ExportableLfcc"),
    "lfcc_torchaudio": FrontendRow("wedefense.frontend.acoustic:LfccDecibel", LfccDecibelOptions, self_contained=True,
                                   over_time=True),  # WeDefense's
    "whisper": FrontendRow("wedefense.frontend.whisper:WhisperFrontend", WhisperOptions, prunable=True,
                           exportable="wedefense.detect.export_modules:ExportableWhisper"),
    "conformer": FrontendRow("wedefense.frontend.conformer.frontend:ConformerFrontend", ConformerOptions),
    "ssl": _SSL,
    "huggingface": _SSL,  # WeDefense's name of it
    "s3prl": FrontendRow("wedefense.frontend.s3prl:S3prlFrontend", S3prlOptions, shape_in_weights=True),
}, "frontends", FrontendOptions, FrontendRow, scores=True,
    aside="; an encoder such as wavlm_base_plus is `frontend: ssl` with `ssl_args: {upstream_args: {name: ...}}`")


def check_prunable(name: str) -> None:
    """`InputError` for a front-end whose encoder has no places for gates."""
    if not FRONTENDS.row(name).prunable:
        others = [other for other in FRONTENDS.names() if FRONTENDS.row(other).prunable]
        raise InputError(f"a front-end '{name}' cannot be pruned, only {', '.join(others)}")


@dataclass(frozen=True)
class ElsewhereOptions:
    """`frontend_args` of a front-end of the table, whose options stand in a section of its own."""


class _FromElsewhere:
    """What `frontend_args` may hold."""

    @staticmethod
    def options(name: str) -> type:
        row = FRONTENDS.row(name)
        return ElsewhereOptions if name in FRONTENDS.names() else row.options


# `frontend`, a section `<name>_args` for each of the table, and `frontend_args` for one from elsewhere: what
# `DatasetOptions` begins with.
FrontendChoice: Any = make_dataclass("FrontendChoice", [
    ("frontend", str, "fbank"),
    ("frontend_args", object, field(default=ElsewhereOptions(), metadata={"component": ("frontend", _FromElsewhere)})),
    *((f"{name}_args", row.options, field(default_factory=row.options)) for name, row in FRONTENDS.rows().items()),
], frozen=True)
