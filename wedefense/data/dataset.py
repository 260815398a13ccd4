"""From an index to audio: training crops and whole utterances, a batch at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wedefense.data.audio import BadAudio, fill, rate_ratio, read_span, resampled_length
from wedefense.data.augment.endings import Ending
from wedefense.data.augment.later import layout, pack
from wedefense.data.batch import Batch
from wedefense.data.sampler import Item
from wedefense.data.shared_buffers import Ring
from wedefense.data.silence import trim
from wedefense.data.sources import Source
from wedefense.data.span_crops import Cut, cut_spans
from wedefense.utils.random import generator

_BAD_IN_A_ROW = 10     # substitutes tried before the list as a whole is given up
_SHORT_IN_A_ROW = 1000


@dataclass(frozen=True)
class Failure:
    """Sent from a worker in place of a batch; the loader raises it as an `InputError`."""

    message: str


@dataclass(frozen=True)
class Crop:
    """How much of an utterance a training item takes, in samples at `rate`."""

    rate: int
    length: int | None          # None: all of it
    shortest: int = 1           # shorter utterances are not used
    longest: int | None = None  # longer ones are first cut to this
    random: bool = True         # where to cut; False: at the beginning
    trimmed: bool = False       # silence is cut out before
    augmented: bool = False     # what is cut has been augmented as a whole

    def span(self, samples: int, speed: float, rng: np.random.Generator) -> Cut:
        """Which of an utterance's samples, played at `speed`, it takes; `longest` counts them as recorded."""
        start, length = 0, samples
        for most in (self.longest and round(self.longest / speed), self.length):
            room, length = length, min(length, most or length)
            start += int(rng.integers(room - length + 1)) if self.random else 0
        return Cut(start, length, speed)

    def of(self, wav: np.ndarray, cut: Cut) -> np.ndarray:
        """(samples,) of a whole utterance, repeated where they are too few."""
        wav = wav[cut.start:cut.start + cut.length]
        return wav if self.length is None else fill(wav, self.length)


class _TooShort(Exception):
    """The utterance is under the length filter, which only its file could tell."""


class _NothingUsable(Exception):
    """One utterance after another could not be used; the message says why."""


class TrainDataset(torch.utils.data.Dataset):
    """Crops with augmentation; the same (epoch, index, occurrence) gives the same samples everywhere."""

    ring = Ring(0, 0, 0)  # the loader's own, once there is one

    def __init__(self, source: Source, labels: np.ndarray, crop: Crop, seed: int, pipeline=None,
                 substitutes: np.ndarray | None = None, num_classes: int = 0):
        """`labels`: (utterances,) ids, of `num_classes` (which a pipeline that makes new speakers by speed asks for);
        `substitutes`: who may stand in for an unusable utterance, by default all.
        """
        self.source, self.labels, self._crop, self.rate = source, labels, crop, crop.rate
        self._seed, self._pipeline, self._num_classes = seed, pipeline, num_classes
        self._substitutes = np.arange(len(source)) if substitutes is None else substitutes
        self.leaves_endings = (pipeline is not None and pipeline.on_device and crop.length is not None
                               and not crop.augmented)

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, items: Sequence[Item]) -> Batch | Failure:
        skipped: list[tuple[str, str]] = []
        try:
            if self._crop.length is None:
                usable = [self._usable(item, skipped) for item in items]
                places, classes, wavs, _, parts = zip(*usable)
                return _padded(self, places, classes, wavs, skipped, parts)
            wav = self.ring.empty(len(items), self._crop.length)
            indices, labels, endings, cuts = [], [], [], []
            for row, item in zip(wav.numpy(), items):
                index, label, samples, ending, cut = self._usable(item, skipped, row)
                if samples is not row:
                    row[:] = samples
                indices.append(index)
                labels.append(label)
                endings.append(ending)
                cuts.append(cut)
            lengths = torch.full((len(items),), self._crop.length)
            later = pack(endings, self._crop.length, self.ring.behind)
            return _batch(self, indices, labels, wav, lengths, skipped, cuts, later)
        except _NothingUsable as error:
            return Failure(str(error))

    def _usable(self, item: Item, skipped: list,
                row: np.ndarray | None = None) -> tuple[int, int, np.ndarray, Ending | None, Cut]:
        """Index, label, samples, the filter they lack and where they lie, of the utterance or the first usable of its
        substitutes.

        The samples may be written to `row`, which is then what comes back.
        """
        epoch, index, occurrence = item
        first_key = key = self.source.entries.keys[index]
        rng = generator(self._seed, epoch, key, occurrence)
        draw, bad, short = None, 0, 0
        while True:
            try:
                speed = self._pipeline.speed(rng) if self._pipeline else 1.0
                return index, self._label(index, speed), *self._heard(index, speed, rng, row)
            except BadAudio as error:
                skipped.append((key, str(error)))
                bad += 1
            except _TooShort:
                short += 1
            if bad == _BAD_IN_A_ROW:
                key, reason = skipped[-bad]
                raise _NothingUsable(f"{self.source.entries.origin}: {bad} utterances in a row cannot be used; "
                                     f"the first: {key}: {reason}")
            if short == _SHORT_IN_A_ROW:
                raise _NothingUsable(f"{self.source.entries.origin}: {short} utterances in a row are shorter than "
                                     f"dataset_args.filter_args.min_num_frames; lower it")
            draw = draw or generator(self._seed, epoch, f"{first_key} substitute", occurrence)
            index = int(draw.choice(self._substitutes))
            key = self.source.entries.keys[index]
            rng = generator(self._seed, epoch, f"{key} for {first_key}", occurrence)

    def _label(self, index: int, speed: float) -> int:
        label = int(self.labels[index])
        return label if speed == 1.0 else self._pipeline.speed_label(label, speed, self._num_classes)

    def _heard(self, index: int, speed: float, rng: np.random.Generator,
               row: np.ndarray | None) -> tuple[np.ndarray, Ending | None, Cut]:
        """The samples of an item, the filter they lack, and where they lie in the recording."""
        if not (self._crop.trimmed or self._crop.augmented):
            wav, cut = self._samples(index, speed, rng, row)
            return *self._augmented(wav, rng), cut
        whole = self._whole(index, speed)
        if self._crop.augmented:
            whole = self._augmented(whole, rng)[0]
        cut = self._crop.span(len(whole), speed, rng)
        wav = self._crop.of(whole, cut)
        return (wav, None, cut) if self._crop.augmented else (*self._augmented(wav, rng), cut)

    def _whole(self, index: int, speed: float) -> np.ndarray:
        """(samples,) of an utterance."""
        with self.source.open(index) as sound:
            wav = read_span(sound, rate_ratio(sound.samplerate, self._crop.rate, speed))
        if self._crop.trimmed:
            wav = trim(wav, self._crop.rate)
        if len(wav) * speed < self._crop.shortest or not len(wav):
            raise _TooShort
        return wav

    def _samples(self, index: int, speed: float, rng: np.random.Generator,
                 row: np.ndarray | None) -> tuple[np.ndarray, Cut]:
        """(samples,) float32: a crop, repeated where it is short, and where it lies."""
        crop = self._crop
        with self.source.open(index) as sound:
            if resampled_length(sound.frames, rate_ratio(sound.samplerate, crop.rate)) < crop.shortest:
                raise _TooShort
            ratio = rate_ratio(sound.samplerate, crop.rate, speed)
            cut = crop.span(resampled_length(sound.frames, ratio), speed, rng)
            wav = read_span(sound, ratio, cut.start, cut.length, row)
        return wav if crop.length is None else fill(wav, crop.length), cut

    def _augmented(self, wav: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Ending | None]:
        if not self.leaves_endings:
            return self._pipeline(wav, rng) if self._pipeline else wav, None
        wav, ending = self._pipeline.begin(wav, rng)
        if ending is not None and layout(ending, len(wav)) is None:
            return ending(wav), None
        return wav, ending


