"""What a detector or a checkpoint is, in words."""

import contextlib
import os

from wedefense.config.frontend import FRONTENDS, PretrainedOptions
from wedefense.detect import published
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.loading import load_detector
from wedefense.experiment.folder import ExperimentFolder, folder_of
from wedefense.frontend.load import frontend_of
from wedefense.frontend.ssl.zoo import find_model
from wedefense.models.cost import parameters
from wedefense.utils.download import set_offline
from wedefense.utils.errors import InputError
from wedefense.utils.hub import parse_name


def model_or_checkpoint(options) -> dict[str, str]:
    """Label -> value: of the detector that `path` is; else of the encoder in a checkpoint."""
    if options.offline:
        set_offline()
    path = options.path
    folder = ExperimentFolder(path) if os.path.isdir(path) else folder_of(path) if os.path.isfile(path) else None
    trained = folder and (folder.is_trained or published.is_pruned_folder(folder.root))
    of_hub = not os.path.exists(path) and find_model(path) is None and parse_name(path, options.revision) is not None
    if not (options.config or trained or of_hub or published.find(path)):
        return _of_encoder(path, options.download_dir)
    try:
        return rows(load_detector(path, None, options.config, options.download_dir, trust=options.trust,
                                  revision=options.revision))
    except InputError:
        if of_hub and not options.config:
            with contextlib.suppress(InputError):
                return _of_encoder(f"{path}@{options.revision}" if options.revision else path, options.download_dir)
        if options.config or not os.path.isfile(path):
            raise
        return _of_encoder(path, options.download_dir)  # an encoder's file may lie in an experiment


def _of_encoder(path: str, download_dir: str | None) -> dict[str, str]:
    kind = frontend_of(path)
    if FRONTENDS.row(kind).self_contained:
        raise InputError(f"{kind} has no checkpoint: all there is to it are its options, dataset_args.{kind}_args")
    return FRONTENDS.load(kind).summary(path, download_dir)


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
        found["training"] = f"{model.config.chosen_mode}, seed {model.config.seed}"
    found |= {"parameters": f"{parameters(detector):,}",
              "classes": ", ".join(f"{name} ({count:,})" for name, count in zip(labels.names, labels.counts)),
              "audio": f"{model.input_policy.rate} Hz, frames of {detector.frontend.frame_shift:g} ms",
              "embedding": f"{detector.backend.embed_dim} dimensions",
              "calibration": model.calibration.formula() if model.calibration else "none"}
    return found | ({"remark": model.remark} if model.remark else {})
