"""One training run: from a config to a trained experiment folder."""

from dataclasses import replace

import numpy as np
import torch

from wedefense.config.heads import LOSSES
from wedefense.config.loader import save_config
from wedefense.config.schema import Config
from wedefense.data.catalogue import label_ids
from wedefense.data.labels import Labels
from wedefense.data.loader import TrainLoader, eval_loader, train_loader
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.record import Step
from wedefense.experiment.resume import checkpoint_to_take, settle
from wedefense.frontend.ssl.architecture import Architecture
from wedefense.metrics.catalogue import needs_validation
from wedefense.models.cache import FeatureCache
from wedefense.models.detector import build_detector
from wedefense.models.losses import CrossEntropyLoss
from wedefense.train.agreement import require_agreement
from wedefense.train.localization import check_data
from wedefense.train.loggers import logger_class
from wedefense.train.modes import build_mode
from wedefense.train.summary import describe
from wedefense.train.trainer import Trainer
from wedefense.train.transfer import initialised
from wedefense.train.validate import Validator, check_labels
from wedefense.utils import distributed
from wedefense.utils.distributed import World
from wedefense.utils.errors import InputError, OptionError
from wedefense.utils.files import require_writable
from wedefense.utils.host_memory import keep_freed_memory
from wedefense.utils.log import get_logger, setup_logging
from wedefense.utils.owner import owned
from wedefense.utils.tables import read_table

log = get_logger()

FEW_CLASSES = 20  # whose utterances are told one by one


def train(config: Config, device: str = "auto") -> None:
    """Train (or go on training) the experiment of `config` on this rank."""
    folder = ExperimentFolder(config.exp_dir)
    require_writable(folder.log, folder.history, folder.last, folder.tensorboard / "events")
    for name in config.loggers:
        logger_class(name)
    world = distributed.start(config.gpus, device, config.deterministic)
    setup_logging(rank=world.rank)
    if world.device.type == "cpu":
        keep_freed_memory()
    try:
        if world.size < (ranks := len(config.gpus)):  # a step would see fewer utterances than the config says
            raise InputError(f"gpus: {list(config.gpus)} are {ranks} ranks, but {world.size} started; run.sh starts "
                             f"all, as does `torchrun --standalone --nproc_per_node {ranks} -m wedefense.bin.train` "
                             f"with these options. On one rank: --gpus '[{config.gpus[0]}]'")
        with owned(folder, world.rank, distributed.gather):
            config = replace(config, checkpoint=distributed.gather(checkpoint_to_take(config))[0])
            record = _settled(config, world)
            _train(config, world, folder, record)
    finally:
        distributed.stop()


def _settled(config: Config, world: World) -> Step | None:
    """What rank 0 found in the records, or its refusal, on every rank."""
    found: Step | InputError | None
    try:
        found = settle(config, world.size) if world.is_main else None
    except InputError as error:
        found = error
    found = distributed.gather(found)[0]
    if isinstance(found, InputError):
        raise found
    return found


def _train(config, world: World, folder: ExperimentFolder, record: Step | None) -> None:
    """`record` is written once everything else was checked, and with it what describes the experiment."""
    if record is not None:
        folder.models.mkdir(parents=True, exist_ok=True)
        setup_logging(folder.log, world.rank)
    try:
        trainer = build_trainer(config, world)
        trainer.resume()
        if world.is_main and record is not None:
            replace(record, told={**record.told, "trained_on": _contents(trainer.loader)}).write()
            save_config(config, folder.config)
        trainer.fit()
    except InputError as error:
        log.error("%s", error)  # in the file too
        raise


def _contents(loader: TrainLoader) -> dict:
    """What the training list holds, for whoever reads of the results."""
    seconds, counts = loader.entries.durations, {label: count for label, count in loader.label_counts.items() if count}
    found: dict = {"utterances": sum(counts.values()), "classes": len(counts)}
    if not np.isnan(seconds).any():
        found["hours"] = round(float(np.sum(seconds)) / 3600, 4)
    return found | ({"by_class": counts} if len(counts) <= FEW_CLASSES else {})


