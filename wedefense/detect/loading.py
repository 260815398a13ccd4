"""From an experiment folder, a checkpoint, a published name or a hub id to a detector."""

import os
from dataclasses import replace
from pathlib import Path

from wedefense.config.loader import load_config
from wedefense.config.schema import Config
from wedefense.data.labels import Labels
from wedefense.detect import published
from wedefense.detect.frame_threshold import thresholds_of
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.published_forms import form_of, load_form
from wedefense.detect.recordings import InputPolicy
from wedefense.experiment import checkpoint, frozen
from wedefense.experiment.folder import NAMES, ExperimentFolder, folder_of
from wedefense.experiment.load import Experiment, architecture_in, build_experiment, load_experiment
from wedefense.experiment.model_config import read_model_config
from wedefense.frontend.ssl.formats.huggingface import read_weight_file
from wedefense.frontend.ssl.formats.read import read_checkpoint
from wedefense.models.detector import own_weights
from wedefense.models.published_localizers import is_published
from wedefense.report.model_card import DESCRIPTION, RUNS
from wedefense.scoring.calibration import Calibration
from wedefense.utils.download import NotFound, is_offline
from wedefense.utils.errors import InputError, did_you_mean, of_paths
from wedefense.utils.fingerprint import of_weights
from wedefense.utils.hub import HubName, Repository, parse_name, placed_folder
from wedefense.utils.log import get_logger
from wedefense.utils.precision import check

_WEIGHTS = (".pt", ".pth", ".bin", ".safetensors")


@of_paths()
def load_detector(path: str | os.PathLike, weights: str | os.PathLike | None = None,
                  config: str | os.PathLike | None = None, download_dir: str | os.PathLike | None = None,
                  precision: str = "auto", trust: bool = False, revision: str | None = None,
                  token: str | None = None) -> LoadedDetector:
    """A detector ready to score, from whatever holds one; what it is is told by its content.

    `path`: an experiment folder (`weights` chooses others than its average), one of its checkpoints, a folder
    cut by pruning or of `wedefense export --format hub`, a published checkpoint, a name that `wedefense models`
    lists, or a hub id (owner/model, or owner/model/file; with @revision or `revision`: a branch, a tag or a commit).
    `token`: of the hub, else $HF_TOKEN or what `hf auth login` stored. `config`: the YAML of a checkpoint that has none
    beside it.
    `precision`: float32, tf32 or bfloat16; auto is that of its experiment on a GPU and float32 on a CPU.
    `trust`: the folder is one's own. Else the config in it may name known architectures and files of it alone, and what
    comes from a hub never may name more.
    """
    check(precision)
    local = Path(path).expanduser()
    if local.exists():
        if revision:
            raise InputError(f"{path}: is here, and only what a hub has is of a revision; leave {revision} out")
        return replace(_loaded(local, weights, config, trust), precision=precision)
    found = _located(os.fspath(path), download_dir, revision, token)
    if trust:
        get_logger().warning("%s: comes from a hub, and --trust is for folders of one's own; not trusted", path)
    return replace(_loaded(found, weights, config, False), precision=precision)


def _loaded(found: Path, weights, config, trust: bool) -> LoadedDetector:
    if found.is_dir() and ExperimentFolder(found).has_public_form and not ExperimentFolder(found).config.is_file():
        return _calibrated(_pruned(found, trust), ExperimentFolder(found))
    if found.name in RUNS or (found / DESCRIPTION).is_file() and not ExperimentFolder(found).config.is_file():
        raise InputError(f"{found}: was exported to run without WeDefense, as {NAMES.card} beside it tells; give the "
                         "experiment that it was made of")
    folder = ExperimentFolder(found) if found.is_dir() else folder_of(found)
    if folder is not None and config is None:
        model = _ready(load_experiment(folder, weights or (None if found.is_dir() else found), trust))
        average = model.weights.name in (NAMES.average.name, NAMES.shared.name)  # what stage 7 calibrated
        return replace(_calibrated(model, folder), frame_thresholds=thresholds_of(folder.whole)) if average else model
    if found.is_dir():
        raise InputError(f"{found}: give the checkpoint file together with a config")
    content = read_weight_file(found)
    if config is None:
        tensors = published.tensors_of(content, found)
        if (form := form_of(tensors)) is not None:
            return load_form(form, tensors, found)
        raise InputError(f"{found}: a checkpoint without its experiment (no {NAMES.config} and {NAMES.labels} beside "
                         "it) and of no published kind; say how it was built with a config")
    return _bare(content, found, load_config(config))


