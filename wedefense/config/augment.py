"""Options of augmentation, one dataclass for each step, and the table of their names."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from wedefense.config.registry import Registry, Row
from wedefense.config.tree import Leaf
from wedefense.config.typed import build
from wedefense.utils.checks import at_least, fraction, positive
from wedefense.utils.errors import InputError, OptionError, did_you_mean

NOISE_KINDS = ("noise", "speech", "music")  # as the names in MUSAN begin
CODEC_NAMES = ("mp3", "vorbis", "opus", "aac", "alaw", "ulaw", "g722", "gsm", "amr_nb", "amr_wb")
SPEEDS = (1.0, 0.9, 1.1)  # the place of a factor is its index in the labels of speakers, as in WeSpeaker


def _ordered(options, *pairs: tuple[str, str]) -> None:
    for low, high in pairs:
        if getattr(options, low) > getattr(options, high):
            raise OptionError(low, f"must not exceed {high} ({getattr(options, high)}), got {getattr(options, low)}")


def _range(options, *names: str) -> None:
    for name in names:
        low, high = getattr(options, name)
        if low > high:
            raise OptionError(name, f"must go from low to high, got [{low}, {high}]")


@dataclass(frozen=True)
class StepOptions:
    """What every step has."""

    prob: float = 1.0  # share of the utterances

    def __post_init__(self):
        fraction(self, "prob")


@dataclass(frozen=True)
class RawBoostOptions(StepOptions):
    """RawBoost (Tak et al., ICASSP 2022), parameters under their published names and with their published values."""

    algo: int = 5          # 1 convolutive, 2 impulsive, 3 stationary noise; 4 = 1+2+3, 5 = 1+2, 6 = 1+3, 7 = 2+3
                           # in series, 8 = 1 and 2 in parallel; 0 none
    N_f: int = 5           # order: powers of the signal, each with a filter of its own
    nBands: int = 5        # notches of a filter
    minF: float = 20.0     # Hz, centre of a notch
    maxF: float = 8000.0
    minBW: float = 100.0   # Hz, width of a notch
    maxBW: float = 1000.0
    minCoeff: int = 10     # coefficients of a notch
    maxCoeff: int = 100
    minG: float = 0.0      # dB, gain of the linear filter
    maxG: float = 0.0
    minBiasLinNonLin: float = 5.0  # dB that the filters of the higher powers lie below
    maxBiasLinNonLin: float = 20.0
    P: float = 10.0        # per cent of the samples that impulses hit, at most
    g_sd: float = 2.0      # gain of the impulses
    SNRmin: float = 10.0   # dB, of the stationary noise
    SNRmax: float = 40.0

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.algo <= 8:
            raise OptionError("algo", f"must lie between 0 and 8, got {self.algo}")
        positive(self, "N_f", "nBands", "minF", "minBW", "minCoeff")
        at_least(self, 0, "P", "g_sd")
        if self.P > 100:
            raise OptionError("P", f"must not exceed 100 (per cent of the samples), got {self.P}")
        # the biases are taken off minG and maxG, so that they may stand in either order
        _ordered(self, ("minF", "maxF"), ("minBW", "maxBW"), ("minCoeff", "maxCoeff"), ("minG", "maxG"),
                 ("SNRmin", "SNRmax"))


@dataclass(frozen=True)
class NoiseOptions(StepOptions):
    """Recordings of noise, music and speech at a signal-to-noise ratio drawn for their kind."""

    data: str | None = None                        # folder, wav.scp, tar or LMDB; the default is noise_data
    kinds: tuple[str, ...] = NOISE_KINDS           # which of the recordings are used
    noise_snr: tuple[float, float] = (0.0, 15.0)   # dB, lowest and highest
    speech_snr: tuple[float, float] = (13.0, 20.0)
    music_snr: tuple[float, float] = (5.0, 15.0)
    babble: tuple[int, int] = (1, 1)               # how many recordings of speech are mixed, fewest and most
    scale_peak: bool = False  # scale what is mixed to a peak of 1, as WeSpeaker does; False: only down to it

    def __post_init__(self):
        super().__post_init__()
        _range(self, "noise_snr", "speech_snr", "music_snr", "babble")
        if self.babble[0] < 1:
            raise OptionError("babble", f"must be at least 1, got {self.babble[0]}")
        if not self.kinds:
            raise OptionError("kinds", f"name at least one of {', '.join(NOISE_KINDS)}")
        for kind in self.kinds:
            if kind not in NOISE_KINDS:
                raise OptionError("kinds", f"unknown kind '{kind}'{did_you_mean(kind, NOISE_KINDS)}")

    def snr(self, kind: str) -> tuple[float, float]:
        return getattr(self, f"{kind}_snr")


@dataclass(frozen=True)
class ReverbOptions(StepOptions):
    """Convolution with a room impulse response."""

    data: str | None = None  # folder, wav.scp, tar or LMDB; the default is reverb_data
    realign: bool = True     # the direct sound stays in place; False: it comes late, as in WeSpeaker
    scale_peak: bool = False  # scale the result to a peak of 1, as WeSpeaker does; False: it keeps its power


@dataclass(frozen=True)
class CodecOptions(StepOptions):
    """A codec drawn at random, there and back; rates are kbit/s, lowest and highest."""

    codecs: tuple[str, ...] = ()  # by default all that soundfile can do here; those named must all be possible
    mp3_kbps: tuple[float, float] = (16.0, 128.0)
    opus_kbps: tuple[float, float] = (8.0, 64.0)
    aac_kbps: tuple[float, float] = (16.0, 128.0)
    vorbis_quality: tuple[float, float] = (0.0, 0.8)  # 0 worst, 1 best

    def __post_init__(self):
        super().__post_init__()
        _range(self, "mp3_kbps", "opus_kbps", "aac_kbps", "vorbis_quality")
        for codec in self.codecs:
            if codec not in CODEC_NAMES:
                raise OptionError("codecs", f"unknown codec '{codec}'{did_you_mean(codec, CODEC_NAMES)}")
        for name, low, high in (("mp3_kbps", 8, 320), ("opus_kbps", 6, 256), ("aac_kbps", 8, 512),
                                ("vorbis_quality", 0, 1)):
            if getattr(self, name)[0] < low or getattr(self, name)[1] > high:
                raise OptionError(name, f"must lie between {low} and {high}, got {list(getattr(self, name))}")


@dataclass(frozen=True)
class TelephoneOptions(StepOptions):
    """The band of a telephone line of 8 kHz."""

    low: float = 300.0    # Hz
    high: float = 3400.0

    def __post_init__(self):
        super().__post_init__()
        positive(self, "low")
        _ordered(self, ("low", "high"))


@dataclass(frozen=True)
class LowPassOptions(StepOptions):
    """A low-pass filter with a cut-off drawn at random."""

    min_cutoff: float = 2000.0  # Hz
    max_cutoff: float = 7000.0

    def __post_init__(self):
        super().__post_init__()
        positive(self, "min_cutoff")
        _ordered(self, ("min_cutoff", "max_cutoff"))


@dataclass(frozen=True)
class OneOfOptions(StepOptions):
    """One of several steps, each as likely as its `prob` (a weight here) says."""

    steps: tuple[dict[str, object], ...] = ()

    def __post_init__(self):
        super().__post_init__()
        if not sum(step.options.prob for step in self.parsed()) > 0:
            raise OptionError("steps", "name at least one step with a prob over 0")

    def parsed(self) -> tuple["Step", ...]:
        return parse_steps(self.steps, "steps")


STEPS = Registry("augmentation step", {
    "rawboost": Row("wedefense.data.augment.rawboost:RawBoost", RawBoostOptions),
    "noise": Row("wedefense.data.augment.mixing:Noise", NoiseOptions),
    "reverb": Row("wedefense.data.augment.mixing:Reverb", ReverbOptions),
    "codec": Row("wedefense.data.augment.codecs:Codec", CodecOptions),
    "telephone": Row("wedefense.data.augment.channels:Telephone", TelephoneOptions),
    "low_pass": Row("wedefense.data.augment.channels:LowPass", LowPassOptions),
    "one_of": Row("wedefense.data.augment.pipeline:OneOf", OneOfOptions),
}, "augmentation", StepOptions)


class Step(NamedTuple):
    type: str        # its name in STEPS
    options: Any     # the options dataclass of that name


class Idle(dict[str, object]):
    """A step of a config that was read to score: its code is not asked for, as long as the config is in use."""


def as_read(steps: Iterable) -> tuple:
    """The steps of a file, the idle ones marked as such."""
    return tuple(Idle(step) if _is_idle(step) else step for step in steps)


def _is_idle(step) -> bool:
    if not isinstance(step, Mapping) or not isinstance(step.get("type"), str):
        return False
    inner = step.get("steps")
    return STEPS.is_idle(step["type"]) or isinstance(inner, list | tuple) and any(map(_is_idle, inner))


def parse_steps(steps, key: str = "augment") -> tuple[Step, ...]:
    """Typed steps from `[{type: rawboost, prob: 0.5, algo: 4}, ...]`; an `OptionError` says which one is wrong.

    >>> parse_steps([{"type": "low_pass", "prob": 0.5}])[0].options.max_cutoff
    7000.0
    """
    return tuple(_parse_step(step, key, number) for number, step in enumerate(steps, 1))


def _parse_step(values, key: str, number: int) -> Step:
    place = f"step {number}"
    if not isinstance(values, Mapping) or not isinstance(values.get("type"), str):
        raise OptionError(key, f"{place}: must be a mapping like {{type: rawboost, prob: 0.5}} "
                               f"(types: {', '.join(STEPS.names())}), got {values!r}")
    name = values["type"]
    if isinstance(values, Idle):
        return Step(name, StepOptions())
    try:
        return Step(name, build(STEPS.options(name), {option: Leaf(value, place) for option, value in values.items()
                                                      if option != "type"}, source=place))
    except InputError as error:
        raise OptionError(key, str(error) if str(error).startswith(place) else f"{place}: {error}") from None


def places_of(steps: Iterable[Step]) -> Iterator[str]:
    """Where recordings lie that steps draw from by their own `data`."""
    for step in steps:
        if isinstance(step.options, OneOfOptions):
            yield from places_of(step.options.parsed())
        elif isinstance(step.options, NoiseOptions | ReverbOptions) and step.options.data:
            yield step.options.data


class Setting(NamedTuple):
    """What a step is told besides its own options."""

    sample_rate: int
    reverb_data: str | None = None
    noise_data: str | None = None


@dataclass(frozen=True)
class AugmentOptions:
    """All that a pipeline does, in order; `gather` takes it from the keys of a config."""

    speed_perturb: bool = False
    steps: tuple[Step, ...] = ()
    reverb_data: str | None = None
    noise_data: str | None = None

    @classmethod
    def gather(cls, dataset, reverb_data: str | None = None, noise_data: str | None = None) -> "AugmentOptions":
        """From `dataset_args` and the paths beside it. `aug_prob` stands for one of reverberation and noise."""
        steps: list[Step] = []
        if dataset.aug_prob > 0:
            mixed = tuple({"type": name, **_given(options)} for name, options, data in (
                ("reverb", dataset.reverb_args, reverb_data), ("noise", dataset.noise_args, noise_data))
                if options.data or data)
            if not mixed:
                raise InputError(f"dataset_args.aug_prob is {dataset.aug_prob} but there is nothing to add: "
                                 f"name reverb_data or noise_data, or set aug_prob to 0")
            steps.append(Step("one_of", OneOfOptions(dataset.aug_prob, mixed)))
        if dataset.rawboost:
            steps.append(Step("rawboost", _section(dataset.rawboost_args, RawBoostOptions, "rawboost")))
        if dataset.codec_aug:
            steps.append(Step("codec", _section(dataset.codec_aug_args, CodecOptions, "codec")))
        return cls(dataset.speed_perturb, (*steps, *parse_steps(dataset.augment)), reverb_data, noise_data)


def _given(options) -> dict[str, object]:
    return {field.name: getattr(options, field.name) for field in fields(options)}


def _section(values, cls: type, name: str):
    return values if isinstance(values, cls) else parse_steps([{"type": name, **values}])[0].options
