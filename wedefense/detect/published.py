"""Published detectors by name, and how each of their formats becomes a detector here."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from wedefense.config.frontend import SSLOptions
from wedefense.config.heads import HEADS
from wedefense.config.models import MHFAOptions
from wedefense.data.labels import Labels
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.published_forms import (
    AASIST_FORM,
    ANTIDEEPFAKE_FORM,
    NES2NET_FORM,
    RAPTOR_FORM,
    SLS_FORM,
    Form,
)
from wedefense.experiment import checkpoint
from wedefense.experiment.folder import NAMES
from wedefense.frontend.ssl.formats.huggingface import read_weight_file
from wedefense.frontend.ssl.formats.read import find_tensors, read_checkpoint
from wedefense.frontend.ssl.frontend import SSLFrontend
from wedefense.frontend.ssl.zoo import WEIGHT_FILES
from wedefense.models.detector import Cmvn, Detector, own_weights
from wedefense.models.heads import NoHead
from wedefense.models.mhfa import MHFA
from wedefense.utils.errors import InputError, blamed_on
from wedefense.utils.hub import Repository, placed_folder
from wedefense.utils.log import get_logger
from wedefense.utils.tables import first_few

PRUNED_FILES = tuple(map(str, NAMES.public_form))
# How often the classes count in training.
PRUNED_LABELS = Labels(("bonafide", "spoof"), (18_797, 163_560))    # ASVspoof 5
NO_LABELS, NO_HEAD = Labels((), ()), "the file has no head (projection.*): it gives embeddings and no scores"
_SLS_PAPER = "Zhang et al., Audio Deepfake Detection with Self-Supervised XLS-R and SLS Classifier, ACM Multimedia 2024"


@dataclass(frozen=True)
class Published:
    name: str
    hub_id: str | None
    files: tuple[str, ...]
    paper: str
    result: tuple[str, str]  # table and row of wedefense.report.published_tables
    where: str = ""          # of a model that no hub has
    corpus: str = ""         # before the names of sets that do not say it
    licence: str = "none that we know of; ask its authors"
    commercial: bool = True  # False: the licence forbids it, which is told before weights are fetched
    form: Form | None = None  # None: a pruned model of WeDefense

    @property
    def hears(self) -> str:
        return "16 kHz, the whole recording, as it is" if self.form is None else self.form.hears

    @property
    def score(self) -> str:
        return "the log-likelihood ratio" if self.form is None else self.form.scores_by


def _in_table(name: str, hub_id: str | None, file: str, paper: str, licence: str, form: Form,
              **others) -> Published:
    return Published(name, hub_id, (file,) if hub_id else (), paper, ("published_detectors", name), licence=licence,
                     form=form, **others)


def _antideepfake(name: str, hub_name: str) -> Published:
    return _in_table(f"antideepfake_{name}", f"nii-yamagishilab/{hub_name}-anti-deepfake", "model.safetensors",
                     "Ge et al., Post-training for Deepfake Speech Detection, arXiv:2506.21090",
                     "CC BY-NC-SA 4.0: research and education, no commercial use", ANTIDEEPFAKE_FORM, commercial=False)


def _df_arena(size: str) -> Published:
    return _in_table(f"df_arena_{size.lower()}", f"Speech-Arena-2025/DF_Arena_{size}_V_1", "pytorch_model.bin",
                     "Kulkarni et al., RAPTOR, arXiv:2603.06164",
                     "its own: research, no commercial use (LICENSE.txt of the release)", RAPTOR_FORM, commercial=False)


def _xlsr_aasist(track: str) -> Published:
    return _in_table(f"xlsr_aasist_{track.lower()}", None, "", "Tak et al., Odyssey 2022, arXiv:2202.12233",
                     "MIT of the code; none is stated for the weights", AASIST_FORM,
                     where=f"its authors hand out best_SSL_model_{track}.pth by Google Drive, from the page of their "
                           "code (SSL_Anti-spoofing)")


def _nes2net(name: str, which: str) -> Published:
    return _in_table(name, None, "", "Liu et al., Nes2Net, IEEE T-IFS 2025, arXiv:2504.05657",
                     "none is stated", NES2NET_FORM,
                     where=f"its authors hand it out by Google Drive ({which}), from the page of their code "
                           "(Nes2Net_ASVspoof_ITW)")


_SLS_HUB = "sukhdeveyash/XLS-R-SLS-Deepfake-Detection"
MODELS = {model.name: model for model in (
    Published("hybrid_pruning_wavlm_base", "JYP2024/Wedefense_ASV2025_WavLM_Base_Pruning", PRUNED_FILES,
              "Peng et al., Hybrid Pruning, arXiv:2508.16232", ("asvspoof5_leaderboard", "HP single system"),
              corpus="asvspoof5 "),
    Published("xlsr_sls_v1", _SLS_HUB, ("v1/epoch_2.pth",), _SLS_PAPER, ("xlsr_sls", "v1"), form=SLS_FORM),
    Published("xlsr_sls_v2", _SLS_HUB, ("v2/epoch_16.pth",), _SLS_PAPER, ("xlsr_sls", "v2"), form=SLS_FORM),
    Published("xlsr_sls_authors", None, (), _SLS_PAPER, ("xlsr_sls", "paper"), form=SLS_FORM,
              where="its authors hand it out by Google Drive and Baidu Pan, from the page of their code"),
    *(_df_arena(size) for size in ("1B", "500M")),
    *(_antideepfake(*names) for names in (
        ("xls_r_2b", "xls-r-2b"), ("xls_r_1b", "xls-r-1b"), ("mms_1b", "mms-1b"), ("mms_300m", "mms-300m"),
        ("hubert_xl", "hubert-xlarge"), ("wav2vec_large", "wav2vec-large"), ("wav2vec_small", "wav2vec-small"))),
    *(_xlsr_aasist(track) for track in ("LA", "DF")),
    _nes2net("nes2net_x", "the checkpoint of 1.65 %"), _nes2net("nes2net_x_averaged", "five epochs averaged, 1.49 %"),
)}


def find(name: str) -> Published | None:
    """The row of a name; of a hub id the first that it has."""
    key = name.lower().replace("-", "_")
    return MODELS.get(key) or next((model for model in MODELS.values() if model.hub_id == name), None)


def fetch_model(model: Published, download_dir: str | os.PathLike | None = None, token: str | None = None,
                revision: str | None = None) -> Path:
    """Its file, or the folder of its files, in the cache; the licence is told before anything is fetched."""
    if model.hub_id is None:
        raise InputError(f"'{model.name}' cannot be fetched: {model.where}; give the path of the file itself")
    placed = placed_folder(model.hub_id, download_dir)
    if revision is None and all((placed / file).is_file() for file in model.files):
        return placed if len(model.files) > 1 else placed / model.files[0]
    repository = Repository(model.hub_id, revision, token, download_dir)
    kinds = dict.fromkeys((*model.files, *(WEIGHT_FILES if model.files[0] in WEIGHT_FILES else ())))
    if not (model.commercial or any(map(repository.cached, kinds))):
        get_logger().warning("%s: the licence of its weights is %s", model.hub_id, model.licence)
    if len(model.files) > 1:
        return repository.folder(model.files)
    found = next((repository.get(file) for file in kinds if repository.has(file)), None)
    return found or repository.get(model.files[0])


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
