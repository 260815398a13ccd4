"""Untrained experiments and published checkpoints of tiny models, as training and their authors leave them."""

from pathlib import Path

import torch

from tests.corpus import write_config
from wedefense.config.loader import load_config, save_config
from wedefense.data.labels import Labels
from wedefense.experiment import checkpoint
from wedefense.frontend.ssl.formats.recorded import recorded_architecture
from wedefense.frontend.ssl.formats.wedefense import pruned_checkpoint
from wedefense.models.detector import Detector, build_detector, public_weights

SSL = {"dataset_args__frontend": "ssl", "dataset_args__ssl_args": {"upstream_args": {"name": "wavlm_tiny"}},
       "model": "SSL_BACKEND_MHFA", "model_args": {"embed_dim": 16, "head_nb": 4, "compression_dim": 8}}
LABELS = Labels(("bonafide", "spoof"), (30, 70))


def stirred(detector: Detector) -> Detector:
    """Weights of every kind away from their neutral start."""
    generator = torch.Generator().manual_seed(3)
    for module in detector.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.1, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
    with torch.no_grad():
        for name, parameter in detector.named_parameters():
            if not name.startswith("frontend.") and parameter.ndim < 2:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return detector.eval()


def make_experiment(folder: Path, labels: Labels = LABELS, **changes) -> Path:
    """`folder/exp`, as stages 3 and 4 leave it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    config = load_config(write_config(folder, **changes))
    detector = stirred(build_detector(config, len(labels.names)))
    exp = folder / "exp"
    (exp / "models").mkdir(parents=True)
    save_config(config, exp / "config.yaml")
    labels.save(exp / "label2id")
    checkpoint.save_architecture(exp, detector)
    checkpoint.save(exp / "models" / "avg_model.pt", public_weights(detector))
    return exp


def make_pruned(folder: Path, exp: Path) -> Path:
    """The two files of a published pruned model, from an experiment of SSL and MHFA."""
    weights = checkpoint.load(exp / "models" / "avg_model.pt")
    prefix = "frontend.upstream."
    encoder = {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
    content = pruned_checkpoint(recorded_architecture(exp), encoder)
    del content["architecture"]  # the public file has none
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / "pytorch_model.bin")
    torch.save(weights, folder / "whole_pytorch_model.bin")
    return folder


def wave(seconds: float, rate: int = 16000, channels: int = 1, seed: int = 0):
    """(samples, channels) of a noisy glide, or (samples,) of one channel."""
    import numpy as np

    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    glide = 0.2 * np.sin(2 * np.pi * (200 + 40 * time) * time)
    wav = glide[:, None] + 0.02 * rng.standard_normal((len(time), channels))
    return wav[:, 0] if channels == 1 else wav
