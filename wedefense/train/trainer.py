"""The one training loop."""

import json
import math
import shlex
import time
from collections import deque
from pathlib import Path

import torch
from torch import Tensor, nn

from wedefense.config.schema import Config
from wedefense.config.train import SCHEDULERS
from wedefense.data.ahead import ahead
from wedefense.data.batch import SkipCounter
from wedefense.data.labels import Labels
from wedefense.experiment import checkpoint, saved_epochs
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.record import Change
from wedefense.experiment.resume import known_history, refuse
from wedefense.metrics.catalogue import METRICS, history_key
from wedefense.models.detector import Detector, own_weights, public_names
from wedefense.models.losses import Loss
from wedefense.train.failures import explain
from wedefense.train.frozen import FrozenEncoder
from wedefense.train.loggers import Loggers
from wedefense.train.modes import Mode
from wedefense.train.optimizer import build_optimizer
from wedefense.train.parallel import over_ranks
from wedefense.train.recording import record_encoders
from wedefense.train.schedules import margin_at
from wedefense.train.step import TrainStep
from wedefense.train.validate import Validator
from wedefense.utils.devices import Trailing
from wedefense.utils.distributed import World, barrier, gather
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.finite import not_finite
from wedefense.utils.log import get_logger, progress
from wedefense.utils.precision import resolve
from wedefense.utils.tables import plural

log = get_logger()

_STEADIER = "Lower scheduler_args.initial_lr, set grad_clip"


