"""Augmentation of training audio: typed steps in order, each with its probability.

The same random generator gives the same samples, whoever runs it: a pipeline keeps no state
between utterances, and each worker process opens its own files.
"""

import dataclasses

import numpy as np

from wedefense.config.augment import SPEEDS, STEPS, AugmentOptions, OneOfOptions, Setting, Step
from wedefense.data.augment.codecs import Codec
from wedefense.data.augment.endings import Ending, EndsInFilter, begin


def build_step(step: Step, setting: Setting):
    """The callable `(wav, rng) -> wav` of one step."""
    return STEPS.load(step.type)(step.options, setting)


class OneOf(EndsInFilter):
    """One of several steps; their probabilities are the weights."""

    def __init__(self, options: OneOfOptions, setting: Setting):
        steps = options.parsed()
        self._steps = [build_step(step, setting) for step in steps]
        weights = np.array([step.options.prob for step in steps])
        self._cumulative = np.cumsum(weights) / weights.sum()

    def begin(self, wav: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Ending | None]:
        chosen = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
        return begin(self._steps[min(chosen, len(self._steps) - 1)], wav, rng)


class Pipeline:
    """`speed` before the crop, the call after it; evaluation has none."""

    def __init__(self, options: AugmentOptions, sample_rate: int, keep_label_on_speed: bool = True,
                 on_device: bool = False):
        """`on_device`: whether a loader leaves the filters that come last to the device."""
        setting = Setting(sample_rate, options.reverb_data, options.noise_data)
        self.steps = [(step, build_step(step, setting)) for step in options.steps]
        self.sample_rate, self.on_device = sample_rate, on_device
        self._speeds = SPEEDS if options.speed_perturb else (1.0,)
        self._keep_label = keep_label_on_speed

    @classmethod
    def from_options(cls, dataset_options, sample_rate: int, reverb_data: str | None = None,
                     noise_data: str | None = None, keep_label_on_speed: bool = True,
                     device: str = "cpu") -> "Pipeline | None":
        """What `dataset_args` and the paths beside it switch on; None when that is nothing.

        `device`: the type of the one that trains, for `augment_on: auto`.

        >>> from wedefense.config.data import DatasetOptions
        >>> pipeline = Pipeline.from_options(DatasetOptions(rawboost=True), 16000)
        >>> pipeline(np.zeros(16000, np.float32), np.random.default_rng(0)).shape
        (16000,)
        """
        options = AugmentOptions.gather(dataset_options, reverb_data, noise_data)
        if not options.steps and not options.speed_perturb:
            return None
        on_device = dataset_options.augment_on == "device" or (dataset_options.augment_on, device) == ("auto", "cuda")
        return cls(options, sample_rate, keep_label_on_speed, on_device)

    def speed(self, rng: np.random.Generator) -> float:
        """How much faster than recorded the utterance is to be played: 1.0, 0.9 or 1.1."""
        return self._speeds[int(rng.integers(len(self._speeds)))]

    def speed_index(self, factor: float) -> int:
        return SPEEDS.index(factor)

    def speed_label(self, label: int, factor: float, num_classes: int) -> int:
        """The label at that speed: `label + num_classes * speed_index` where every speed is a speaker of its own."""
        return label if self._keep_label else label + num_classes * self.speed_index(factor)

    def num_classes(self, num_classes: int) -> int:
        """How many classes there are with the speeds."""
        return num_classes if self._keep_label else num_classes * len(self._speeds)

    def __call__(self, wav: np.ndarray, rng: np.random.Generator, ran: list[Step] | None = None) -> np.ndarray:
        """(samples,) float32 -> (samples,) float32; the input is left as it is. The steps drawn are added to `ran`."""
        begun, ending = self.begin(wav, rng, ran)
        return begun if ending is None else ending(begun).astype(np.float32, copy=False)

    def begin(self, wav: np.ndarray, rng: np.random.Generator,
              ran: list[Step] | None = None) -> tuple[np.ndarray, Ending | None]:
        """As the call, up to the filter that comes last, if one does; that is given back, to be done elsewhere."""
        augmented, ending = wav, None
        for step, run in self.steps:
            if rng.random() < step.options.prob:
                if ending is not None:
                    augmented = ending(augmented)
                augmented, ending = begin(run, augmented, rng)
                if ran is not None:
                    ran.append(_as_it_ran(step, run))
        assert augmented.shape == wav.shape, (augmented.shape, wav.shape)
        return augmented.astype(np.float32, copy=False), ending


def _as_it_ran(step: Step, run) -> Step:
    """A codec step with the codec that was drawn."""
    if not isinstance(run, Codec):
        return step
    return Step(step.type, dataclasses.replace(step.options, codecs=(run.drawn,)))
