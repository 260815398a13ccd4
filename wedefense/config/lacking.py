"""What other toolkits have and this one lacks, and the nearest that it has: a row of a table for each part."""

from typing import NamedTuple

from wedefense.config.frontend import FRONTENDS
from wedefense.config.models import BACKENDS
from wedefense.config.registry import Registry
from wedefense.config.tree import Leaf, Tree
from wedefense.utils.errors import InputError


class Lacking(NamedTuple):
    key: str      # where a config names it: a dotted key
    start: str    # how its name begins there; "" for any value, or a whole section
    what: str
    nearest: str


_ADAPTERS = "dataset_args.ssl_args.adapters"
_SSL = "frontend: ssl with an encoder of the wav2vec 2.0 family"
PARTS = (
    Lacking("model", "SSL_BACKEND_multireso", "the back-end BLSTMs at several resolutions",
            "model: SSL_BACKEND_multireso_MaxPool1dLin_gmlp"),
    Lacking("model", "ERes2Net34_aug", "the back-end ERes2Net of three shares", "model: ERes2Net34_Large"),
    Lacking("model", "REPVGG_", "the back-end RepVGG of dilated or grouped branches", "model: REPVGG_A0"),
    Lacking("model", "ReDimNet2", "the back-end ReDimNet2", "model: ReDimNetB6"),
    Lacking("model", "SimAM_ResNet", "the back-end SimAM-ResNet", "model: ResNet34"),
    Lacking("model", "whisper_PMFA", "the back-end Whisper-PMFA", "frontend: whisper with model: SSL_BACKEND_MFA"),
    Lacking("model", "W2VBERT", "the back-end of w2v-BERT", "model: SSL_BACKEND_MFA"),
    Lacking("dataset_args.frontend", "w2vbert", "the front-end w2v-BERT", _SSL),
    Lacking("dataset_args.frontend", "whisper_encoder", "WeSpeaker's Whisper front-end", "frontend: whisper"),
    Lacking("dataset_args.frontend", "tfmel", "mel features as TensorFlow makes them", "frontend: fbank"),
    Lacking("dataset_args.frontend", "eat", "the front-end EAT", _SSL),
    Lacking("dataset_args.frontend", "beats", "the front-end BEATs", _SSL),
    Lacking("dataset_args.frontend", "dasheng", "the front-end Dasheng", _SSL),
    Lacking("dino_head_args", "", "pretraining without labels (DINO)", _SSL),
    Lacking("contrastive_type", "", "pretraining without labels (SimCLR, MoCo)", _SSL),
    # Theirs train every norm of the encoder, have biases in LoRA and begin elsewhere than at no change.
    Lacking("model_args.adapter_type", "LoRaAdapter", "adapters as MHFA's authors have them",
            f"{_ADAPTERS}: {{type: lora, targets: [q_proj, k_proj], norms: True}}"),
    Lacking("model_args.adapter_type", "", "adapters as MHFA's authors have them",
            f"{_ADAPTERS}: {{type: bottleneck, norms: True}}"),
    Lacking("adapter_tuning", "", "adapters as MHFA's authors have them", f"{_ADAPTERS}: {{type: bottleneck}}"),
    Lacking("model_args.randninit", "", "training an encoder from random weights", "its pretrained weights"),
    Lacking("feature_args", "", "the config of WeSpeaker's first data pipeline", "its section dataset_args"),
)


def refuse(tree: Tree) -> None:
    """`InputError` for a part of the table that `tree` names and nothing here is called."""
    known: dict[str, Registry] = {"model": BACKENDS, "dataset_args.frontend": FRONTENDS}
    for part in PARTS:
        node = _find(tree, part.key)
        named = node.value if isinstance(node, Leaf) else None
        if node is None or named is False or not str(named).lower().startswith(part.start.lower()):
            continue
        if part.key not in known or str(named) not in known[part.key]:
            name = f" '{named}'" if part.start else ""
            raise InputError(f"{_origin(node)}: {part.key}{name}: {part.what} is not here; the nearest is "
                             f"{part.nearest}")


def _find(tree: Tree, dotted: str) -> Leaf | Tree | None:
    node: Leaf | Tree | None = tree
    for key in dotted.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return node


def _origin(node) -> str:
    while isinstance(node, dict) and node:
        node = next(iter(node.values()))
    return node.origin if isinstance(node, Leaf) else "config"