class Trainer:
    """`fit()` trains to the last epoch, from wherever the experiment folder stands."""

    def __init__(self, config: Config, detector: Detector, criterion: Loss, mode: Mode, loader, world: World,
                 validator: Validator | None, labels: Labels):
        self.labels = labels
        self.config, self.detector, self.mode, self.world = config, detector, mode, world
        self.loader, self.validator = loader, validator
        self.module = TrainStep(detector, criterion, mode).to(world.device)
        self.batches = loader.steps_per_epoch
        self.steps_per_epoch = math.ceil(self.batches / config.accum_grad)
        self.parallel = over_ranks(self.module, world, config.sharding, config.compile)
        self.frozen = FrozenEncoder(config, detector)
        groups = mode.groups(detector, config.scheduler_args)
        self.clipped = [p for group in groups if group.get("clipped", "fixed_lr" not in group)
                        for p in group["params"]]
        self.optimizer = build_optimizer(config.optimizer, config.optimizer_args, groups)
        scale = world.size * config.dataloader_args.batch_size * config.accum_grad / 64
        self.schedule = SCHEDULERS.load(config.scheduler)(
            config.scheduler_args, config.num_epochs, self.steps_per_epoch, scale)
        self.epoch, self.batch, self.step = 0, 0, 0  # finished epochs, batches of this one, optimiser steps
        self.history: list[dict] = []
        self.best: dict | None = None
        self.stale = 0                               # validations since the best
        self.sums = torch.zeros(3)                   # of this epoch: task loss, accuracy, batches
        self.stopped, self.resumed = False, False
        self.folder = ExperimentFolder(config.exp_dir)
        self.precision = resolve(config.chosen_precision, world.device)
        self.precision.set_switches()
        record_encoders(config, detector, mode, world)

    def fit(self) -> None:
        if not self.resumed:
            self.resume()
        if self.stopped and self.epoch < self.config.num_epochs:
            log.warning("%s: stopped early after epoch %d (early_stop_patience: %d), and does not go on; to train on "
                        "from these weights: --fork DIR", self.folder, self.epoch, self.config.early_stop_patience)
        if self._is_done():
            return
        if self.world.is_main:
            self.labels.save(self.folder.labels)
            checkpoint.save_architecture(self.folder, self.detector)
        loggers = Loggers(self.config, self.folder, self.step) if self.world.is_main else None
        failed = True
        try:
            self._train_epochs(loggers)
            failed = False
        finally:  # what a training that fails has written of its curves is what tells why
            if loggers:
                loggers.close(failed)

    def _train_epochs(self, loggers: Loggers | None) -> None:
        while self.epoch < self.config.num_epochs and not self.stopped:
            started = time.time()
            loss, accuracy = self._train_epoch(loggers)
            self.epoch, self.batch = self.epoch + 1, 0
            row = {"epoch": self.epoch, "train_loss": loss, "train_accuracy": accuracy, **self.module.scalars()}
            row |= self._validate()
            row["seconds"] = round(time.time() - started, 1)
            self._select(row)
            if loggers:  # before it is saved: a resume from there does not come by again
                loggers.scalars({f"epoch/{name}": value for name, value in row.items()}, self.epoch)
                loggers.images(self.mode.images(), self.epoch)
            self._save_epoch(row)
            log.info("epoch %d/%d: %s", self.epoch, self.config.num_epochs, _row_text(row))

    def _train_epoch(self, loggers: Loggers | None) -> tuple[float, float]:
        self.parallel.module.train()
        self.loader.set_epoch(self.epoch, self.batch)
        sums = self.sums.to(self.world.device)
        pending, samples = None, 0
        recent: deque[list[str]] = deque(maxlen=self.config.accum_grad + 1)  # keys of a batch and of a step before it
        skips = SkipCounter(self.batches * self.config.dataloader_args.batch_size)
        description = f"epoch {self.epoch + 1}/{self.config.num_epochs}"
        with progress(total=self.batches, initial=self.batch, desc=description, unit="batch",
                      disable=not self.world.is_main) as bar:
            for batch in ahead(self.loader, self.world.device):
                skips.add(batch.skipped)
                skips.check()
                parts = self._trained(batch)
                self._check_finite(pending)
                recent.append(batch.keys)
                pending = (Trailing(parts[0]), [*recent])
                sums += torch.cat([parts.float(), parts.new_ones(1)])
                samples += batch.wav.numel() * self.world.size
                bar.update()
                if loggers and self.batch % self.config.log_batch_interval == 0:
                    self._log_batch(loggers, bar, sums[:2] / sums[2], samples)
                if self._between_epochs_save_due():
                    self._check_finite(pending)
                    self.sums = sums.cpu()
                    self._save_last()
        self._check_finite(pending)
        if skips.count:
            log.warning("epoch %d: %s could not be used, others stand in: %s", self.epoch + 1,
                        plural(skips.count, "utterance"), skips.told())
        self.sums = torch.zeros(3)
        loss, right, count = torch.tensor(gather(sums.tolist())).sum(dim=0).tolist()
        return loss / count, right / count

    def _trained(self, batch) -> Tensor:
        """`_train_batch`; what the user can mend is told with its cure."""
        try:
            return self._train_batch(batch)
        except (RuntimeError, ValueError) as error:
            explanation = explain(error, batch, self.config, self.world.size)
            if explanation is None:
                raise
        raise InputError(f"epoch {self.epoch + 1}: {explanation}")

    def _train_batch(self, batch) -> Tensor:
        """Forward and backward of one batch; every `accum_grad` batches an optimiser step."""
        k = self.config.accum_grad
        first = self.batch // k * k
        group_size = min(k, self.batches - first)  # the last group of an epoch may be smaller
        last_of_group = self.batch - first == group_size - 1
        if self.batch == first:
            self._before_step()
        batch = batch.to(self.world.device)
        with self.parallel.gradients(wanted=last_of_group):
            with self.precision.autocast():
                loss, parts = self.parallel.module(batch)
            (loss / group_size).backward()
        if last_of_group:
            if self.config.grad_clip > 0:
                nn.utils.clip_grad_norm_(self.clipped, self.config.grad_clip)
            self.optimizer.step()
            self.step += 1
        self.batch += 1
        return parts

    def _before_step(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        rate = self.schedule.lr(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["fixed_lr"] if "fixed_lr" in group else rate * group["lr_ratio"]
        margin = self.config.margin_update.final_margin if self.config.do_lm else margin_at(
            self.config.margin_update, self.step, self.steps_per_epoch)
        self.detector.projection.set_margin(margin)
        self.mode.before_step(self.step, self.steps_per_epoch)

    def _check_finite(self, pending: tuple[Trailing, list[list[str]]] | None) -> None:
        """One step late: the device has the next step to do meanwhile; nothing is saved before the check."""
        if pending is None:
            return
        trailing, (*before, keys) = pending
        loss = trailing.read().item()
        if not math.isfinite(loss):
            those = (f", and at those of the step before, whose gradient may have been no number: "
                     f"{_some([key for batch in before for key in batch])}" if before else "")
            raise InputError(
                f"the loss is {loss} in epoch {self.epoch + 1} on the batch with {_some(keys)}; "
                f"the last checkpoint is untouched. {_STEADIER}, or look at these files{those}")

    def _validate(self) -> dict[str, float]:
        due = self.epoch % self.config.validate_interval == 0 or self.epoch == self.config.num_epochs
        if self.validator is None or not due:
            return {}
        self._require_finite(self.parallel.state(self.detector), "it is not validated")
        self.parallel.before_evaluation(self.detector)
        with self.precision.autocast():
            return {f"val_{name}": value
                    for name, value in self.validator(self.detector, self.module.criterion).items()}

    def _select(self, row: dict) -> None:
        """Keep the best epoch by the monitored metric; stop when it has not moved for too long.

        While a pruning's target rises each epoch removes more than the one before, and none is set beside another.
        """
        monitor = self.config.monitor
        name = history_key(monitor)
        if name not in row or not (self.config.has_final_sparsity(self.epoch) or self.epoch == self.config.num_epochs):
            return
        if self.best is None or METRICS[monitor].better(row[name], self.best["value"]):
            self.best, self.stale = {"epoch": self.epoch, "metric": name, "value": row[name]}, 0
            self._save_weights(self.folder.best)
        else:
            self.stale += 1
        patience = self.config.early_stop_patience
        self.stopped = gather(patience > 0 and self.stale >= patience)[0]
        if self.stopped:
            log.info("no better %s for %d validations: stopping after epoch %d (best: epoch %d)",
                     name, self.stale, self.epoch, self.best["epoch"])

    def _between_epochs_save_due(self) -> bool:
        every = self.config.save_step_interval
        return every > 0 and self.batch < self.batches and self.batch % (every * self.config.accum_grad) == 0

    def _save_epoch(self, row: dict) -> None:
        self.history.append(row)
        due = self.epoch % self.config.save_epoch_interval == 0
        if due or self.stopped or self.epoch == self.config.num_epochs:
            self._save_weights(self.folder.epoch(self.epoch))
        self._save_last()
        self._save_history()
        if self.config.keep_last and self.world.is_main:
            saved_epochs.forget(self.config, self.history)

    def _save_history(self) -> None:
        if self.world.is_main:
            with atomic_write(self.folder.history, "w") as stream:
                json.dump({"rows": self.history, "best": self.best}, stream, indent=1)

    def _save_weights(self, path: Path) -> None:
        weights = self._weights()
        if self.world.is_main:
            self._save(path, weights)

    def _save(self, path: Path, state: dict) -> None:
        """What could not be read again is not written."""
        self._require_finite(state, f"{path} is not written")
        checkpoint.save(path, state)

    def _require_finite(self, state: dict, consequence: str) -> None:
        """A finite loss may have had a gradient that is not."""
        if (name := not_finite(state)) is not None:
            raise InputError(f"'{name}' holds NaN or infinite values after {self.step} steps, in epoch "
                             f"{self.epoch + bool(self.batch)}; {consequence}, and the last checkpoint is untouched. "
                             f"{_STEADIER}")

    def _weights(self) -> dict[str, Tensor]:
        """What checkpoints hold of the detector: all but a frozen encoder, which is written once."""
        return public_names(self.frozen.left_out(self.parallel.state(self.detector), self.world.is_main))

    def _save_last(self) -> None:
        device = self.world.device
        random_states = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            random_states["cuda"] = torch.cuda.get_rng_state(device)
        states_of_ranks, gathered_sums = gather(random_states), gather(self.sums.tolist())
        state = {"weights": self._weights(), "mode": self.parallel.state(self.mode),
                 "optimizer": self.parallel.optimizer_state(self.optimizer)}
        if self.world.is_main:
            self._save(self.folder.last, state | {
                "epoch": self.epoch, "batch": self.batch, "step": self.step, "stopped": self.stopped,
                "history": self.history, "best": self.best, "stale": self.stale, "sums": gathered_sums,
                "random": states_of_ranks})
        barrier()

    def resume(self) -> None:
        """Take up where the folder stands; nothing is written but a history that a kill left an epoch short."""
        torch.manual_seed(self.config.seed + self.world.rank)
        self._resume()
        self.resumed = True
        if self.history and known_history(self.folder) != {"rows": self.history, "best": self.best}:
            self._save_history()

    def _resume(self) -> None:
        path = Path(self.config.checkpoint) if self.config.checkpoint else self.folder.last
        if not self.config.checkpoint and not path.exists():
            return
        state = checkpoint.load(path)
        if not isinstance(state, dict) or "optimizer" not in state:
            raise InputError(f"{path}: holds weights only, nothing to resume from; to start from these weights "
                             f"use --model_init {shlex.quote(str(path))}")
        weights = self.frozen.put_back(state["weights"], path, self.parallel.state(self.detector))
        checkpoint.load_weights(self.detector, own_weights(weights), path, self.parallel.load)
        try:
            self.parallel.load_optimizer(self.optimizer, state["optimizer"])
            self.parallel.load(self.mode, state["mode"])
        except (ValueError, RuntimeError, KeyError) as error:
            raise InputError(f"{path}: was made by another kind of training ({error}); "
                             "use --model_init to start from its weights, or another --exp_dir") from None
        self.epoch, self.batch, self.step = state["epoch"], state["batch"], state["step"]
        self.history, self.best, self.stale = state["history"], state["best"], state["stale"]
        self.stopped = state["stopped"]
        if not self._is_done():
            self._take_up_rank(state)
        log.info("resumed from %s: %d epochs and %d batches done", path, self.epoch, self.batch)

    def _take_up_rank(self, state: dict) -> None:
        """What each rank has of its own, in as many ranks as wrote it."""
        if (ranks := len(state["random"])) != self.world.size:  # where no record has told
            refuse(self.folder, [Change("ranks", ranks, self.world.size)])
        own = state["random"][self.world.rank]
        self.sums = torch.tensor(state["sums"][self.world.rank])
        torch.set_rng_state(own["cpu"])
        if "cuda" in own and self.world.device.type == "cuda":
            torch.cuda.set_rng_state(own["cuda"], self.world.device)

    def _is_done(self) -> bool:
        return self.epoch == self.config.num_epochs or self.stopped

    def _log_batch(self, loggers: Loggers, bar, mean: Tensor, samples: float) -> None:
        loss, right = mean.tolist()
        hours = samples / self.config.dataset_args.resample_rate / 3600
        speed = hours / max(bar.format_dict["elapsed"], 1e-9)
        bar.set_postfix_str(f"loss {loss:.4f} acc {right:.3f} {speed:.3g} audio h/s", refresh=False)
        values = {"loss": loss, "accuracy": right, "lr": self.optimizer.param_groups[0]["lr"],
                  "audio_hours_per_second": speed, **self.module.scalars()}
        within = 0 < self.batch % self.config.accum_grad and self.batch < self.batches
        step = self.step + within  # the one it counts in: where that is done again, its point comes again too
        loggers.scalars({f"train/{name}": value for name, value in values.items()}, step)


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:8]) + (" ..." if len(keys) > 8 else "")


def _row_text(row: dict) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
