"""What a detector or a checkpoint is, in words."""

import contextlib
import difflib
import os

from wedefense.config.frontend import FRONTENDS, PretrainedOptions, adapters_in
from wedefense.config.registry import Untrusted
from wedefense.config.schema import Config
from wedefense.detect import published
from wedefense.detect.about_files import experiment
from wedefense.detect.adapters import adapter_in, of_adapter
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.loading import load_detector
from wedefense.experiment.folder import ExperimentFolder, folder_of
from wedefense.frontend.load import frontend_of
from wedefense.frontend.ssl.zoo import MODELS, find_model
from wedefense.models.cost import parameters
from wedefense.utils.download import set_offline
from wedefense.utils.errors import InputError
from wedefense.utils.hub import parse_name
from wedefense.utils.tables import first_few


def model_or_checkpoint(options) -> dict[str, str]:
    """Label -> value: of the detector that `path` is; else of the encoder in a checkpoint."""
    if options.offline:
        set_offline()
    path = options.path
    folder = ExperimentFolder(path) if os.path.isdir(path) else folder_of(path) if os.path.isfile(path) else None
    trained = folder and (folder.is_trained or folder.has_public_form)
    of_hub = not os.path.exists(path) and find_model(path) is None and parse_name(path, options.revision) is not None
    if (adapter := adapter_in(path)) is not None:
        return of_adapter(adapter)
    if not (options.config or trained or of_hub or published.find(path)):
        return _of_encoder(path, options.download_dir)
    try:
        found = rows(load_detector(path, None, options.config, options.download_dir, trust=options.trust,
                                   revision=options.revision))
        return found | (experiment(folder) if folder and os.path.isdir(path) else {})
    except Untrusted:
        raise
    except InputError as error:
        if of_hub and not options.config:
            with contextlib.suppress(InputError):
                return _of_encoder(f"{path}@{options.revision}" if options.revision else path, options.download_dir)
        if folder and folder.is_trained and os.path.isdir(path):  # no detector, or not yet
            return experiment(folder) | {"as a detector": str(error)}
        if options.config or not os.path.isfile(path):
            raise
        return _of_encoder(path, options.download_dir)  # an encoder's file may lie in an experiment


def _of_encoder(path: str, download_dir: str | None) -> dict[str, str]:
    try:
        kind = frontend_of(path)
    except InputError:
        if os.path.exists(path):
            raise
        near = difflib.get_close_matches(path, [*MODELS, *published.MODELS, *FRONTENDS.names()], 1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise InputError(f"{path}: no such file or folder, and no name of a model{hint}; "
                         "`wedefense info` and `wedefense models` list the names") from None
    if FRONTENDS.row(kind).self_contained:
        raise InputError(f"{kind} has no checkpoint: all there is to it are its options, dataset_args.{kind}_args")
    return FRONTENDS.load(kind).summary(path, download_dir)


def _mode(config: Config, folder: ExperimentFolder | None) -> str:
    """The config of a cut model is for going on with it."""
    if folder is None or folder.whole.root == folder.root:
        return config.chosen_mode
    return f"that of {folder.whole.root.name}, cut since"


def rows(model: LoadedDetector) -> dict[str, str]:
    """Label -> value, for a table."""
    detector, labels = model.detector, model.labels
    found = {"weights": str(model.weights)}
    for name, part in (("front-end", detector.frontend), ("back-end", detector.backend), ("head", detector.projection)):
        found[name] = f"{type(part).__name__}, {parameters(part):,} parameters"
    if detector.localizer is not None:
        found["segments"] = f"of {', '.join(map(str, detector.localizer.options.resolutions))} ms, each with a score"
    if model.config is not None:
        data = model.config.dataset_args
        named = isinstance(options := data.frontend_options, PretrainedOptions)
        found["front-end"] += f" ({data.frontend}{f': {options.upstream_args.name}' if named else ''})"
        found["training"] = f"{_mode(model.config, folder_of(model.weights))}, seed {model.config.seed}"
        if (adapters := adapters_in(data.frontend_options)).wanted:
            count = parameters(detector.frontend, trained_only=True)
            found["adapters"] = f"{adapters.in_words()}: {count:,} parameters"
    found |= {"parameters": f"{parameters(detector):,}",
              "classes": first_few((f"{name} ({count:,})" for name, count in zip(labels.names, labels.counts)), 8),
              "audio": f"{model.input_policy.rate} Hz, frames of {detector.frontend.frame_shift:g} ms",
              "embedding": f"{detector.backend.embed_dim} dimensions",
              "calibration": model.calibration.told() if model.calibration else "none"}
    return found | ({"remark": model.remark} if model.remark else {})
