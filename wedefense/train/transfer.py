"""`model_init`: what a trained model gives to a new one, part by part."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from wedefense.config.augment import SPEEDS
from wedefense.config.frontend import FRONTENDS, adapters_in
from wedefense.config.schema import Config
from wedefense.data.labels import Labels
from wedefense.detect.published_forms import Form, form_of
from wedefense.experiment import checkpoint
from wedefense.experiment.folder import folder_of
from wedefense.experiment.load import architecture_in
from wedefense.experiment.model_config import adapters_beside
from wedefense.frontend.conformer.architecture import ConformerArchitecture
from wedefense.frontend.ssl.adapters import is_adapter, merged
from wedefense.frontend.ssl.architecture import Architecture
from wedefense.frontend.ssl.formats.peft import load_adapter, read_adapter
from wedefense.frontend.ssl.formats.recorded import architecture_of_weights
from wedefense.frontend.ssl.zoo import find_model
from wedefense.models.detector import Detector, build_detector, own_weights
from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few

log = get_logger()

PARTS = {"frontend.": "front-end", "backend.": "back-end", "projection.": "head", "localizer.": "heads of segments"}
_OF_LISTENING = ("frontend.", "backend.")  # without one of these nothing is transferred


def initialised(config: Config, names: Sequence[str]) -> Detector:
    """The detector of `config` for these classes, with the parts of `model_init` that fit it.

    A part fits where the file has all its tensors in their shapes, a head where the classes are the same too; what
    does not fit begins as without `model_init`. A pruned experiment goes on with the shape that was cut; gates that
    the weights lack stay as they begin. Large-margin fine-tuning leaves the speakers at other speeds behind, which
    come last among the classes. Adapters go on where the config has the same; others are merged into the weights that
    they change, and those of the config begin, as that of PEFT which it names.
    """
    assert config.model_init
    path = Path(config.model_init)
    content = checkpoint.load_model(path)
    weights = own_weights(content)
    architecture = _architecture(path, config) if any(name.startswith("frontend.") for name in weights) else None
    detector, taken, left = _begun(config, names, path, weights, architecture)
    if architecture is not None and PARTS["frontend."] in left:  # the shape alone was built, for weights of the file
        detector, taken, left = _begun(config, names, path, weights, None)
    log.info("weights start from %s: %s", path, ", ".join(taken))
    for part, reason in left.items():
        log.warning("model_init: the %s of %s is left behind (%s) and begins as without it", part, path, reason)
    if PARTS["frontend."] in taken:
        _begin_adapter(config, path, detector, taken[PARTS["frontend."]])
    if PARTS["backend."] in taken and (form := form_of(content)) is not None:
        _compare_crops(config, path, form)
    return detector


def _compare_crops(config: Config, path: Path, form: Form) -> None:
    """What is trained here hears what its config says, whatever its authors' code heard."""
    data = config.dataset_args
    if form.fixed is None:
        return
    frames, other = data.frames(form.fixed), []
    if data.whole_utt:
        other.append("whole_utt: False")
    if data.whole_utt or data.num_frms != frames:
        other.append(f"num_frms: {frames}")
    if data.eval_frms != frames:
        other.append(f"eval_frms: {frames}")
    if other:
        trained = "whole utterances" if data.whole_utt else f"{data.samples(data.num_frms):,} samples"
        scored = f"{data.samples(data.eval_frms):,} samples" if data.eval_frms else "whole utterances"
        log.warning("model_init: %s: a detector of %s hears %s samples; this config trains on %s and scores %s. To "
                    "keep to what it heard, set %s", path, form.name, f"{form.fixed:,}", trained, scored,
                    ", ".join(f"dataset_args.{option}" for option in other))


def _begun(config: Config, names: Sequence[str], path: Path, weights: dict[str, Tensor],
           architecture: Architecture | ConformerArchitecture | None) -> tuple[Detector, dict[str, set[str]], dict]:
    """The detector, with what was taken from the file: its names by part; and why other parts were not."""
    detector = build_detector(config, len(names), architecture)
    own, weights = detector.state_dict(), _of_adapters(path, checkpoint.adopted(detector, weights), config)
    given = set(weights)
    begins = {name: value for name, value in own.items() if name.endswith("gate.log_alpha") or is_adapter(name)}
    weights = begins | weights
    if config.do_lm:
        weights |= _first_speed(own, weights)
    taken, left = _parts(own, weights)
    if "head" in taken and _other_classes(path, names):
        taken.pop("head")
        left["head"] = "its classes are others"
    if not any(PARTS[prefix] in taken and any(name.startswith(prefix) for name in own) for prefix in _OF_LISTENING):
        raise InputError(f"model_init: {path}: nothing of it fits this config: "
                         + "; ".join(f"the {part}: {reason}" for part, reason in left.items()) + _bare(weights))
    detector.load_state_dict(own | {name: tensor for part in taken.values() for name, tensor in part.items()})
    return detector, {part: given & tensors.keys() for part, tensors in taken.items()}, left


