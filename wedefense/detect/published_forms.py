"""The forms in which authors hand out whole detectors: what each hears, says and is built of here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from wedefense.config.frontend import SSLOptions
from wedefense.config.heads import LinearOptions, SLSHeadOptions
from wedefense.config.models import Nes2NetOptions, PooledOptions, Pooling, RAPTOROptions, SLSOptions
from wedefense.data.labels import Labels
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.recordings import InputPolicy
from wedefense.experiment import checkpoint
from wedefense.frontend.ssl.formats.tensor_names import infer_architecture, locate, to_our_names
from wedefense.frontend.ssl.frontend import SSLFrontend
from wedefense.models import published_detectors as namings
from wedefense.models.aasist import AASIST
from wedefense.models.detector import Detector
from wedefense.models.heads import Linear, SLSHead
from wedefense.models.nes2net import Nes2Net
from wedefense.models.published_detectors import Naming, bare, naming_of
from wedefense.models.raptor import RAPTOR, positions
from wedefense.models.simple import MeanPooling
from wedefense.models.sls import SLS
from wedefense.utils.errors import InputError, blamed_on
from wedefense.utils.tables import first_few

Tensors = Mapping[str, Tensor]
PublishedScore = Literal["", "logit", "probability"]
SAMPLES = 64_600  # 4.04 s at 16 kHz
CLASSES = ("bonafide", "spoof")
# How often the classes count in training: utterances of the training set times their weight in the loss.
WEIGHTED_2019 = Labels(CLASSES, (2_580, 22_800), (0.9, 0.1))  # ASVspoof 2019 LA
EQUAL = Labels(CLASSES, (1, 1))
_CROP = f"hears the first {SAMPLES:,} samples ({SAMPLES / 16000:.2f} s)"
_WEIGHTED = "its LLR takes the weighted class counts of ASVspoof 2019 LA for priors"
_UNTOLD = "its LLR takes equal priors, since nobody states how often the classes came in training"


@dataclass(frozen=True)
class Form:
    name: str
    naming: Naming
    needed: tuple[str, ...]   # tensors that it cannot be built without
    build: Callable[[Tensors, SSLFrontend], nn.Module]  # its back-end
    labels: Labels
    score: PublishedScore     # what its authors call the score
    remark: str
    fixed: int | None = SAMPLES       # samples that it hears; None: all
    normalized: bool = False          # it hears a waveform of mean 0 and variance 1
    final_norm: bool = True           # of the encoder
    layers: bool = False              # the back-end takes all layers, not the last alone
    head: type[Linear | SLSHead] = Linear

    @property
    def hears(self) -> str:
        heard = f"the first {self.fixed:,} samples, repeated up to them" if self.fixed else "the whole recording"
        return f"16 kHz, {heard}, {'made to mean 0 and variance 1' if self.normalized else 'as it is'}"

    @property
    def scores_by(self) -> str:
        return {"logit": "the output for bona fide", "probability": "the probability of bona fide"}[self.score]


def _sls(tensors: Tensors, frontend: SSLFrontend) -> SLS:
    embed_dim, flat = tensors["fc1.weight"].shape
    kernel = SLSOptions.kernel_size
    options = SLSOptions(frame_length=kernel * (flat // (frontend.feat_dim // kernel)), embed_dim=embed_dim,
                         use_input_layer=False)
    return SLS(options, frontend.feat_dim, frontend.num_layers)


def _aasist(tensors: Tensors, frontend: SSLFrontend) -> AASIST:
    return AASIST(PooledOptions(embed_dim=-1), frontend.feat_dim, frontend.num_layers)


def _nes2net(tensors: Tensors, frontend: SSLFrontend) -> Nes2Net:
    """`dilation` is in no tensor: 2, as in the authors' scripts."""
    outer, first = "Nested_Res2Net_TDNN.Build_in_Res2Nets.", "Nested_Res2Net_TDNN.Build_in_Res2Nets.0."
    groups = len({name.removeprefix(outer).split(".")[0] for name in tensors if name.startswith(outer)}) + 1
    inner = len({name for name in tensors if name.startswith(f"{first}convs.") and name.endswith("weight")}) + 1
    narrow, width = tensors[f"{first}se.se.1.weight"].shape[:2]
    pooling: Pooling = "ASTP" if "Nested_Res2Net_TDNN.pooling.linear1.weight" in tensors else "TAP"
    options = Nes2NetOptions(Nes_ratio=(groups, inner), dilation=2, SE_ratio=width // narrow, pool_func=pooling,
                             weighted=f"{first}weighted_sum.0" in tensors)
    return Nes2Net(options, frontend.feat_dim, frontend.num_layers)


