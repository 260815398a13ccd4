"""The pretrained encoders by the names people use for them: architecture, hub id, release files."""

from dataclasses import dataclass, replace
from pathlib import Path

from wedefense.frontend.ssl.architecture import Architecture, full_blocks

CONFIG, WEIGHT_FILES = "config.json", ("model.safetensors", "pytorch_model.bin")  # of a folder that is a model

_S3PRL = "https://huggingface.co/s3prl/converted_ckpts/resolve/main/"
_FAIRSEQ = "https://dl.fbaipublicfiles.com/"


@dataclass(frozen=True)
class Model:
    """One row of the table. The first URL is what a download fetches; a file of any of them is taken when found."""

    name: str
    architecture: Architecture
    hub_id: str | None = None
    urls: tuple[str, ...] = ()
    sha256: str | None = None  # of the first URL's file; None: its publisher states none
    seed: int | None = None    # a model of seeded random weights, made on the spot

    @property
    def files(self) -> tuple[str, ...]:
        """The names under which its file is looked for."""
        return tuple(dict.fromkeys(url.rsplit("/", 1)[1] for url in self.urls))


_BASE = Architecture(family="wav2vec2", blocks=full_blocks(12, 12, 3072), layer_drop=0.05)
_GROUP_LARGE = replace(_BASE, blocks=full_blocks(24, 16, 4096), dim=1024, total_heads=16, hidden_dropout=0.0,
                       layer_drop=0.2)
_LARGE = replace(_GROUP_LARGE, extractor_norm="layer_norm", norm_first=True, normalize_waveform=True,
                 projection_dropout=0.0, attention_dropout=0.0, layer_drop=0.0)
_BIASED = replace(_LARGE, conv_bias=True)  # wav2vec 2.0's large models have a bias in the convolutions
_XLS_R_1B = replace(_BIASED, blocks=full_blocks(48, 16, 5120), dim=1280, projection_dropout=0.1)
_XLS_R_2B = replace(_BIASED, blocks=full_blocks(48, 16, 7680), dim=1920, projection_dropout=0.1)
_HUBERT, _HUBERT_LARGE = replace(_BASE, family="hubert"), replace(_LARGE, family="hubert")
_WAVLM = replace(_BASE, family="wavlm", rel_buckets=320, rel_max_distance=800)
_WAVLM_LARGE = replace(_LARGE, family="wavlm", rel_buckets=320, rel_max_distance=800)
_DATA2VEC = replace(_BASE, family="data2vec", extractor_norm="layer_norm", normalize_waveform=True,
                    pos_conv_kernel=95, pos_conv_depth=5, projection_dropout=0.0)
_DATA2VEC_LARGE = replace(_DATA2VEC, blocks=full_blocks(24, 16, 4096), dim=1024, total_heads=16)
_SAT, _SAT_LARGE = replace(_BASE, family="unispeech_sat"), replace(_LARGE, family="unispeech_sat")


def _model(name: str, architecture: Architecture, hub_id: str | None, converted: str, *releases: str) -> Model:
    return Model(name, architecture, hub_id, (_S3PRL + converted, *(_FAIRSEQ + release for release in releases)))


def narrow(architecture: Architecture, ff_dim: int = 512) -> Architecture:
    """Three narrow blocks; dropouts, layer drop and norms are those of the whole, and so are its frames."""
    channels = 64 if architecture.mel_bins else 32
    conv_layers = tuple((channels, kernel, stride) for _, kernel, stride in architecture.conv_layers)
    return replace(
        architecture, blocks=full_blocks(3, 4, ff_dim), dim=64, total_heads=4, conv_layers=conv_layers,
        pos_conv_kernel=15 if architecture.pos_conv_depth > 1 else 16, pos_conv_groups=4,
        rel_buckets=32 if architecture.rel_buckets else 0, rel_max_distance=100)


def _tiny(name: str, architecture: Architecture, seed: int, ff_dim: int = 128) -> Model:
    """A network of the same kind that trains in minutes on a laptop."""
    return Model(name, replace(narrow(architecture, ff_dim), layer_drop=0.0), seed=seed)


