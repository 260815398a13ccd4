"""Which epochs of a training count: those that are averaged, and those that are kept for it. Without torch."""

from wedefense.config.schema import Config
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.records import read_history
from wedefense.metrics.catalogue import METRICS, history_key
from wedefense.utils.errors import InputError


def to_average(config: Config) -> list[int]:
    """The last `num_avg` saved epochs, or the best ones by the monitored metric of validation."""
    folder = ExperimentFolder(config.exp_dir)
    epochs = _comparable(config, folder.epochs())
    if config.average == "best":
        rows = (read_history(folder) or {"rows": []})["rows"]
        if epochs and (not rows or rows[-1]["epoch"] < epochs[-1]):
            raise InputError(f"{folder.history}: ends before {folder.epoch(epochs[-1]).name}, since that training was "
                             "killed there; run stage 3 again, which completes it")
        if not (best := _best(config, rows, epochs)):
            raise InputError(f"average: best: no {history_key(config.monitor)} in {folder.history}; validate in "
                             "training or use --average last")
        epochs = sorted(best)
    return epochs[-config.num_avg:]


def _comparable(config: Config, epochs: list[int]) -> list[int]:
    """Those after a pruning's target stands still, or the last one: before, each epoch has another sparsity."""
    return list(filter(config.has_final_sparsity, epochs)) or epochs[-1:]


def _best(config: Config, rows: list[dict], epochs: list[int]) -> list[int]:
    """The `num_avg` of these epochs that the monitored metric puts first."""
    metric = history_key(config.monitor)
    values = {row["epoch"]: row[metric] for row in rows if metric in row and row["epoch"] in epochs}
    return sorted(values, key=values.__getitem__, reverse=METRICS[config.monitor].higher_is_better)[:config.num_avg]


def forget(config: Config, history: list[dict]) -> None:
    """Delete the weights of epochs that `keep_last` does not keep: the last so many and, to average the best, those."""
    folder = ExperimentFolder(config.exp_dir)
    epochs = folder.epochs()
    kept = set(epochs[-config.keep_last:])
    if config.average == "best":
        kept |= set(_best(config, history, _comparable(config, epochs)))
    for epoch in epochs:
        if epoch not in kept:
            folder.epoch(epoch).unlink(missing_ok=True)
