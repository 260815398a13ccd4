"""Configs of WeSpeaker and WeDefense in our words: what their training writes into them, what they call otherwise.

It works on what the YAML says, before types are checked; what is left as it is means the same in all toolkits. What
they have and we lack is refused by `wedefense.config.lacking`.
"""

from wedefense.config.lacking import refuse
from wedefense.config.tree import Leaf, Tree
from wedefense.utils.errors import InputError

_BY_TRAINING = {"": ("original_ssl_num_params",), "scheduler_args": ("num_epochs", "epoch_iter", "scale_ratio")}
_SAME = (("optimizer_args", "lr", "scheduler_args", "initial_lr"), ("", "reg_lr", "", "initial_reg_lr"))
_SQUARES = ("MSEp2sgrad", "p2sgrad")
_BUT_SHIFT, _BUT_LENGTH = 10, 25  # ms, of the frames that count in configs of WavLM_MHFA
_SHIFT = 20


def understood(tree: Tree) -> Tree:
    """`tree` with the keys that we know, values as they were meant."""
    refuse(tree)
    tree = _written_by_training(tree)
    tree = _segments(tree)
    tree = _mean_squares(tree)
    tree = _wavlm_mhfa(tree)
    return _no_workers(tree)


def _at(tree: Tree, *keys: str):
    """The value there, None where there is none."""
    node: Leaf | Tree | None = tree
    for key in keys:
        if key:
            node = node.get(key) if isinstance(node, dict) else None
    return node.value if isinstance(node, Leaf) else None


def _section(tree: Tree, name: str) -> Tree:
    section = tree.get(name) if name else tree
    return section if isinstance(section, dict) else {}


def _without(tree: Tree, section: str, keys) -> Tree:
    kept = {key: value for key, value in _section(tree, section).items() if key not in keys}
    return tree | {section: kept} if section else kept


def _written_by_training(tree: Tree) -> Tree:
    for section, keys in _BY_TRAINING.items():
        if keys & _section(tree, section).keys():
            tree = _without(tree, section, keys)
    for section, key, other_section, other in _SAME:
        written = _at(tree, section, key)
        if written is not None and written == _at(tree, other_section, other):  # else the options themselves refuse it
            tree = _without(tree, section, (key,))
    return tree


def _segments(tree: Tree) -> Tree:
    """`dataset_args.label_reso`, in seconds: segments are all that is trained, and the projection is theirs."""
    found = _section(tree, "dataset_args").get("label_reso")
    if not isinstance(found, Leaf):
        return tree
    if not isinstance(found.value, (int, float)) or found.value <= 0:
        raise InputError(f"{found.origin}: dataset_args.label_reso: expected seconds, like 0.02, got {found.value!r}")

    def leaf(value) -> Leaf:
        return Leaf(value, found.origin)

    squares = _at(tree, "projection_args", "project_type") in _SQUARES
    asked: Tree = {"resolutions": leaf([round(1000 * found.value)]), "utterance": leaf("min"),
                   "utterance_weight": leaf(0.0), "loss": leaf("p2sgrad" if squares else "cross_entropy")}
    tree = _without(tree, "dataset_args", ("label_reso",))
    return tree | {"localization_args": asked | _section(tree, "localization_args")}


def _mean_squares(tree: Tree) -> Tree:
    """`loss: MSELoss` beside a projection that has a loss of its own, the mean of squares."""
    if _at(tree, "loss") == "MSELoss" and _at(tree, "projection_args", "project_type") in _SQUARES:
        return _without(tree, "", ("loss", "loss_args"))
    return tree


def _no_workers(tree: Tree) -> Tree:
    """`prefetch_factor: null`, as torch wants it where no worker reads ahead."""
    loader = _section(tree, "dataloader_args")
    if "prefetch_factor" in loader and _at(tree, "dataloader_args", "prefetch_factor") is None:
        return _without(tree, "dataloader_args", ("prefetch_factor",))
    return tree


def _wavlm_mhfa(tree: Tree) -> Tree:
    """`frontend: wavlm` with `model: WavLM_MHFA`: encoder and MHFA are one model, and the encoder a file.

    WavLM hears samples as they are, its last layer comes out before the final norm and nothing is normalised.
    Frames are counted every 10 ms.
    """
    if _at(tree, "model") != "WavLM_MHFA":
        return tree
    data, given = dict(_section(tree, "dataset_args")), dict(_section(tree, "model_args"))
    model = tree["model"]
    assert isinstance(model, Leaf)  # as its value was found above
    origin = model.origin

    def leaf(value) -> Leaf:
        return Leaf(value, origin)

    file, scale = _at(given, "model_path"), _at(given, "feature_grad_mult")
    path = given.pop("model_path", None)
    if path is None:
        raise InputError(f"{origin}: model_args.model_path: WavLM_MHFA needs the file of its WavLM")
    frozen = scale is not None and scale == 0
    if frozen:
        given.pop("feature_grad_mult")  # scaled by nothing, it is frozen
    large = "large" in str(file).lower()
    name = leaf("wavlm_large" if large else "wavlm_base_plus")
    encoder: Tree = {
        "upstream_args": {"name": name, "path_or_url": path},
        "frozen": leaf(frozen), "layer_drop": given.pop("layer_drop", leaf(0.05)),
        "normalize_waveform": leaf(False), "final_norm": leaf(False)}
    for ignored in ("pooling", "group", "cnn_scale"):  # one value is possible, or gradients alone change
        given.pop(ignored, None)
    frames = _at(data, "num_frms")
    if frames is not None:
        milliseconds = (frames - 1) * _BUT_SHIFT + _BUT_LENGTH
        ours = frames * _BUT_SHIFT // _SHIFT
        data["num_frms"] = leaf(ours)
        encoder["frame_length"] = leaf(float(milliseconds - (ours - 1) * _SHIFT))
    if "filter_args" in data:
        data["filter_args"] = {key: leaf(value.value * _BUT_SHIFT // _SHIFT) if isinstance(value, Leaf) else value
                               for key, value in _section(data, "filter_args").items()}
    data.pop("wavlm_args", None)
    data |= {"frontend": leaf("ssl"), "ssl_args": encoder, "cmvn": leaf(False)}
    return tree | {"dataset_args": data, "model": leaf("SSL_BACKEND_MHFA"), "model_args": given}