_ROWS = (
    _model("wav2vec2_base_960", _BASE, "facebook/wav2vec2-base", "wav2vec_small.pt",
           "fairseq/wav2vec/wav2vec_small.pt"),
    _model("wav2vec2_large_960", _GROUP_LARGE, "facebook/wav2vec2-large", "libri960_big.pt",
           "fairseq/wav2vec/libri960_big.pt"),
    _model("wav2vec2_large_ll60k", _BIASED, "facebook/wav2vec2-large-lv60", "wav2vec_vox_new.pt",
           "fairseq/wav2vec/wav2vec_vox_new.pt"),
    _model("wav2vec2_large_lv60_cv_swbd_fsh", _BIASED, "facebook/wav2vec2-large-robust",
           "w2v_large_lv_fsh_swbd_cv.pt", "fairseq/wav2vec/w2v_large_lv_fsh_swbd_cv.pt"),
    _model("wav2vec2_large_voxpopuli_100k", _BIASED, "facebook/wav2vec2-large-100k-voxpopuli",
           "wav2vec2_large_100k.pt", "voxpopuli/models/wav2vec2_large_100k.pt"),
    _model("xlsr_53", _BIASED, "facebook/wav2vec2-large-xlsr-53", "xlsr_53_56k.pt",
           "fairseq/wav2vec/xlsr_53_56k.pt"),
    _model("xls_r_300m", _BIASED, "facebook/wav2vec2-xls-r-300m", "xlsr2_300m.pt", "fairseq/wav2vec/xlsr2_300m.pt"),
    _model("xls_r_1b", _XLS_R_1B, "facebook/wav2vec2-xls-r-1b", "xlsr2_960m_1000k.pt",
           "fairseq/wav2vec/xlsr2_960m_1000k.pt"),
    _model("xls_r_2b", _XLS_R_2B, "facebook/wav2vec2-xls-r-2b", "xlsr2_2B_1000k.pt",
           "fairseq/wav2vec/xlsr2_2B_1000k.pt"),
    _model("hubert_base", _HUBERT, "facebook/hubert-base-ls960", "hubert_base_ls960.pt",
           "hubert/hubert_base_ls960.pt"),
    _model("hubert_large_ll60k", _HUBERT_LARGE, "facebook/hubert-large-ll60k", "hubert_large_ll60k.pt",
           "hubert/hubert_large_ll60k.pt"),
    _model("hubert_base_robust_mgr", _HUBERT, None, "HuBERT_base_robust_mgr_best_loss_2.7821.pt"),
    _model("mhubert_base_vp_en_es_fr_it3", _HUBERT, None, "mhubert_base_vp_en_es_fr_it3.pt"),
    _model("contentvec_km100", _HUBERT, None, "contentvec_km100.pt"),
    _model("contentvec_km500", _HUBERT, None, "contentvec_km500.pt"),
    _model("wavlm_base", _WAVLM, "microsoft/wavlm-base", "wavlm_base.pt"),
    _model("wavlm_base_plus", _WAVLM, "microsoft/wavlm-base-plus", "wavlm_base_plus.pt"),
    _model("wavlm_large", _WAVLM_LARGE, "microsoft/wavlm-large", "wavlm_large.pt"),
    _model("data2vec_base_960", _DATA2VEC, "facebook/data2vec-audio-base", "audio_base_ls.pt",
           "fairseq/data2vec/audio_base_ls.pt"),
    _model("data2vec_large_ll60k", _DATA2VEC_LARGE, "facebook/data2vec-audio-large", "vox_pretrained.pt",
           "fairseq/data2vec/vox_pretrained.pt"),
    _model("unispeech_sat_base", _SAT, "microsoft/unispeech-sat-base", "unispeech_sat_base.pt"),
    _model("unispeech_sat_base_plus", _SAT, "microsoft/unispeech-sat-base-plus", "unispeech_sat_base_plus.pt"),
    _model("unispeech_sat_large", _SAT_LARGE, "microsoft/unispeech-sat-large", "unispeech_sat_large.pt"),
    _tiny("wav2vec2_tiny", _BASE, 11),
    _tiny("hubert_tiny", _HUBERT, 12),
    _tiny("wavlm_tiny", _WAVLM, 13),
    _tiny("data2vec_tiny", _DATA2VEC, 14),
    _tiny("unispeech_sat_tiny", _SAT, 15),
    _tiny("wavlm_large_tiny", _WAVLM_LARGE, 16),
    _tiny("wavlm_wide_tiny", _WAVLM, 17, ff_dim=512),  # of wavlm_tiny only 87 % can be pruned, of this 94 %
)
MODELS = {row.name: row for row in _ROWS}
ALIASES = {
    "wav2vec2": "wav2vec2_base_960", "wav2vec2_base": "wav2vec2_base_960", "wav2vec2_large": "wav2vec2_large_960",
    "wav2vec2_large_lv60": "wav2vec2_large_ll60k", "wav2vec2_large_lv60k": "wav2vec2_large_ll60k",
    "wav2vec2_xlsr53": "xlsr_53", "wav2vec2_xlsr": "xlsr_53", "xlsr2_300m": "xls_r_300m",
    "wav2vec2_xls_r_300m": "xls_r_300m", "wav2vec2_xls_r_1b": "xls_r_1b", "wav2vec2_xls_r_2b": "xls_r_2b",
    "hubert": "hubert_base", "hubert_base_ls960": "hubert_base", "hubert_large": "hubert_large_ll60k",
    "wavlm": "wavlm_base_plus", "data2vec": "data2vec_base_960", "data2vec_base": "data2vec_base_960",
    "data2vec_large": "data2vec_large_ll60k", "unispeech_sat": "unispeech_sat_base_plus",
    "contentvec": "contentvec_km100",
    **{row.hub_id: row.name for row in _ROWS if row.hub_id},
}


def holds_model(folder: Path) -> bool:
    """Whether a folder is a Hugging Face or WeDefense model, not merely a place for downloads."""
    names = (CONFIG, *WEIGHT_FILES, *(f"{name}.index.json" for name in WEIGHT_FILES))
    return any((folder / name).is_file() for name in names)


def is_for_downloads(name: str, place: str) -> bool:
    """Whether `path_or_url` of a model of the table is the folder of downloads, which WeDefense names there."""
    folder = Path(place).expanduser()
    return find_model(name) is not None and folder.is_dir() and not holds_model(folder)


def find_model(name: str) -> Model | None:
    """The row of a name or alias (case and `-` or `_` do not matter), or None."""
    for key in (name, name.lower(), name.lower().replace("-", "_")):
        if key in MODELS or key in ALIASES:
            return MODELS[ALIASES.get(key, key)]
    return None