def build_trainer(config: Config, world: World, architecture: Architecture | None = None) -> Trainer:
    """Data, detector, mode and loop, as the config describes them.

    With `architecture` the encoder is one of random weights; no pretrained file is read.
    """
    if not config.train_data:
        raise InputError("train_data: no training list given; use --train_data data/train/raw.list")
    data = (config.dataset_args, config.dataloader_args)
    pipeline = _pipeline(config, world.device.type)
    loader = train_loader(
        config.train_data, config.data_type, *data, seed=config.seed, rank=world.rank, world_size=world.size,
        pipeline=pipeline, label_table=config.train_label)
    labels = _labels(loader.label_counts, pipeline)
    check_data(config.localization_args, loader.has_spans, config.train_data, labels)
    torch.manual_seed(config.seed)  # the same weights on every rank
    if config.model_init:
        detector = initialised(config, labels.names)
    else:
        detector = build_detector(config, len(labels.names), architecture)
    mode = build_mode(config, detector)
    criterion = LOSSES.load(config.loss)(config.loss_args, labels.names)
    if isinstance(criterion, CrossEntropyLoss) and criterion.weight is not None:
        shortest = map(str, criterion.weight.numpy())  # 0.9, where float32 as float64 is 0.8999999761581421
        labels = replace(labels, weights=tuple(map(float, shortest)))
    validator, lists = None, {"train_data": loader.entries}
    if config.val_data:
        val_loader = eval_loader(config.val_data, config.data_type, *data, labels.ids(), rank=world.rank,
                                 world_size=world.size, label_table=config.val_label,
                                 min_samples=detector.min_samples, again=True)
        check_labels(val_loader.label_counts, labels, config.val_label or config.val_data)
        validator = Validator(val_loader, labels, world, config.monitor)
        lists["val_data"] = val_loader.entries
    elif config.early_stop_patience and needs_validation(config.monitor):
        raise InputError(f"early_stop_patience: stopping by '{config.monitor}' needs val_data; "
                         "give it, or set monitor: train_loss")
    if world.size > 1:
        require_agreement(config, lists)
    log.info("%s", describe(config, detector, labels, world))
    if config.feature_cache:
        detector.cache = _cache(config.feature_cache, detector)
    return Trainer(config, detector, criterion, mode, loader, world, validator, labels)


def _cache(gib: float, detector) -> FeatureCache:
    if any(parameter.requires_grad for parameter in detector.frontend.parameters()):
        raise OptionError("feature_cache", "the front-end learns a sum of its layers; set layerwise_feature: True")
    return FeatureCache(gib)


def _pipeline(config: Config, device: str):
    """Training-time augmentation, or None when nothing is switched on.

    A speaker heard at another speed is a new speaker, and not wanted in large-margin fine-tuning; a spoof stays one.
    """
    from wedefense.data.augment.pipeline import Pipeline

    data = config.dataset_args
    speakers = False
    if data.speed_perturb and config.train_label:
        names = tuple(set(read_table(config.train_label).values()))
        speakers = not Labels(names, (1,) * len(names)).has_bonafide
    if speakers and config.do_lm:
        data = replace(data, speed_perturb=False)
    return Pipeline.from_options(data, data.resample_rate, config.reverb_data, config.noise_data,
                                 keep_label_on_speed=not speakers, device=device)


def _labels(counts, pipeline) -> Labels:
    """The classes in the order of their ids, those of other speeds after those of the list."""
    names = tuple(label_ids(counts))
    rounds = pipeline.num_classes(len(names)) // len(names) if pipeline else 1
    names_of_all = tuple(name if speed == 0 else f"{name}@speed{speed}" for speed in range(rounds) for name in names)
    return Labels(names_of_all, tuple(counts[name] for name in names) * rounds)
