"""Checkpoints as other packages write them, with tiny random models of their own classes."""

import dataclasses
import enum
import json
import sys
import types
import warnings
from argparse import Namespace

import pytest
import torch

CONV = [(16, 10, 5), (16, 3, 2), (16, 3, 2), (16, 3, 2), (16, 3, 2), (16, 2, 2), (16, 2, 2)]
CONV_TEXT = "[(16, 10, 5)] + [(16, 3, 2)] * 4 + [(16,2,2)] + [(16,2,2)]"
SIZES = {"encoder_layers": 2, "encoder_embed_dim": 48, "encoder_ffn_embed_dim": 64, "encoder_attention_heads": 4,
         "conv_feature_layers": CONV_TEXT, "conv_pos": 16, "conv_pos_groups": 4, "dropout": 0.1,
         "attention_dropout": 0.05, "activation_dropout": 0.0, "dropout_input": 0.2, "encoder_layerdrop": 0.05}
LARGE = {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True}


def stirred(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Biases and norms that are not at their initial zeros and ones, in evaluation mode."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def wave(samples: int = 8000, seed: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(1, samples, generator=torch.Generator().manual_seed(seed))


# Hugging Face

def transformers_model(family: str, large: bool):
    import transformers

    kinds = {"wav2vec2": "Wav2Vec2", "hubert": "Hubert", "wavlm": "WavLM", "data2vec": "Data2VecAudio",
             "unispeech_sat": "UniSpeechSat"}
    sizes = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
             "conv_dim": [16] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "vocab_size": 10}
    if family == "data2vec":
        sizes |= {"num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 5}
    elif large:
        sizes |= {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    torch.manual_seed(0)
    config = getattr(transformers, f"{kinds[family]}Config")(**sizes)
    return stirred(getattr(transformers, f"{kinds[family]}Model")(config))


def save_hugging_face(model, folder, normalize: bool, safe: bool = True):
    if safe:
        model.save_pretrained(folder)
    else:
        folder.mkdir(exist_ok=True)
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": normalize}))
    return folder


# s3prl and what its classes come from

def s3prl_model(family: str, large: bool):
    """-> model, task settings, model settings, all s3prl's own."""
    import importlib

    pytest.importorskip("s3prl")
    torch.manual_seed(0)
    settings = {**SIZES, **(LARGE if large else {})}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if family == "wav2vec2":
            module = importlib.import_module("s3prl.upstream.wav2vec2.wav2vec2_model")
            settings |= {"final_dim": 8, "latent_vars": 4, "quantize_targets": True}
            model = module.Wav2Vec2Model(module.Wav2Vec2Config(**settings))
        elif family == "hubert":
            module = importlib.import_module("s3prl.upstream.hubert.hubert_model")
            settings |= {"label_rate": 50.0, "final_dim": 8}
            task = module.HubertPretrainingConfig(label_rate=50.0, normalize=large)
            model = module.HubertModel(module.HubertConfig(**settings), task, [["a", "b", "c"]])
        elif family == "data2vec":
            module = importlib.import_module("s3prl.upstream.data2vec.data2vec_model")
            settings |= {"pos_conv_depth": 3, "conv_pos": 15, "extractor_mode": "layer_norm"}
            model = module.Data2VecAudioModel(module.Data2VecAudioConfig(**settings))
            model.remove_pretraining_modules()
        else:  # WavLM's class serves UniSpeech-SAT too
            module = importlib.import_module("s3prl.upstream.wavlm.WavLM")
            relative = family == "wavlm"
            settings |= {"relative_position_embedding": relative, "gru_rel_pos": relative, "num_buckets": 32,
                         "max_distance": 80, "normalize": large}
            model = module.WavLM(module.WavLMConfig(settings))
    return stirred(model), {"normalize": large, "label_rate": 50.0} if family == "hubert" else {"normalize": large}, \
        settings


def save_s3prl(path, family: str, large: bool):
    model, task, settings = s3prl_model(family, large)
    weights = model.state_dict()
    if family in ("wavlm", "unispeech_sat"):
        torch.save({"cfg": settings, "model": weights}, path)
    else:
        if family == "data2vec":
            weights["_ema"] = {"layers.0.fc1.weight": torch.zeros(3)}
        torch.save({"task_cfg": task, "model_cfg": settings, "model_weight": weights,
                    "dictionaries_symbols": [["a", "b", "c"]]}, path)
    return model


def fairseq_modules(monkeypatch):
    """A `fairseq` with the few classes that its checkpoints name; gone again when `monkeypatch` is undone."""
    package = types.ModuleType("fairseq")
    for name in ("tasks", "data", "dataclass"):
        setattr(package, name, types.ModuleType(f"fairseq.{name}"))

    class Dictionary:
        def __init__(self):
            self.symbols, self.indices = ["a", "b", "c"], {"a": 0}

    class Mode(str, enum.Enum):
        layer_norm = "layer_norm"
        default = "default"

    class HubertTask:
        def __init__(self, cfg):
            self.cfg, self.itself = cfg, self

    model_config = dataclasses.make_dataclass(
        "ModelConfig", [(name, type(value), dataclasses.field(default=value)) for name, value in SIZES.items()]
        + [("extractor_mode", Mode, Mode.default), ("_name", str, "")])
    for module, kind in (("data", Dictionary), ("dataclass", Mode), ("tasks", HubertTask),
                         ("dataclass", model_config)):
        kind.__module__, kind.__qualname__ = f"fairseq.{module}", kind.__name__
        setattr(getattr(package, module), kind.__name__, kind)
        monkeypatch.setitem(sys.modules, f"fairseq.{module}", getattr(package, module))
    monkeypatch.setitem(sys.modules, "fairseq", package)
    return package


def save_fairseq(path, monkeypatch, kind: str, family: str, large: bool, **how):
    """A raw release: settings in a Namespace (`args`) or an omegaconf config (`cfg`), fairseq's classes beside."""
    import numpy as np
    from omegaconf import OmegaConf

    model, task, settings = s3prl_model(family, large)
    fairseq = fairseq_modules(monkeypatch)
    mode = fairseq.dataclass.Mode(settings.get("extractor_mode", "default"))
    content = {"model": model.state_dict(), "task_state": {"dictionaries": [fairseq.data.Dictionary()]},
               "optimizer_history": [{"best_loss": np.float64(2.5)}], "extra_state": fairseq.tasks.HubertTask({"a": 1})}
    if kind == "args":
        values = {**settings, **task, "extractor_mode": mode, "arch": family, "seed": np.int64(3),
                  "dropout": np.float64(settings["dropout"])}
        content |= {"args": Namespace(**values), "cfg": None}
    else:
        typed = OmegaConf.structured(fairseq.dataclass.ModelConfig)  # fairseq's are structured configs too
        OmegaConf.set_struct(typed, False)
        typed = OmegaConf.merge(typed, {**settings, "_name": family, "extractor_mode": mode.name})
        assert isinstance(typed.extractor_mode, fairseq.dataclass.Mode)
        content |= {"args": None, "cfg": OmegaConf.create(
            {"_name": None, "common": {"seed": 1, "path": "${task.data}"},
             "task": {"_name": "pretraining", "data": "x", **task}, "model": typed})}
    torch.save(content, path, **how)
    monkeypatch.undo()
    for name in ("fairseq", "fairseq.data", "fairseq.tasks", "fairseq.dataclass", "omegaconf"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it now raises
    return model


# torchaudio

def torchaudio_model(family: str, large: bool):
    models = pytest.importorskip("torchaudio.models")
    settings = {
        "extractor_mode": "layer_norm" if large else "group_norm", "extractor_conv_layer_config": CONV,
        "extractor_conv_bias": large, "encoder_embed_dim": 48, "encoder_projection_dropout": 0.1,
        "encoder_pos_conv_kernel": 16, "encoder_pos_conv_groups": 4, "encoder_num_layers": 2,
        "encoder_num_heads": 4, "encoder_attention_dropout": 0.1, "encoder_ff_interm_features": 64,
        "encoder_ff_interm_dropout": 0.0, "encoder_dropout": 0.1, "encoder_layer_norm_first": large,
        "encoder_layer_drop": 0.05, "aux_num_out": None,
    }
    torch.manual_seed(0)
    if family == "wavlm":
        return stirred(models.wavlm_model(**settings, encoder_num_buckets=32, encoder_max_distance=800)), settings
    return stirred(models.wav2vec2_model(**settings)), settings