def _begin_adapter(config: Config, path: Path, detector: Detector, taken: set[str]) -> None:
    """As the folder of PEFT that the config names, over the encoder of the file, unless adapters of the file go on."""
    options = adapters_in(config.dataset_args.frontend_options)
    if options.path is None:
        return
    if any(map(is_adapter, taken)):
        log.warning("model_init: the adapters of %s go on, and adapters.path %s is not read", path, options.path)
    else:
        load_adapter(detector.pretrained.upstream, options, read_adapter(options.path))


def _of_adapters(path: Path, weights: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """`weights` without adapters that are others than those of `config`."""
    if not any(map(is_adapter, weights)):
        return weights
    theirs = adapters_beside(path)
    if theirs.computes_as(adapters_in(config.dataset_args.frontend_options)):
        return weights
    if theirs.type != "lora":
        raise InputError(f"model_init: {path}: {theirs.in_words()} cannot be merged into weights; set the same under "
                         f"dataset_args.{config.dataset_args.frontend_section}.adapters")
    log.info("model_init: %s: its adapters, %s, are merged into the weights that they change", path, theirs.in_words())
    return merged(weights, theirs.scale)


def _parts(own: dict[str, Tensor], weights: dict[str, Tensor]) -> tuple[dict[str, dict[str, Tensor]], dict[str, str]]:
    """The tensors of each part that fits, and why others do not."""
    taken, left = {}, {}
    for prefix, part in PARTS.items():
        wanted = {name: tensor for name, tensor in own.items() if name.startswith(prefix)}
        given = {name: tensor for name, tensor in weights.items() if name.startswith(prefix)}
        if not (wanted or given):
            continue
        reason = _difference(wanted, given)
        if reason is None:
            taken[part] = given
        else:
            left[part] = reason
    return taken, left


def _difference(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> str | None:
    if not given:
        return "the file has none"
    for name, tensor in wanted.items():
        if name not in given:
            return f"it lacks '{name}'"
        if given[name].shape != tensor.shape:
            return f"'{name}' has shape {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
    more = [name for name in given if name not in wanted]
    return f"it has {first_few(more)} besides" if more else None


def _bare(weights: dict[str, Tensor]) -> str:
    """What to do with a file of a pretrained encoder."""
    encoder = any(f".{name}".endswith((".feature_extractor.conv_layers.0.0.weight",
                                       ".feature_extractor.conv_layers.0.conv.weight")) for name in weights)
    return ("; an encoder alone is given as upstream_args.path_or_url" if encoder else
            "; check model, model_args and the front-end, or give the model that was trained with them")


def _architecture(path: Path, config: Config) -> Architecture | ConformerArchitecture | None:
    """Of the file's encoder, where it is one of the kind that the config names; else the config's own is read."""
    data = config.dataset_args
    row = FRONTENDS.row(data.frontend)
    if not (row.prunable or row.shape_in_weights):
        return None
    found = architecture_of_weights(path) or architecture_in(path, config)
    named = find_model(data.frontend_options.upstream_args.name)
    if found is None or named is None or data.frontend_options.upstream_args.path_or_url:
        return found
    kinds = [(one.family, one.dim, one.num_blocks) for one in (found, named.architecture)]
    related = {"wav2vec2", "hubert", "unispeech_sat"}  # one network under three names
    same = kinds[0][1:] == kinds[1][1:] and (kinds[0][0] == kinds[1][0] or {kinds[0][0], kinds[1][0]} <= related)
    return found if same else None


def _other_classes(path: Path, names: Sequence[str]) -> bool:
    """Whether the experiment of the file says that its classes are not these, in this order."""
    folder = folder_of(path)
    return folder is not None and Labels.load(folder.labels).names[:len(names)] != tuple(names)


def _first_speed(own: dict[str, Tensor], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The head's rows of speakers as they were recorded."""
    heads = {name: tensor for name, tensor in own.items() if name.startswith("projection.") and tensor.dim()}
    return {name: weights[name][:len(tensor)] for name, tensor in heads.items()
            if name in weights and len(weights[name]) == len(SPEEDS) * len(tensor)}
