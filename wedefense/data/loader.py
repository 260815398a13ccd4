"""The loaders of training and evaluation: lists in, batches out."""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch

from wedefense.config.data import DataLoaderOptions, DatasetOptions
from wedefense.config.frontend import SHORTEST
from wedefense.config.sampling import parse_levels
from wedefense.data.augment.later import SPARE
from wedefense.data.augment.on_device import finished
from wedefense.data.batch import Batch
from wedefense.data.catalogue import Catalogue, label_ids
from wedefense.data.dataset import Crop, EvalDataset, EvalPart, Failure, TrainDataset
from wedefense.data.decoded import DecodedSource
from wedefense.data.drawing import Drawing, read_column
from wedefense.data.sampler import TrainSampler, length_batches
from wedefense.data.shared_buffers import Parcel, Ring
from wedefense.data.sources import Source, open_source
from wedefense.utils.distributed import before_fork
from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few

log = get_logger()

_USUAL_SECONDS = 20  # of whole utterances in training


class TrainLoader:
    """Batches of one rank, epoch after epoch; `labels` are the ids, `label_counts` how often each comes, which are the
    priors that training sees."""

    def __init__(self, dataset: TrainDataset, sampler: TrainSampler, options: DataLoaderOptions, samples: int,
                 labels: Mapping[str, int], label_counts: Mapping[str, int]):
        """`samples`: of a batch, at most or nearly always."""
        self.labels, self.label_counts = labels, label_counts
        self.steps_per_epoch = sampler.steps
        self._sampler, self._source = sampler, dataset.source
        self._batches = _Batches(dataset, sampler, options, samples, persistent=True)

    @property
    def has_spans(self) -> bool:
        """Whether the list says of any utterance where it is fake."""
        return self._source.marked is not None

    @property
    def entries(self) -> Catalogue:
        """The utterances that it draws from, of every rank."""
        return self._source.entries

    def set_epoch(self, epoch: int, start_step: int = 0) -> None:
        """Choose the epoch that the next iteration gives, and how many of its steps to pass over."""
        self._sampler.set_epoch(epoch, start_step)

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Batch]:
        return self._epoch(map(finished, self._batches))

    def lent(self) -> Iterator[Batch]:
        """As iterating gives them, in page-locked memory that is good until the second batch after is asked for.

        What a batch has for `later` is for the device to do.
        """
        return self._epoch(self._batches.lent())

    def _epoch(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        yield from batches
        _report(self._source)
        if self._sampler.drawing is not None:
            log.info("%s", self._sampler.summary())


class EvalLoader:
    """Every utterance of this rank's share once, in batches of like length, longest first.

    `skipped` holds (key, reason) of what the last iteration left out.
    """

    def __init__(self, dataset: EvalDataset, batches: list[list[int]], options: DataLoaderOptions, samples: int,
                 seconds: float):
        """`samples`: of a batch, at most or nearly always; `seconds`: of audio, on this rank."""
        self.seconds = seconds
        self.skipped: list[tuple[str, str]] = []
        self._dataset, self._lists, self._options, self._samples = dataset, batches, options, samples

    @property
    def label_counts(self) -> dict[str | None, int]:
        """The utterances of each label; those without one under None."""
        entries = self._dataset.source.entries
        labelled = entries.label_counts()
        counts: dict[str | None, int] = {label: count for label, count in labelled.items() if count}
        without = len(entries) - sum(labelled.values())
        return counts | {None: without} if without else counts

    @property
    def has_spans(self) -> bool:
        """Whether the list says of any utterance where it is fake."""
        return self._dataset.source.marked is not None

    @property
    def entries(self) -> Catalogue:
        """The utterances of every rank."""
        return self._dataset.source.entries

    def __len__(self) -> int:
        return len(self._lists)

    def __iter__(self) -> Iterator[Batch]:
        return self._usable(iter(self._batches()))

    def lent(self) -> Iterator[Batch]:
        """As iterating gives them, in page-locked memory that is good until the second batch after is asked for."""
        return self._usable(self._batches().lent())

    def _batches(self) -> "_Batches":
        return _Batches(self._dataset, self._lists, self._options, self._samples, persistent=False)

    def _usable(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        self.skipped = []
        for batch in batches:
            self.skipped += batch.skipped
            if len(batch):
                yield batch
        if self.skipped:
            log.warning("left out %d utterances: %s", len(self.skipped),
                        first_few(f"{key}: {reason}" for key, reason in self.skipped))
        _report(self._dataset.source)


def train_loader(list_path: str | os.PathLike, data_type: str, dataset_options: DatasetOptions,
                 loader_options: DataLoaderOptions, labels: Mapping[str, int] | None = None, seed: int = 0,
                 rank: int = 0, world_size: int = 1, pipeline=None,
                 label_table: str | os.PathLike | None = None) -> TrainLoader:
    """Random crops (or whole utterances), `floor(floor(N / world_size) / batch_size)` batches an epoch.

    `labels`: label -> id, by default the list's own labels in sorted order. `label_table`: a table
    `KEY LABEL` that replaces the labels of the list. `pipeline`: augmentation, a
    `wedefense.data.augment.pipeline.Pipeline`.
    """
    source = labelled_source(list_path, data_type, label_table, dataset_options.trim_silence)
    labels = label_ids(source.entries.label_names) if labels is None else labels
    ids = source.entries.label_ids(labels)
    crop = _crop(dataset_options)
    kept = _long_enough(source, crop)
    if not loader_options.drop_last:
        log.warning("dataloader_args.drop_last: False changes nothing: an epoch is made of full batches")
    lengths = None
    if dataset_options.sampler == "block_shuffle_by_length":
        source.fill_durations()
        lengths = source.entries.durations[kept]
    drawing = _drawing(source, kept, dataset_options, seed)
    sampler = TrainSampler(
        kept, dataset_options.sample_num_per_epoch or len(source), loader_options.batch_size, rank=rank,
        world_size=world_size, seed=seed, shuffle=dataset_options.shuffle,
        groups=None if source.groups is None else source.groups[kept],
        window=dataset_options.shuffle_args.shuffle_size, lengths=lengths, drawing=drawing)
    counts = drawn_labels(drawing, source, kept, sampler.count) if drawing else source.entries.label_counts(kept)
    counts = {label: max(1, count) for label, count in counts.items()}  # a class that never comes has a prior too
    source = _cached(source, dataset_options, loader_options)
    dataset = TrainDataset(source, ids, crop, seed, pipeline, substitutes=kept, num_classes=len(labels))
    usual_length = crop.length or crop.longest or _USUAL_SECONDS * crop.rate
    if dataset.leaves_endings:
        usual_length += usual_length + SPARE
    return TrainLoader(dataset, sampler, loader_options, usual_length * loader_options.batch_size, labels, counts)


def eval_loader(list_path: str | os.PathLike, data_type: str, dataset_options: DatasetOptions,
                loader_options: DataLoaderOptions, labels: Mapping[str, int] | None = None, rank: int = 0,
                world_size: int = 1, skip_bad: bool = False, label_table: str | os.PathLike | None = None,
                min_samples: int = SHORTEST, max_seconds: float = 320.0, again: bool = False) -> EvalLoader:
    """Utterances (as `eval_frms` says) without augmentation, each exactly once over the ranks.

    A label that `labels` lacks has the id -1. Utterances under `min_samples` are repeated up to it;
    a batch holds at most `max_seconds` of audio with its padding. `again`: the loader will be iterated
    many times, so that `cache` applies.
    """
    source = labelled_source(list_path, data_type, label_table, dataset_options.trim_silence)
    source.fill_durations()
    ids = source.entries.label_ids(labels or {}, strict=False)
    part = _eval_part(dataset_options)
    durations = source.entries.durations
    if part.fixed:
        durations = np.full(len(source), part.fixed / dataset_options.resample_rate)
    elif part.longest:
        durations = np.minimum(durations, part.longest / dataset_options.resample_rate)
    batches = length_batches(durations, loader_options.batch_size, max_seconds, rank=rank, world_size=world_size)
    if again:
        source = _cached(source, dataset_options, loader_options)
    dataset = EvalDataset(source, ids, dataset_options.resample_rate, min_samples, skip_bad, part)
    seconds = float(sum(durations[batch].sum() for batch in batches))
    return EvalLoader(dataset, batches, replace(loader_options, prefetch_factor=min(2, loader_options.prefetch_factor)),
                      int(max_seconds * dataset_options.resample_rate), seconds)


def _drawing(source: Source, kept: np.ndarray, options: DatasetOptions, seed: int) -> Drawing | None:
    levels = parse_levels(options.sampling)
    if not levels:
        return None
    return Drawing([read_column(level.column, source.entries, kept) for level in levels], levels, seed)


def drawn_labels(drawing: Drawing, source: Source, kept: np.ndarray, count: int) -> dict[str, int]:
    """How often each label is drawn in an epoch, on average: these are the priors that training sees."""
    shares = drawing.expected(read_column("label", source.entries, kept))
    return {label: round(shares.get(label, 0.0) * count) for label in source.entries.label_names}


def labelled_source(list_path, data_type: str, label_table, trimmed: bool = False) -> Source:
    source = open_source(list_path, data_type)
    if trimmed and source.marked is not None:
        raise InputError(f"{list_path}: has spans, which dataset_args.trim_silence would cut loose from their audio; "
                         "turn it off, or make the list from a data folder without `segments`")
    if label_table is not None:
        source.entries.relabel(label_table)
    return source


def _cached(source: Source, options: DatasetOptions, loader_options: DataLoaderOptions) -> Source:
    if options.cache == "none":
        return source
    if loader_options.num_workers and multiprocessing.get_start_method() != "fork":
        log.warning("dataset_args.cache: on this system workers do not share memory; nothing is kept")
        return source
    return DecodedSource(source, options.cache_gib)


def _report(source: Source) -> None:
    if isinstance(source, DecodedSource):
        source.report()


def _crop(options: DatasetOptions) -> Crop:
    length = None if options.whole_utt else options.samples(options.num_frms)
    crop = Crop(options.resample_rate, length, random=options.random_crop, trimmed=options.trim_silence,
                augmented=options.augment_whole)
    if not options.filter:
        return crop
    return replace(crop, shortest=options.span(options.filter_args.min_num_frames),
                   longest=options.span(options.filter_args.max_num_frames))


def _eval_part(options: DatasetOptions) -> EvalPart:
    return EvalPart(options.samples(options.eval_frms), options.samples(options.eval_max_frms), options.trim_silence)


def _long_enough(source: Source, crop: Crop) -> np.ndarray:
    """Indices of the utterances that pass the length filter, as far as the list tells their durations."""
    too_short = np.round(source.entries.durations * crop.rate) < crop.shortest
    if too_short.all():
        raise InputError(f"{source.entries.origin}: all {len(source)} utterances are shorter than "
                         f"dataset_args.filter_args.min_num_frames ({crop.shortest / crop.rate:.2f} s); lower it")
    if too_short.any():
        log.info("%s: %d of %d utterances are shorter than %.2f s and left out", source.entries.origin,
                 too_short.sum(), len(source), crop.shortest / crop.rate)
    return np.flatnonzero(~too_short)


class _Batches:
    """A DataLoader whose workers hand over audio in a ring of buffers, and failures as messages."""

    def __init__(self, dataset, batches, options: DataLoaderOptions, samples: int, persistent: bool):
        workers = options.num_workers
        self._pin_memory = options.pin_memory and torch.cuda.is_available()
        self._ring = dataset.ring = Ring(workers, options.prefetch_factor, samples, lends=self._pin_memory)
        self._loader = torch.utils.data.DataLoader(
            dataset, batch_sampler=batches, num_workers=workers, collate_fn=self._ring.pack,
            worker_init_fn=_start_worker, prefetch_factor=options.prefetch_factor if workers else None,
            persistent_workers=persistent and workers > 0,
            generator=torch.Generator())  # its own, so that iterating draws nothing from the global one

    def __iter__(self) -> Iterator[Batch]:
        return map(self._ring.unpack, self._parcels())

    def lent(self) -> Iterator[Batch]:
        """Batches for a device, page-locked unless `pin_memory` is off."""
        if not self._pin_memory:
            yield from self
            return
        for parcel in self._parcels():
            self._ring.lock()  # the workers run by now; the first call does it
            yield self._ring.lend(parcel)

    def _parcels(self) -> Iterator[Batch | Parcel]:
        """What the workers hand over; a failure is raised."""
        if self._loader.num_workers and self._loader._iterator is None:
            before_fork()
        failure = None
        for parcel in self._loader:
            if isinstance(parcel, Failure):
                failure = parcel
                break
            yield parcel
        if failure:
            self._loader._iterator = None  # ends the workers now; left to the garbage collector it can take 10 s
            raise InputError(failure.message)


def _start_worker(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's; it ends the workers
    torch.set_num_threads(1)
    for library in ("OMP", "MKL", "OPENBLAS"):
        os.environ[f"{library}_NUM_THREADS"] = "1"