def _raptor(tensors: Tensors, frontend: SSLFrontend) -> RAPTOR:
    """Its table of positions is no weight: held to the formula here, and left out."""
    table, block = tensors["conformer.positional_emb"], "conformer.encoder_blocks."
    if (table[0] - positions(table.shape[1], table.shape[2])).abs().max() > 1e-3:
        raise InputError("'conformer.positional_emb' is not the table of sines that the published code makes")
    dim, hidden = tensors[f"{block}0.ff1.fn.norm.weight"].shape[0], tensors[f"{block}0.ff1.fn.fn.net.0.weight"].shape[0]
    wide, _, kernel = tensors[f"{block}0.conv.net.4.conv.weight"].shape
    options = RAPTOROptions(
        num_blocks=len({name.removeprefix(block).split(".")[0] for name in tensors if name.startswith(block)}),
        heads=tensors[f"{block}0.attn.fn.pos_embed"].shape[1], ff_mult=hidden // dim, conv_expansion=wide // dim,
        kernel_size=kernel)
    return RAPTOR(options, frontend.feat_dim, frontend.num_layers)


def _mean(tensors: Tensors, frontend: SSLFrontend) -> MeanPooling:
    return MeanPooling(PooledOptions(embed_dim=-1), frontend.feat_dim, frontend.num_layers)


_RAPTOR_BLOCK = "conformer.encoder_blocks.0."
RAPTOR_FORM = Form(
    "RAPTOR", namings.RAPTOR,
    needed=("attn_scores.weight", "conformer.positional_emb", "conformer.fc5.weight",
            *(_RAPTOR_BLOCK + name for name in ("ff1.fn.norm.weight", "ff1.fn.fn.net.0.weight",
                                                "conv.net.4.conv.weight", "attn.fn.pos_embed"))),
    build=_raptor, labels=EQUAL, score="probability", layers=True,
    remark=f"published RAPTOR model: {_CROP}; {_UNTOLD}")
AASIST_FORM = Form(
    "XLS-R + AASIST", namings.AASIST, needed=("out_layer.weight",), build=_aasist, labels=WEIGHTED_2019, score="logit",
    remark=f"published AASIST model: {_CROP}; {_WEIGHTED}")
NES2NET_FORM = Form(
    "XLS-R + Nes2Net", namings.NES2NET,
    needed=("Nested_Res2Net_TDNN.Build_in_Res2Nets.0.se.se.1.weight", "Nested_Res2Net_TDNN.fc.weight"),
    build=_nes2net, labels=WEIGHTED_2019, score="logit", remark=f"published Nes2Net model: {_CROP}; {_WEIGHTED}")
SLS_FORM = Form(
    "SLS", namings.SLS, needed=("fc0.weight", "fc1.weight", "fc3.weight"), build=_sls, labels=WEIGHTED_2019,
    score="logit", final_norm=False, layers=True, head=SLSHead, remark=f"published SLS model: {_CROP}; {_WEIGHTED}")
ANTIDEEPFAKE_FORM = Form(
    "AntiDeepfake", namings.ANTIDEEPFAKE, needed=("proj_fc.weight",), build=_mean, labels=EQUAL, score="probability",
    fixed=None, normalized=True, remark=f"published AntiDeepfake model: hears the whole recording; {_UNTOLD}")
FORMS = (RAPTOR_FORM, AASIST_FORM, NES2NET_FORM, SLS_FORM, ANTIDEEPFAKE_FORM)


def form_of(content: object) -> Form | None:
    """Which form a file is meant as."""
    found = naming_of(content)
    return next((form for form in FORMS if form.naming is found), None)


def load_form(form: Form, content: Tensors, path: Path) -> LoadedDetector:
    with blamed_on(path, f"{form.name} detector"):
        return _load(form, bare(content), path)


def _load(form: Form, tensors: Tensors, path: Path) -> LoadedDetector:
    for name in form.needed:
        if name not in tensors:
            others = [other for other in tensors if not other.startswith(form.naming.encoder)]
            raise InputError(f"{path}: tensor '{name}' of a checkpoint of {form.name} is missing (beside the encoder "
                             f"the file has {first_few(sorted(others), 10)})")
    frontend, weights = _frontend(form, tensors, path)
    backend = form.build(tensors, frontend)
    head_options = SLSHeadOptions() if form.head is SLSHead else LinearOptions()
    head = form.head(head_options, backend.embed_dim, len(tensors[f"{form.naming.output}.weight"]))
    detector = Detector(frontend, backend, head)
    weights |= dict(form.naming.beside_the_encoder(tensors))
    checkpoint.load_weights(detector, weights, path)
    return LoadedDetector(detector, form.labels, path, input_policy=InputPolicy(fixed=form.fixed),
                          published_score=form.score, remark=form.remark)


def _frontend(form: Form, tensors: Tensors, path: Path) -> tuple[SSLFrontend, dict[str, Tensor]]:
    """Of the encoder's tensors alone, whatever config lies beside them; and its weights under a detector's names."""
    encoder = {name: tensor for name, tensor in tensors.items() if name.startswith(form.naming.encoder)}
    found = locate(encoder)
    if found is None:
        raise InputError(f"{path}: no encoder of the wav2vec 2.0 family among its tensors {form.naming.encoder}* "
                         f"({first_few(encoder)})")
    state = to_our_names(encoder, *found, str(path))
    architecture = replace(infer_architecture(state, str(path)), normalize_waveform=form.normalized,
                           final_norm=form.final_norm)
    options = SSLOptions(layerwise_feature=form.layers, multilayer_feature=form.layers)
    return (SSLFrontend(options, architecture=architecture),
            {f"frontend.upstream.{name}": tensor for name, tensor in state.items()})
