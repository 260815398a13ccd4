"""Random Conformers in files as NeMo saves them."""

import io
import tarfile

import torch
import yaml

from wedefense.frontend.conformer.encoder import ConformerEncoder
from wedefense.frontend.conformer.nemo import nemo_architecture

CONFIG = {
    "sample_rate": 16000, "target": "nemo.collections.asr.models.ctc_bpe_models.EncDecCTCModelBPE",
    "preprocessor": {"_target_": "nemo.collections.asr.modules.AudioToMelSpectrogramPreprocessor", "features": 16,
                     "sample_rate": 16000, "normalize": "per_feature", "window_size": 0.025, "window_stride": 0.01,
                     "window": "hann", "n_fft": 512, "log": True, "frame_splicing": 1, "dither": 1e-5, "pad_to": 0},
    "encoder": {"_target_": "nemo.collections.asr.modules.ConformerEncoder",
                "feat_in": "${model.preprocessor.features}", "feat_out": -1,
                "n_layers": 3, "d_model": 24, "subsampling": "striding", "subsampling_factor": 4,
                "subsampling_conv_channels": 6, "ff_expansion_factor": 2, "self_attention_model": "rel_pos",
                "n_heads": 4, "att_context_size": [-1, -1], "xscaling": True, "untie_biases": True,
                "pos_emb_max_len": 5000, "conv_kernel_size": 5, "conv_norm_type": "batch_norm", "dropout": 0.1,
                "dropout_pre_encoder": 0.1, "dropout_emb": 0.0, "dropout_att": 0.1}}


def stirred(encoder: ConformerEncoder) -> ConformerEncoder:
    generator = torch.Generator().manual_seed(1)
    for name, tensor in encoder.state_dict().items():
        if name.startswith("featurizer.") or not tensor.is_floating_point():
            continue
        noise = 0.3 * torch.randn(tensor.shape, generator=generator)
        tensor.copy_(0.5 + noise.abs() if name.endswith("running_var") else tensor + noise)
    return encoder


def write_nemo(path, changes=None, prefix="./", config=CONFIG):
    """As NeMo saves a model: a tar of its config, all its weights and what belongs to its decoder."""
    config = {**config, "encoder": {**config["encoder"], **(changes or {})}}
    torch.manual_seed(0)
    encoder = stirred(ConformerEncoder(nemo_architecture(config, "test")))
    state = {(f"preprocessor.{name}" if name.startswith("featurizer.") else f"encoder.{name}"): tensor
             for name, tensor in encoder.state_dict().items()}
    state["decoder.decoder_layers.0.weight"] = torch.randn(29, 24, 1)
    weights = io.BytesIO()
    torch.save(state, weights)
    with tarfile.open(path, "w") as archive:
        for name, content in (("model_config.yaml", yaml.safe_dump(config).encode()), ("x_tokenizer.model", b"-"),
                              ("model_weights.ckpt", weights.getvalue())):
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path