def _located(name: str, download_dir, revision: str | None, token: str | None) -> Path:
    """The file or folder of a published name or a hub id, fetched."""
    named = parse_name(name, revision)
    model = published.find(name if named is None else named.hub_id) if named is None or not named.file else None
    if model is not None:
        return published.fetch_model(model, download_dir, token, revision if named is None else named.revision)
    if named is None or not (named.file or "x.pt").endswith(_WEIGHTS):
        raise InputError(f"{name}: no such file or folder, and no published model"
                         f"{did_you_mean(name, published.MODELS)}; an experiment folder, a checkpoint or a hub id "
                         "(owner/model) is taken")
    try:
        return _fetched(named, download_dir, token)
    except InputError as error:
        raise InputError(f"'{name}': no such file or folder, and not to be had as a hub id: {error}") from None


def _fetched(named: HubName, download_dir, token: str | None) -> Path:
    """A hub's model: a folder made to be shared, an experiment, or a pruned model's two files; weights come last."""
    placed = ExperimentFolder(placed_folder(named.hub_id, download_dir))
    if not named.revision and not named.file and (
            placed.has_public_form or placed.shared.is_file() or placed.average.is_file()):
        return placed.root
    repository = Repository(named.hub_id, named.revision, token, download_dir)
    if named.file:
        return repository.get(named.file)
    try:
        repository.get(NAMES.config.as_posix())
    except NotFound as no_config:
        try:
            return repository.folder(published.PRUNED_FILES[::-1])  # the rarer name first
        except NotFound:
            if is_offline():
                raise no_config from None
            raise NotFound(f"'{named}': has neither {NAMES.config} of an experiment nor the files of a pruned model, "
                           f"{' and '.join(published.PRUNED_FILES)}") from None
    repository.get(NAMES.labels.as_posix())
    for path in (NAMES.architecture, NAMES.calibration, NAMES.frame_thresholds):
        repository.has(path.as_posix())
    if repository.has(NAMES.shared.as_posix()):
        return repository.folder([NAMES.shared.as_posix()])
    return repository.folder([NAMES.average.as_posix()])


def results_of(model: LoadedDetector) -> ExperimentFolder | None:
    """The experiment folder that has the results of a model, if it was made here."""
    folder = folder_of(model.weights)
    return None if folder is None else folder.whole


def _ready(experiment: Experiment, remark: str = "") -> LoadedDetector:
    data = experiment.config.dataset_args
    policy = InputPolicy(data.resample_rate, experiment.detector.min_samples, data.samples(data.eval_frms) or None,
                         data.samples(data.eval_max_frms) or None, data.trim_silence)
    return LoadedDetector(experiment.detector, experiment.labels, experiment.weights, experiment.config,
                          policy, remark=remark)


def _calibrated(model: LoadedDetector, folder: ExperimentFolder) -> LoadedDetector:
    """With the calibration beside it, unless that was fitted on the scores of other weights."""
    path = folder.whole.calibration
    if not path.is_file():
        return model
    calibration = Calibration.load(path)
    if calibration.of not in (None, of_weights(model.weights)):
        remark = f"{path} was fitted on scores of other weights and is not used; stages 4 to 7 make it again"
        get_logger().warning("%s", remark)
        return replace(model, remark="; ".join(filter(None, (model.remark, remark))))
    return replace(model, calibration=calibration)


def _pruned(folder: Path, trust: bool) -> LoadedDetector:
    """The two files of a pruned model, with the config of the experiment around it if there is one."""
    around = ExperimentFolder(folder.absolute().parent)
    encoder, whole = ExperimentFolder(folder).public_form
    if not around.is_trained or not published.class_count(published.tensors_of(read_weight_file(whole), whole), whole):
        return published.load_pruned(folder)
    config, labels = read_model_config(around.config, recorded=True, trust=trust), Labels.load(around.labels)
    return _ready(build_experiment(config, labels, whole, read_checkpoint(encoder).architecture))


def _bare(content, path: Path, config: Config) -> LoadedDetector:
    """A checkpoint and a config: the head tells the number of classes, the weights the front-end if they can."""
    weights = published.tensors_of(content, path)
    if frozen.mark_of(weights) is not None:
        weights = checkpoint.load_model(path)
    classes = 2 if is_published(weights) else published.class_count(own_weights(weights), path,
                                                                    config.projection_args.centres)
    labels, remark = published.assumed_labels(classes)
    return _ready(build_experiment(config, labels, path, architecture_in(path, config), weights), remark)
