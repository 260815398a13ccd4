"""What training hears, for a person to hear and see: each step alone, then the whole pipeline in several epochs."""

import dataclasses
import os
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from wedefense.config.augment import AugmentOptions, Step
from wedefense.config.schema import Config
from wedefense.data.audio import BadAudio, open_audio, read_span, resample
from wedefense.data.augment.codecs import Codec
from wedefense.data.augment.pipeline import Pipeline
from wedefense.utils.errors import InputError
from wedefense.utils.random import generator

_COLUMNS = 3
_RANGE = 70      # dB that the spectrograms show
_WINDOW = 0.025  # seconds


class Example(NamedTuple):
    name: str
    wav: np.ndarray
    note: str = ""


def read_example(path: str | os.PathLike, sample_rate: int) -> np.ndarray:
    """(samples,) of a whole recording at `sample_rate`."""
    try:
        with open_audio(os.fspath(path)) as sound:
            return read_span(sound, Fraction(sample_rate, sound.samplerate))
    except BadAudio as error:
        raise InputError(f"{path}: {error}") from None


def make_examples(config: Config, wav: np.ndarray, key: str, epochs: int) -> list[Example]:
    """The original, each step at work on it, both speeds, and what `epochs` epochs would make of it."""
    data = config.dataset_args
    options = AugmentOptions.gather(data, config.reverb_data, config.noise_data)
    pipeline = Pipeline.from_options(data, data.resample_rate, config.reverb_data, config.noise_data)
    if pipeline is None:
        raise InputError("this config switches no augmentation on: set dataset_args.aug_prob, rawboost, codec_aug, "
                         "speed_perturb or augment")
    examples = [Example("original", wav)]
    for step in (variant for own in options.steps for variant in _variants(own, data.resample_rate)):
        certain = Step(step.type, dataclasses.replace(step.options, prob=1.0))
        alone = Pipeline(dataclasses.replace(options, steps=(certain,)), data.resample_rate)
        examples.append(Example(_name(step), alone(wav, generator(config.seed, 0, f"{key} {_name(step)}"))))
    if data.speed_perturb:
        examples += [Example(f"speed {speed}", _played(wav, speed)) for speed in (0.9, 1.1)]
    for epoch in range(1, epochs + 1):
        rng = generator(config.seed, epoch, key)
        ran: list[Step] = []
        speed = pipeline.speed(rng)
        augmented = pipeline(_played(wav, speed), rng, ran)
        examples.append(Example(f"epoch {epoch}", augmented, ", ".join([f"speed {speed}", *map(_name, ran)])))
    return examples


def _variants(step: Step, sample_rate: int) -> list[Step]:
    """A step that chooses, as all that it chooses from."""
    if step.type == "one_of":
        return [variant for inner in step.options.parsed() for variant in _variants(inner, sample_rate)]
    if step.type == "codec":
        names = Codec.usable(step.options)
        return [Step("codec", dataclasses.replace(step.options, codecs=(name,))) for name in names]
    return [step]


def _name(step: Step) -> str:
    if step.type == "rawboost":
        return f"rawboost {step.options.algo}"
    if step.type == "one_of":
        return " or ".join(map(_name, step.options.parsed()))
    return " ".join([step.type, *step.options.codecs[:1]]) if step.type == "codec" else step.type


def _played(wav: np.ndarray, speed: float) -> np.ndarray:
    return resample(wav, 1 / Fraction(speed).limit_denominator(100))


def write_examples(examples: list[Example], folder: str | os.PathLike, sample_rate: int) -> list[Path]:
    """A wav file each, numbered, and `sheet.png` with their spectrograms; returns the paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:02d}_{name.replace(' ', '_')}.wav" for number, (name, *_) in enumerate(examples)]
    for path, (_, wav, _) in zip(paths, examples):
        soundfile.write(path, wav, sample_rate, subtype="PCM_16")
    paths.append(folder / "sheet.png")
    spectrogram_sheet(examples, sample_rate).savefig(paths[-1])
    return paths


def spectrogram_sheet(examples: list[Example], sample_rate: int):
    """A matplotlib Figure: one spectrogram each, on the original's scale of level."""
    from matplotlib.figure import Figure

    rows = -(-len(examples) // _COLUMNS)
    # inches; the panels are placed by hand, a layout takes seconds
    width, height = 4.4 * _COLUMNS + 1.3, 2.1 * rows + 0.7
    figure = Figure(figsize=(width, height), dpi=100)
    place = dict(left=0.6 / width, right=1 - 0.9 / width, bottom=0.55 / height, top=1 - 0.3 / height,
                 hspace=0.22, wspace=0.05)
    panels = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False, gridspec_kw=place)
    levels = [_decibels(wav, sample_rate) for _, wav, _ in examples]
    top = levels[0].max()
    for axes, (name, wav, note), level in zip(panels.flat, examples, levels):
        image = axes.imshow(level.T, origin="lower", aspect="auto", cmap="magma", vmin=top - _RANGE, vmax=top,
                            extent=(0, len(wav) / sample_rate, 0, sample_rate / 2000))
        axes.set_title(f"{name}: {note}" if note else name, fontsize=9)
    panels[0, 0].set_xlim(0, max(len(wav) for _, wav, _ in examples) / sample_rate)
    for axes in panels.flat[len(examples):]:
        axes.axis("off")
    for axes in panels.flat[max(0, len(examples) - _COLUMNS):len(examples)]:  # the lowest of each column
        axes.tick_params(labelbottom=True)
    figure.supxlabel("seconds", fontsize=9, y=0.1 / height)
    figure.supylabel("kHz", fontsize=9, x=0.1 / width)
    bar = figure.add_axes((1 - 0.75 / width, 1 - 2 / height, 0.15 / width, 1.7 / height))
    figure.colorbar(image, cax=bar, label="dB")
    return figure


def _decibels(wav: np.ndarray, sample_rate: int) -> np.ndarray:
    """(frames, bins) level of Hann-windowed frames, every quarter of a window."""
    size = int(_WINDOW * sample_rate)
    wav = np.pad(wav, (0, max(0, size - len(wav))))
    frames = np.lib.stride_tricks.sliding_window_view(wav, size)[::size // 4]
    return 20 * np.log10(np.abs(np.fft.rfft(frames * np.hanning(size), 2 * size)) + 1e-7)
