"""Options of the data sets and their loaders (`dataloader_args` and `dataset_args`)."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from wedefense.config.augment import CodecOptions, NoiseOptions, RawBoostOptions, ReverbOptions, as_read, parse_steps
from wedefense.config.frontend import FRONTENDS, FrontendChoice, PretrainedOptions
from wedefense.config.sampling import parse_levels
from wedefense.utils.checks import at_least, fraction, positive
from wedefense.utils.errors import OptionError


@dataclass(frozen=True)
class DataLoaderOptions:
    batch_size: int = 16      # utterances in a batch of one rank
    num_workers: int = 2      # worker processes of one rank; 0 reads in the training process
    pin_memory: bool = True   # for a GPU: page-locked memory, from which batches are copied while it computes
    prefetch_factor: int = 4  # batches that each worker prepares ahead
    drop_last: bool = True    # an epoch is made of full batches only, so this can only be true in training

    def __post_init__(self):
        positive(self, "batch_size", "prefetch_factor")
        at_least(self, 0, "num_workers")


@dataclass(frozen=True)
class ShuffleOptions:
    shuffle_size: int = 2500  # how far, in utterances, one may move from its place in its shard

    def __post_init__(self):
        positive(self, "shuffle_size")


@dataclass(frozen=True)
class FilterOptions:
    min_num_frames: int = 100  # shorter utterances are left out
    max_num_frames: int = 800  # longer ones are cut, at random

    def __post_init__(self):
        at_least(self, 0, "min_num_frames")
        if self.max_num_frames < max(1, self.min_num_frames):
            raise OptionError("max_num_frames", f"must be at least min_num_frames ({self.min_num_frames}) and 1, "
                                                f"got {self.max_num_frames}")


@dataclass(frozen=True)
class CmvnOptions:
    norm_mean: bool = True
    norm_var: bool = False
    # what the mean is of: each frame's features, or each feature over the time of an utterance; auto: as published
    # checkpoints have it, features where a back-end gets several layers, time where it gets one or a sum of them
    over: Literal["auto", "time", "features"] = "auto"


@dataclass(frozen=True)
class SpecAugOptions:
    """Bands of frames and of feature bins that are zeroed in training."""

    num_t_mask: int = 1
    num_f_mask: int = 1
    max_t: int = 10     # frames
    max_f: int = 8      # bins
    prob: float = 0.6   # share of the utterances

    def __post_init__(self):
        at_least(self, 0, "num_t_mask", "num_f_mask", "max_t", "max_f")
        fraction(self, "prob")


@dataclass(frozen=True)
class DatasetOptions(FrontendChoice):
    """`frontend` and its sections, which are `FrontendChoice`, and what follows."""

    sample_num_per_epoch: int = 0  # 0: as many as the training list has
    # levels like {column: corpus, weights: {a: 3, b: 1}}, {column: label}, {column: attack, temperature: 2}: how often
    # utterances come by their values in utt2<column> beside the training list, each level within the one before
    sampling: tuple[dict[str, object], ...] = ()
    shuffle: bool = True
    # block_shuffle_by_length: a batch has utterances of like length, for whole_utt, with less padding
    sampler: Literal["block_shuffle_by_length"] | None = None
    shuffle_args: ShuffleOptions = ShuffleOptions()
    filter: bool = False
    filter_args: FilterOptions = FilterOptions()
    resample_rate: int = 16000     # Hz; audio of other rates is resampled
    speed_perturb: bool = False
    num_frms: int = 150            # frames of a training crop
    random_crop: bool = True       # False: a crop is the beginning of its utterance
    eval_frms: int = 0             # frames that scoring hears, repeated where there are fewer; 0: whole utterances
    eval_max_frms: int = 0         # frames that scoring hears at most; 0: all
    trim_silence: bool = False     # cut silence out of every utterance and take 3 dB off, as SUPERB's speaker task does
    aug_prob: float = 0.0          # share of the utterances that get noise or reverberation, as ...
    noise_args: NoiseOptions = NoiseOptions()     # ... these say; their `prob` is a weight
    reverb_args: ReverbOptions = ReverbOptions()
    cmvn: bool = True
    cmvn_args: CmvnOptions = CmvnOptions()
    spec_aug: bool = False
    spec_aug_args: SpecAugOptions = SpecAugOptions()
    whole_utt: bool = False        # train on whole utterances instead of crops
    # memory: 16-bit recordings (WAV, FLAC ...) of the training and validation lists are decoded once and kept for all
    # workers and ranks of a machine, so that later epochs only cut; the samples are the same, bit by bit
    cache: Literal["none", "memory"] = "none"
    cache_gib: float = 16.0        # GiB a list may take on each machine; what does not fit is read from its file
    rawboost: bool = False
    rawboost_args: RawBoostOptions = RawBoostOptions()
    codec_aug: bool = False
    codec_aug_args: CodecOptions = CodecOptions()
    # steps like {type: noise, prob: 0.5}, in order, after those above
    augment: tuple[dict[str, object], ...] = field(default=(), metadata={"read": as_read})
    augment_whole: bool = False    # augment whole utterances and crop then, as SLS was trained; slower
    # where a crop's last filter is done (reverberation, RawBoost's filters, telephone, low_pass): by the workers (cpu),
    # or in whole batches where the model computes (device); auto: device on a GPU. The draws are the same
    augment_on: Literal["auto", "cpu", "device"] = "auto"

    def __post_init__(self):
        at_least(self, 0, "sample_num_per_epoch", "eval_frms", "eval_max_frms")
        at_least(self, 1000, "resample_rate")
        positive(self, "num_frms", "cache_gib")
        fraction(self, "aug_prob")
        if self.eval_frms and self.eval_max_frms:
            raise OptionError("eval_max_frms", f"eval_frms says already that scoring hears {self.eval_frms} frames")
        parse_steps(self.augment)
        parse_levels(self.sampling)

    @property
    def frontend_section(self) -> str:
        """The key of the options of the chosen front-end."""
        return f"{self.frontend}_args" if self.frontend in FRONTENDS.names() else "frontend_args"

    @property
    def frontend_options(self):
        """The options of the chosen front-end."""
        return getattr(self, self.frontend_section)

    def with_frontend_options(self, options) -> "DatasetOptions":
        """The same with other options of the chosen front-end."""
        changes: dict[str, Any] = {self.frontend_section: options}
        return replace(self, **changes)

    @property
    def pretrained_name(self) -> str | None:
        """The name of the pretrained model of the chosen front-end, where it has one."""
        options = self.frontend_options
        return options.upstream_args.name if isinstance(options, PretrainedOptions) else None

    def samples(self, frames: int) -> int:
        """How many audio samples a crop has of which the front-end makes so many frames.

        >>> DatasetOptions(frontend="ssl").samples(150), DatasetOptions(frontend="fbank").samples(200)
        (48000, 32240)
        """
        return self.span(frames - 1) + self._samples_in(self.frontend_options.frame_length) if frames else 0

    def frames(self, samples: int) -> int:
        """The fewest of which a crop has so many samples.

        >>> DatasetOptions(frontend="ssl").frames(64600), DatasetOptions(frontend="fbank").frames(32240)
        (202, 200)
        """
        return 1 + max(0, -((self._samples_in(self.frontend_options.frame_length) - samples) // self.span(1)))

    def span(self, frames: int) -> int:
        """How many audio samples lie between frames so far apart, by which utterances are filtered.

        >>> DatasetOptions(frontend="fbank").span(200)
        32000
        """
        return self._samples_in(frames * self.frontend_options.frame_shift)

    def _samples_in(self, milliseconds: float) -> int:
        return round(milliseconds * self.resample_rate / 1000)
