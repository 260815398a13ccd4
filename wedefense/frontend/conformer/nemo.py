"""NeMo's published files: a tar of `model_config.yaml` and `model_weights.ckpt`, read without NeMo."""

import os
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from shutil import copyfileobj

import yaml
from torch import Tensor

from wedefense.frontend.conformer.architecture import ConformerArchitecture
from wedefense.frontend.conformer.encoder import ConformerEncoder
from wedefense.utils.errors import InputError
from wedefense.utils.safe_load import load_torch
from wedefense.utils.tables import first_few

CONFIG, WEIGHTS = "model_config.yaml", "model_weights.ckpt"
# What a config must say, where it says anything: key, what it may be. Everything else is of other Conformers.
_ENCODER = {"self_attention_model": ("rel_pos",), "att_context_style": ("regular",), "causal_downsampling": (False,),
            "reduction": (None,), "untie_biases": (True,), "conv_context_size": (None,), "feat_out": (-1, None),
            "subsampling": ("striding", "dw_striding"), "conv_norm_type": ("batch_norm", "layer_norm"),
            "stochastic_depth_drop_prob": (0, 0.0)}
_PREPROCESSOR = {"window": ("hann",), "normalize": ("per_feature", None, "NA", False), "log": (True,),
                 "sample_rate": (16000,), "frame_splicing": (1,), "mag_power": (2.0,), "exact_pad": (False,),
                 "preemph": (0.97,), "lowfreq": (0, 0.0), "highfreq": (None, 8000, 8000.0),
                 "log_zero_guard_type": ("add",)}


def read_nemo(path: str | os.PathLike) -> tuple[ConformerArchitecture, dict[str, Tensor]]:
    """The encoder of a `.nemo` file: how it is built, and its tensors under the names of `ConformerEncoder`."""
    path = Path(path)
    config, weights = _members(path)
    architecture = nemo_architecture(config, f"{path}: {CONFIG}")
    own, state = ConformerEncoder(architecture).state_dict(), {}
    for name, expected in own.items():
        key = ("preprocessor." if name.startswith("featurizer.") else "encoder.") + name
        if key not in weights:
            raise InputError(f"{path}: tensor '{key}' is missing from {WEIGHTS} (found {first_few(weights)})")
        if weights[key].shape != expected.shape:
            raise InputError(f"{path}: tensor '{key}' has shape {tuple(weights[key].shape)}, expected "
                             f"{tuple(expected.shape)} by its {CONFIG}")
        state[name] = weights[key].to(expected.dtype)
    return architecture, state


def _members(path: Path) -> tuple[Mapping, Mapping[str, Tensor]]:
    try:
        with tarfile.open(path) as archive, tempfile.TemporaryDirectory() as folder:
            files = {Path(member.name).name: member for member in archive.getmembers() if member.isfile()}
            for name in (CONFIG, WEIGHTS):
                if name not in files:
                    raise InputError(f"{path}: no {name} in it (it holds {first_few(files)}); a .nemo file of one "
                                     "model is taken")
            config_stream, weights_stream = (archive.extractfile(files[name]) for name in (CONFIG, WEIGHTS))
            assert config_stream is not None and weights_stream is not None  # they are files
            config = yaml.safe_load(config_stream.read())
            unpacked = Path(folder) / WEIGHTS
            with open(unpacked, "wb") as stream:
                copyfileobj(weights_stream, stream)
            try:
                weights = load_torch(unpacked)
            except InputError as error:
                raise InputError(f"{path}: {str(error).removeprefix(str(Path(folder)) + os.sep)}") from None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(f"{path}: not a whole .nemo file, which is a tar ({error}); get it again") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: {CONFIG} is not valid YAML: {error}") from None
    if not isinstance(config, Mapping) or not isinstance(weights, Mapping):
        raise InputError(f"{path}: {CONFIG} must hold a mapping and {WEIGHTS} tensors by name")
    return config, weights


def nemo_architecture(config: Mapping, source: str) -> ConformerArchitecture:
    """From the sections `preprocessor` and `encoder` of a NeMo config."""
    encoder, mel = _section(config, "encoder", source), _section(config, "preprocessor", source)
    for section, name, known in ((encoder, "encoder", _ENCODER), (mel, "preprocessor", _PREPROCESSOR)):
        for key, allowed in known.items():
            if section.get(key, allowed[0]) not in allowed:
                raise InputError(f"{source}: {name}.{key} is {section[key]!r}; of Conformers only those with "
                                 f"{' or '.join(map(repr, allowed))} are read")
    if any(side != -1 for side in encoder.get("att_context_size") or ()):
        raise InputError(f"{source}: encoder.att_context_size is {encoder['att_context_size']}; of Conformers only "
                         "those that see the whole utterance are read")
    try:
        dim, rate = encoder["d_model"], 16000
        channels = encoder.get("subsampling_conv_channels", -1)
        return ConformerArchitecture(
            num_blocks=encoder["n_layers"], dim=dim, heads=encoder.get("n_heads", 4),
            ff_dim=dim * encoder.get("ff_expansion_factor", 4), kernel=encoder.get("conv_kernel_size", 31),
            conv_norm=encoder.get("conv_norm_type", "batch_norm"), bias=encoder.get("use_bias", True),
            scaled_input=encoder.get("xscaling", True), shortening=encoder.get("subsampling", "striding"),
            shorter=encoder.get("subsampling_factor", 4),
            shortening_channels=dim if channels in (-1, None) else channels,
            mel_bins=mel.get("features", 64), n_fft=mel.get("n_fft") or 512,
            window=round(mel.get("window_size", 0.02) * rate), hop=round(mel.get("window_stride", 0.01) * rate),
            normalized=mel.get("normalize", "per_feature") == "per_feature", dither=mel.get("dither", 1e-5),
            dropout=encoder.get("dropout", 0.1), dropout_input=encoder.get("dropout_pre_encoder", 0.1),
            dropout_attention=encoder.get("dropout_att", 0.0))
    except KeyError as error:
        raise InputError(f"{source}: encoder.{error.args[0]} is missing") from None


def _section(config: Mapping, name: str, source: str) -> dict:
    """A section without the values that refer to others (`${model.sample_rate}`), which these models do not need."""
    section = config.get(name)
    if not isinstance(section, Mapping):
        raise InputError(f"{source}: no section '{name}'; a .nemo file of a Conformer is taken")
    target = str(section.get("_target_", ""))
    if name == "encoder" and target and not target.endswith("ConformerEncoder"):
        raise InputError(f"{source}: encoder._target_ is {target}; a Conformer's is taken")
    return {key: value for key, value in section.items() if not str(value).startswith("${")}