@dataclass(frozen=True)
class EvalPart:
    """What scoring hears of an utterance, in samples; 0: all of it."""

    fixed: int = 0         # no less: repeated up to it, and no more
    longest: int = 0       # no more
    trimmed: bool = False  # silence is cut out before

    @property
    def most(self) -> int:
        return self.fixed or self.longest


class EvalDataset(torch.utils.data.Dataset):
    """Utterances at `rate`, or the part of them that is wanted, one padded batch for each list of indices.

    What has less than `min_samples`, or than a part of fixed length, is repeated.
    """

    ring = Ring(0, 0, 0)

    def __init__(self, source: Source, labels: np.ndarray, rate: int, min_samples: int, skip_bad: bool,
                 part: EvalPart = EvalPart()):
        self.source, self.labels = source, labels
        self.rate, self._skip_bad = rate, skip_bad
        self._least, self._part = max(part.fixed, min_samples), part

    def __len__(self) -> int:
        return len(self.source)

    def __getitems__(self, indices: Sequence[int]) -> Batch | Failure:
        read, wavs, skipped, cuts = [], [], [], []
        for index in indices:
            try:
                wav = self._read(index)
            except BadAudio as error:
                key = self.source.entries.keys[index]
                if not self._skip_bad:
                    return Failure(f"{self.source.entries.origin}: {key}: {error}; mend it, or pass --skip_bad "
                                   f"to leave such utterances out")
                skipped.append((key, str(error)))
                continue
            read.append(index)
            wavs.append(fill(wav, self._least))
            cuts.append(Cut(0, len(wav)))
        return _padded(self, read, self.labels[read], wavs, skipped, cuts)


    def _read(self, index: int) -> np.ndarray:
        with self.source.open(index) as sound:
            ratio = rate_ratio(sound.samplerate, self.rate)
            if self._part.trimmed:
                wav = trim(read_span(sound, ratio), self.rate)
                if not len(wav):
                    raise BadAudio("nothing but silence, and dataset_args.trim_silence is on")
                return wav[:self._part.most or len(wav)]
            room = resampled_length(sound.frames, ratio)
            return read_span(sound, ratio, 0, min(room, self._part.most or room))


def _padded(dataset, indices, labels, wavs, skipped, cuts) -> Batch:
    lengths = torch.tensor([len(wav) for wav in wavs], dtype=torch.int64)
    batch = dataset.ring.empty(len(wavs), int(lengths.max()) if len(wavs) else 0)
    for row, wav in zip(batch.numpy(), wavs):
        row[:len(wav)] = wav
        row[len(wav):] = 0
    return _batch(dataset, indices, labels, batch, lengths, skipped, cuts)


def _batch(dataset, indices, labels, wav, lengths, skipped, cuts, later=None) -> Batch:
    keys = [dataset.source.entries.keys[i] for i in indices]
    spans = None
    if dataset.source.marked is not None:
        spans = [found and cut_spans(found, cut, dataset.rate, samples) for found, cut, samples in
                 zip(map(dataset.source.spans, indices), cuts, lengths.tolist())]
    return Batch(keys, wav, lengths, torch.tensor(labels, dtype=torch.int64), skipped, later, spans)
