"""The whole configuration of an experiment, one typed field per YAML key.

Each section has a page of its own beside this one, which composes them.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from wedefense.config.data import DataLoaderOptions, DatasetOptions
from wedefense.config.frontend import PretrainedOptions, adapters_in, check_prunable
from wedefense.config.heads import HEADS, LOSSES, LossOptions, ProjectionOptions
from wedefense.config.localization import LocalizationOptions
from wedefense.config.models import BACKENDS, BackendOptions
from wedefense.config.modes import MODES, PRUNING, STANDARD
from wedefense.config.pruning import PruningOptions
from wedefense.config.registry import Registry
from wedefense.config.train import OPTIMIZER_ARGS, OPTIMIZERS, SCHEDULERS, MarginOptions, SchedulerOptions
from wedefense.metrics.catalogue import MAIN, Monitor
from wedefense.utils.checks import at_least, positive
from wedefense.utils.errors import InputError, OptionError, did_you_mean

# Naming another component drops the options of the one it replaces (`*`: its sibling keys).
REPLACES: dict[str, tuple[str, ...]] = {
    "model": ("model_args",),
    "loss": ("loss_args",),
    "mode": ("mode_args",),
    "optimizer": ("optimizer_args",),
    "scheduler": ("scheduler_args",),
    "projection_args.project_type": ("*",),
    "dataset_args.frontend": ("frontend_args",),
}


def _component(name_field: str, registry: Registry) -> Any:
    """The options of the component that the field `name_field` names."""
    return field(default=None, metadata={"component": (name_field, registry)})


def _component_by_key(key: str, registry: Registry, default: str) -> Any:
    """The options of the component that `key` names inside the section."""
    return field(default=None, metadata={"component_key": (key, registry, default)})


@dataclass(frozen=True)
class RunOptions:
    """What a config says but for pruning."""

    exp_dir: str = "exp"
    gpus: tuple[int, ...] = (0,)   # one rank for each; on a machine without GPUs that many CPU ranks
    num_avg: int = 1               # checkpoints to average, the last ones by epoch
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = "auto"  # see wedefense.utils.precision
    enable_amp: bool | None = None # the old name: True is bfloat16, False float32
    deterministic: bool = False    # on a GPU: kernels that give the same bits each time, slower (a CPU always does)
    compile: bool = False          # torch.compile the detector
    cuda_graphs: bool = True       # on GPUs, for crops of one length: record what the encoder launches, play it back
    sharding: Literal["none", "full"] = "none"  # full: each rank holds a share of every parameter (FSDP)
    feature_cache: float = 0.0     # GiB of memory for the layers of a frozen front-end, made once per whole utterance
    seed: int = 42

    num_epochs: int = 10
    save_epoch_interval: int = 1
    keep_last: int = 0             # epochs whose weights stay, the last ones (and the best num_avg, to average: best);
                                   # 0: all. best_model.pt and avg_model.pt always stay
    log_batch_interval: int = 100
    # where the curves go: tensorboard, wandb, mlflow, trackio, a plug-in's (wedefense.loggers), package.module:Class
    loggers: tuple[str, ...] = ("tensorboard",)
    save_step_interval: int = 0    # also write last.ckpt every so many steps (0: at epoch ends only)
    accum_grad: int = 1            # batches for one optimiser step
    grad_clip: float = 0.0         # largest gradient norm (0: no clipping)

    validate_interval: int = 1     # epochs between validations on the whole dev set
    monitor: Monitor = MAIN        # of validation, but for train_loss: chooses the best epoch, and stops early
    early_stop_patience: int = 0   # validations without improvement before stopping (0: never)
    average: Literal["last", "best"] = "last"  # the last num_avg epochs, or the best num_avg by monitor

    dataloader_args: DataLoaderOptions = DataLoaderOptions()
    dataset_args: DatasetOptions = DatasetOptions()

    model: str = "SSL_BACKEND_MHFA"
    model_init: str | None = None  # weights to start from
    model_args: BackendOptions = _component("model", BACKENDS)
    projection_args: ProjectionOptions = _component_by_key("project_type", HEADS, "softmax")

    margin_scheduler: Literal["MarginScheduler"] = "MarginScheduler"
    margin_update: MarginOptions = MarginOptions()

    localization_args: LocalizationOptions = LocalizationOptions()  # targets of segments: where is it fake

    loss: str = "CrossEntropyLoss"
    loss_args: LossOptions = _component("loss", LOSSES)
    mode: str = STANDARD           # what a kind of training adds to the loop; use_pruning_loss sets that of pruning
    mode_args: object = _component("mode", MODES)
    optimizer: str = "SGD"
    optimizer_args: Any = field(default_factory=dict, metadata={"component": ("optimizer", OPTIMIZERS)})
    scheduler: str = "ExponentialDecrease"
    scheduler_args: SchedulerOptions = _component("scheduler", SCHEDULERS)

    checkpoint: str | None = None  # begin by resuming from this file; once there is an exp_dir/models/last.ckpt that
                                   # came of it, the same call goes on from that
    do_lm: bool = False            # large-margin fine-tuning: the final margin at once, no other speeds of speakers
    train_data: str | None = None
    train_label: str | None = None
    val_data: str | None = None
    val_label: str | None = None
    data_type: Literal["raw", "shard"] = "raw"
    reverb_data: str | None = None
    noise_data: str | None = None

    @property
    def chosen_precision(self) -> str:
        """`precision`, or what the old `enable_amp` says."""
        return self.precision if self.enable_amp is None else "bfloat16" if self.enable_amp else "float32"


@dataclass(frozen=True)
class Config(PruningOptions, RunOptions):
    """A whole config: the keys of a run, then those of pruning."""

    @property
    def chosen_mode(self) -> str:
        """The name of the training mode."""
        return PRUNING if self.use_pruning_loss else self.mode

    def has_final_sparsity(self, epoch: int) -> bool:
        """Whether weights of this epoch were held at the sparsity that pruning is asked for; what is not pruned is."""
        return not self.use_pruning_loss or epoch > self.sparsity_warmup_epochs

    def __post_init__(self):
        super().__post_init__()
        self._check_pruning()
        self._check_cache()
        self._check_localization()
        positive(self, "num_avg", "num_epochs", "save_epoch_interval", "log_batch_interval",
                 "accum_grad", "validate_interval")
        if self.keep_last and self.average == "last" and self.keep_last < self.num_avg:
            raise OptionError("keep_last", f"must be at least num_avg ({self.num_avg}), the epochs that are averaged, "
                                           f"or 0 for all; got {self.keep_last}")
        at_least(self, 0, "keep_last", "grad_clip", "early_stop_patience", "save_step_interval", "seed",
                 "feature_cache")
        if not self.exp_dir:
            raise OptionError("exp_dir", "is empty; name the folder of the experiment, like exp/mhfa")
        if self.precision not in ("auto", self.chosen_precision):
            raise OptionError("enable_amp", f"{self.enable_amp} is the old way to say precision: "
                                            f"{self.chosen_precision}, which disagrees with precision: "
                                            f"{self.precision}; leave enable_amp out (on the command line: "
                                            "--enable_amp null)")
        if not self.gpus or min(self.gpus) < 0:
            raise OptionError("gpus", "name at least one device, like [0]")
        if self.optimizer in OPTIMIZER_ARGS:
            self._check_keywords(OPTIMIZER_ARGS[self.optimizer])

    def _check_keywords(self, known):
        for key in self.optimizer_args:
            if key == "lr":
                raise OptionError("optimizer_args.lr", "the learning rate is scheduler_args.initial_lr")
            if key not in known:
                raise OptionError(f"optimizer_args.{key}", f"{self.optimizer} has no such option"
                                                           f"{did_you_mean(key, known)}")

    def _check_cache(self):
        data = self.dataset_args
        options = data.frontend_options
        frozen = isinstance(options, PretrainedOptions) and options.frozen
        if self.feature_cache and frozen and options.frozen_dropout:
            raise OptionError("feature_cache", "keeps layers as they are without dropout; set dataset_args."
                              f"{data.frontend}_args.frozen_dropout: False")
        if self.feature_cache and not (data.whole_utt and frozen):
            raise OptionError("feature_cache", "keeps what a frozen front-end says of whole utterances; set "
                              f"dataset_args.whole_utt: True and dataset_args.{data.frontend_section}.frozen: True")

    def _check_localization(self):
        told = self.localization_args
        if self.monitor == "segment_eer" and not told.wanted:
            raise OptionError("monitor", "segment_eer is of a detector that localises; name "
                                         "localization_args.resolutions, or monitor: eer")
        for name in ("eval_frms", "eval_max_frms"):
            if told.wanted and getattr(self.dataset_args, name):
                raise OptionError("localization_args.resolutions", "segments are scored over whole utterances; set "
                                                                   f"dataset_args.{name}: 0")

    def _check_pruning(self):
        data = self.dataset_args
        if self.mode not in (STANDARD, self.chosen_mode):
            raise OptionError("mode", f"use_pruning_loss: True is a mode of training too, and does not go with "
                                      f"{self.mode}; leave one of them out")
        if self.mode == PRUNING:
            raise OptionError("mode", "pruning is chosen by use_pruning_loss: True, and its options stand beside it")
        if not self.use_pruning_loss:
            if self.gates_only or self.distillation.wanted:
                raise OptionError("gates_only" if self.gates_only else "distillation",
                                  "belongs to pruning; set use_pruning_loss: True")
            return
        if self.distillation.logits and not self.model_init:
            raise OptionError("distillation.logits", "the teacher is the model that training starts from, which must be"
                                                     " a trained one: name it with model_init")
        if self.sharding != "none":
            raise OptionError("sharding", "pruning needs every parameter on every rank; set sharding: none")
        try:
            check_prunable(data.frontend)
        except InputError as error:
            raise OptionError("use_pruning_loss", str(error)) from None
        if adapters_in(data.frontend_options).wanted:
            raise OptionError("use_pruning_loss", "pruning cuts weights that it trains, and with adapters they stand "
                              f"still; set dataset_args.{data.frontend_section}.adapters.type: none, with model_init: "
                              "the experiment if there is one, whose adapters are then merged")
        if data.frontend_options.frozen:
            raise OptionError("use_pruning_loss", f"pruning trains the front-end; set "
                                                  f"dataset_args.{data.frontend_section}.frozen: False")
