"""Before a recipe starts in the middle: is what the earlier stages made still of what lies here now?"""

import contextlib
from dataclasses import replace
from pathlib import Path

from wedefense.config.loader import load_config
from wedefense.config.schema import Config
from wedefense.experiment import lineage, saved_epochs
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.lineage import newest
from wedefense.experiment.record import changes, read, require
from wedefense.experiment.records import read_results
from wedefense.experiment.resume import epochs_done, has_weights, refuse
from wedefense.utils.errors import InputError
from wedefense.utils.fingerprint import of_content

# What stage 7 takes: by task the last of the stages before that it needs.
_BEFORE_RESULTS = {"speaker": 4, "classes": 5, "detection": 6}


def check(config: Config, stage: int, lists: dict[str, str], sets: list[str], skip_bad: bool, task: str,
          as_trained: bool = False) -> None:
    """An error that names what changed and the stage to go back to.

    `lists`: of every set of the recipe, by name; `sets`: those that are scored; `as_trained`: the weights are scored
    as they are, whatever became of their settings and training data.
    """
    folder = ExperimentFolder(config.exp_dir)
    if stage > 2:
        for name, path in lists.items():
            if name in sets:
                lineage.require_list(path, config.data_type)
            elif not as_trained:
                with _of_training(stage):
                    lineage.require_list(path, config.data_type)
    if read(folder.training) is not None:
        if not as_trained and (stage > 3 or has_weights(folder)):
            _settings(folder, config, stage)
    elif folder.training.is_file() and not as_trained:
        raise InputError(f"{folder.training}: cannot be read, so that nothing tells what the weights were trained "
                         "with; restore it, or score them as they are (--as_trained true)")
    elif not folder.config.is_file():
        return  # nothing was trained here; the stage itself says what it lacks
    last = min(stage - 1, _BEFORE_RESULTS[task]) if stage < 8 else 4
    if stage > 4:
        _weights(folder, config)
    if stage in (5, 6, 7, 9):
        for name in sets:
            _scores(folder, config, name, lists[name], skip_bad, last if stage < 9 else _BEFORE_RESULTS[task])
    if stage == 9 and task == "detection":
        _results(folder)


@contextlib.contextmanager
def _of_training(stage: int):
    """What only the training needed may be gone by now, or lie on another machine."""
    try:
        yield
    except InputError as error:
        cure = " (to score the weights as they are: --as_trained true)" if stage > 3 else ""
        raise InputError(f"{error}{cure}") from None


def _settings(folder: ExperimentFolder, config: Config, stage: int) -> None:
    found = (read(folder.training) or {})["inputs"]
    now = lineage.settings(config)
    if stage > 3:
        with _of_training(stage):
            now |= {key: held for key, held in lineage.trained_on(config).items() if held is not None}
    free = {"dataset_args.eval_frms"}  # an option of stage 4, which is compared there
    if stage <= 3 and not config.scheduler_args.spans_all_epochs and config.num_epochs >= epochs_done(folder):
        free.add("num_epochs")
    differences = changes({key: found.get(key) for key in now}, now)
    with _of_training(stage):
        refuse(folder, [change for change in differences if change.key not in free])


def _weights(folder: ExperimentFolder, config: Config) -> None:
    trained = replace(load_config(folder.config, scoring=True), exp_dir=config.exp_dir, num_avg=config.num_avg,
                      average=config.average)
    lineage.averaging(folder, saved_epochs.to_average(trained)).require()
    if trained.use_pruning_loss:
        require(folder.cut.cutting, "pruned model", 4, {})


def _scores(folder: ExperimentFolder, config: Config, name: str, data: str, skip_bad: bool, last: int) -> None:
    """Of one set what the stages up to `last` made."""
    within = newest(folder)
    trained = load_config(within.config, scoring=True)
    heard = replace(trained, dataset_args=replace(trained.dataset_args, eval_frms=config.dataset_args.eval_frms))
    found = read(folder.embeddings(name).source)
    precision = found["inputs"].get("precision") if found else None  # that of the device which made them
    lineage.embedding(folder, name, within.average, heard, data, config.data_type, skip_bad, precision).require()
    if last > 4:
        lineage.logits(folder, name, within.average).require()
    if last > 5:
        lineage.llrs(folder, name).require()


def _results(folder: ExperimentFolder) -> None:
    for name, made in read_results(folder).get("made_by", {}).get("scores", {}).items():
        if of_content(folder.posteriors(name).llr) != made:
            raise InputError(f"{folder.results}: not of the scores of '{name}' that are here now; go back to --stage 7")


def lists_of(data: str | Path, data_type: str, sets: list[str]) -> dict[str, str]:
    return {name: str(Path(data) / name / f"{data_type}.list") for name in sets}
