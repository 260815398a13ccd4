"""Published detectors by name, and how each of their formats becomes a detector here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from wedefense.config.frontend import SSLOptions
from wedefense.config.heads import HEADS, SLSHeadOptions
from wedefense.config.models import MHFAOptions, SLSOptions
from wedefense.data.labels import Labels
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.recordings import InputPolicy
from wedefense.experiment import checkpoint
from wedefense.experiment.folder import NAMES
from wedefense.frontend.ssl.formats.huggingface import read_weight_file
from wedefense.frontend.ssl.formats.read import find_tensors, read_checkpoint
from wedefense.frontend.ssl.frontend import SSLFrontend, rename_upstream
from wedefense.models.detector import Cmvn, Detector, own_weights
from wedefense.models.heads import NoHead, SLSHead
from wedefense.models.mhfa import MHFA
from wedefense.models.sls import ENCODER, SLS, from_published
from wedefense.utils.errors import InputError, blamed_on
from wedefense.utils.hub import Repository, placed_folder
from wedefense.utils.tables import first_few

PRUNED_FILES = tuple(map(str, NAMES.public_form))
SLS_SAMPLES = 64_600
# How often the classes count in training: utterances of the training set times their weight in the loss.
SLS_LABELS = Labels(("bonafide", "spoof"), (2_322, 2_280))          # ASVspoof 2019 LA: 2,580 x 0.9 and 22,800 x 0.1
PRUNED_LABELS = Labels(("bonafide", "spoof"), (18_797, 163_560))    # ASVspoof 5
NO_LABELS, NO_HEAD = Labels((), ()), "the file has no head (projection.*): it gives embeddings and no scores"
_SLS_PAPER = "Zhang et al., Audio Deepfake Detection with XLS-R and SLS Classifier, ACM Multimedia 2024"


@dataclass(frozen=True)
class Published:
    name: str
    hub_id: str | None
    files: tuple[str, ...]
    paper: str
    result: tuple[str, str]  # table and row of wedefense.report.published_tables
    where: str = ""          # of a model that no hub has
    corpus: str = ""         # before the names of sets that do not say it


_SLS_HUB = "sukhdeveyash/XLS-R-SLS-Deepfake-Detection"
MODELS = {model.name: model for model in (
    Published("hybrid_pruning_wavlm_base", "JYP2024/Wedefense_ASV2025_WavLM_Base_Pruning", PRUNED_FILES,
              "Peng et al., Hybrid Pruning, arXiv:2508.16232", ("asvspoof5_leaderboard", "HP single system"),
              corpus="asvspoof5 "),
    Published("xlsr_sls_v1", _SLS_HUB, ("v1/epoch_2.pth",), _SLS_PAPER, ("xlsr_sls", "v1")),
    Published("xlsr_sls_v2", _SLS_HUB, ("v2/epoch_16.pth",), _SLS_PAPER, ("xlsr_sls", "v2")),
    Published("xlsr_sls_authors", None, (), _SLS_PAPER, ("xlsr_sls", "paper"),
              where="its authors hand it out by Google Drive and Baidu Pan, from the page of their code"),
)}


def find(name: str) -> Published | None:
    """The row of a name; of a hub id the first that it has."""
    key = name.lower().replace("-", "_")
    return MODELS.get(key) or next((model for model in MODELS.values() if model.hub_id == name), None)


def fetch_model(model: Published, download_dir: str | os.PathLike | None = None, token: str | None = None) -> Path:
    """Its file, or the folder of its files, in the cache."""
    if model.hub_id is None:
        raise InputError(f"'{model.name}' cannot be fetched: {model.where}; give the path of the file itself")
    folder = placed_folder(model.hub_id, download_dir)
    if not all((folder / file).is_file() for file in model.files):
        folder = Repository(model.hub_id, None, token, download_dir).folder(model.files)
    return folder if len(model.files) > 1 else folder / model.files[0]


def is_pruned_folder(folder: Path) -> bool:
    return all((folder / name).is_file() for name in PRUNED_FILES)


def is_sls(content) -> bool:
    """Whether a file is meant as the SLS authors': their encoder's prefix, and a layer of theirs beside it."""
    if not isinstance(content, Mapping):
        return False
    names = {str(name).removeprefix("module.") for name in content}
    return any(name.startswith(ENCODER) for name in names) and any(
        name.startswith(("fc0.", "fc1.", "fc3.", "first_bn.")) for name in names)


def load_sls(content: Mapping[str, Tensor], path: Path) -> LoadedDetector:
    """XLS-R and SLS as its authors' code saves them: 64,600 raw samples in, the log-posterior of bona fide out."""
    with blamed_on(path, "SLS detector"):
        return _load_sls(content, path)


def _load_sls(content: Mapping[str, Tensor], path: Path) -> LoadedDetector:
    names = {name.removeprefix("module.") for name in content}
    for name in ("fc0.weight", "fc1.weight", "fc3.weight"):
        if name not in names:
            others = [other for other in names if not other.startswith(ENCODER)]
            raise InputError(f"{path}: tensor '{name}' of an SLS checkpoint is missing (beside the encoder the file "
                             f"has {first_few(sorted(others), 10)})")
    weights = from_published(content)
    frontend = SSLFrontend(SSLOptions(), architecture=read_checkpoint(path).architecture)
    embed_dim, flat = weights["backend.fc1.weight"].shape
    kernel = SLSOptions.kernel_size
    options = SLSOptions(frame_length=kernel * (flat // (frontend.feat_dim // kernel)), embed_dim=embed_dim,
                         use_input_layer=False)
    head = SLSHead(SLSHeadOptions(), embed_dim, len(weights["projection.fc3.weight"]))
    detector = Detector(frontend, SLS(options, frontend.feat_dim, frontend.num_layers), head)
    rename_upstream(None, weights, "frontend.")
    checkpoint.load_weights(detector, weights, path)
    return LoadedDetector(detector, SLS_LABELS, path, input_policy=InputPolicy(fixed=SLS_SAMPLES), published_score=True,
                          remark="published SLS model: hears the first 64,600 samples (4.04 s); its LLR takes the "
                                 "weighted class counts of ASVspoof 2019 LA for priors")


def load_pruned(folder: Path) -> LoadedDetector:
    """A pruned SSL model with MHFA, as WeDefense publishes it: everything is read from the tensors."""
    with blamed_on(folder, "pruned detector"):
        return _load_pruned(folder)


def _load_pruned(folder: Path) -> LoadedDetector:
    encoder, path = (folder / name for name in PRUNED_FILES)
    weights = own_weights(tensors_of(read_weight_file(path), path))
    architecture = read_checkpoint(encoder).architecture
    frontend = SSLFrontend(SSLOptions(), architecture=architecture)
    heads, compression = _shape(weights, "backend.att_head.weight", path)
    embed_dim, _ = _shape(weights, "backend.pooling_fc.weight", path)
    options = MHFAOptions(head_nb=heads, compression_dim=compression, embed_dim=embed_dim)
    backend = MHFA(options, frontend.feat_dim, frontend.num_layers)
    headless = not any(name.startswith("projection.") for name in weights)
    projection = NoHead() if headless else _head(weights, embed_dim, path)
    detector = Detector(frontend, backend, projection, Cmvn(True, False, over_time=False))
    checkpoint.load_weights(detector, weights, path)
    if headless:
        return LoadedDetector(detector, NO_LABELS, path, remark=NO_HEAD)
    return LoadedDetector(detector, PRUNED_LABELS, path, remark=
                          "published pruned model: mean of each frame subtracted as WeDefense does by default; its LLR "
                          "takes the class counts of ASVspoof 5's training set for priors")


def _head(weights: Mapping[str, Tensor], embed_dim: int, path: Path):
    known = {"softmax": "projection.trans.2.weight", "linear": "projection.linear.weight",
             "arc_margin": "projection.weight"}
    for kind, name in known.items():
        if name in weights:
            return HEADS.load(kind)(HEADS.options(kind)(), embed_dim, len(weights[name]))
    found = [name for name in weights if name.startswith("projection.")]
    raise InputError(f"{path}: no head among its tensors: one of {', '.join(known.values())} is missing (found: "
                     f"{first_few(found, 10) or 'none that begins with projection.'})")


def _shape(weights: Mapping[str, Tensor], name: str, path: Path) -> tuple[int, int]:
    tensor = weights.get(name)
    if tensor is None or tensor.ndim != 2:
        found = [other.removeprefix("backend.") for other in weights if other.startswith("backend.")]
        raise InputError(f"{path}: tensor '{name.removeprefix('backend.')}' of an MHFA back-end is missing (the file's "
                         f"back-end has {first_few(found, 10) or 'none'})")
    return tuple(tensor.shape)


def tensors_of(content, path: Path) -> dict[str, Tensor]:
    return dict(find_tensors(content, str(path)))


def class_count(weights: Mapping[str, Tensor], path: Path, centres: int = 1) -> int:
    """Of the head, 0 where there is none; `centres`: how many it has for each class."""
    head = {name: tensor for name, tensor in weights.items() if name.removeprefix("module.").startswith("projection.")}
    names = [name for name, tensor in head.items() if tensor.ndim == 2 and min(tensor.shape) > 1
             and name.endswith("weight")]
    if head and not names:
        raise InputError(f"{path}: no weight (classes, features) in its head (found: {first_few(head, 10)})")
    return len(weights[names[-1]]) // centres if names else 0


def assumed_labels(classes: int) -> tuple[Labels, str]:
    """Of a checkpoint that does not tell them, and what to say about it."""
    if not classes:
        return NO_LABELS, NO_HEAD
    if classes == 2:
        return Labels(("bonafide", "spoof"), (1, 1)), ("classes taken to be bonafide and spoof, equally frequent in "
                                                       f"training: no {NAMES.labels} lies beside the checkpoint")
    return Labels(tuple(f"class {number}" for number in range(classes)), (1,) * classes), ""
