"""One training step of a mode, on any device and in any precision, from the same weights and audio."""

from pathlib import Path

import torch

from tests.corpus import make_list, write_config
from wedefense.config.loader import load_config
from wedefense.experiment import checkpoint
from wedefense.frontend.ssl.zoo import find_model
from wedefense.models.detector import build_detector, public_weights
from wedefense.train.run import build_trainer
from wedefense.utils.distributed import World

MODES = {
    "frozen": {"dataset_args__ssl_args__frozen": True},
    "full": {},
    "two stages": {},
    "lora": {"dataset_args__ssl_args__adapters": {"type": "lora", "targets": ["q_proj", "out_proj", "output_dense"]}},
    "bottlenecks": {"dataset_args__ssl_args__adapters": {"type": "bottleneck", "dim": 8}},
    "pruning": {"use_pruning_loss": True, "target_sparsity": 0.5,
                "dataset_args__ssl_args__upstream_args__pruning_units": "conv,head,attlayer,interm,ffnlayer"},
}
STILL = {f"dataset_args__ssl_args__{name}": 0.0 for name in (
    "projection_dropout", "hidden_dropout", "attention_dropout", "activation_dropout", "layer_drop")}


def step(folder: Path, mode: str, model: str, device: str, amp: bool) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of the first batch, and the gradients by parameter."""
    start = str(_start(folder, mode, model))
    trainer = _trainer(folder, device, model, model_init=start, enable_amp=amp, **MODES[mode])
    batch = _first_batch(trainer)
    torch.manual_seed(1)
    loss = trainer._train_batch(batch)[0].item()
    return loss, {name: parameter.grad.float().cpu() for name, parameter in trainer.module.named_parameters()
                  if parameter.grad is not None}


def _start(folder: Path, mode: str, model: str) -> Path:
    """Random weights of that encoder; for the second of two stages after a step with the encoder frozen."""
    path = folder / "start/models/model_0.pt"
    if not path.exists():
        path.parent.mkdir(parents=True)
        torch.manual_seed(0)
        detector = build_detector(load_config(_config(folder, model)), 2, find_model(model).architecture)
        checkpoint.save(path, public_weights(detector))
        checkpoint.save_architecture(folder / "start", detector)
    if mode != "two stages":
        return path
    trainer = _trainer(folder, "cpu", model, model_init=str(path), **MODES["frozen"])
    trainer._train_batch(_first_batch(trainer))
    checkpoint.save(path.with_name("model_1.pt"), public_weights(trainer.detector))
    return path.with_name("model_1.pt")


def _trainer(folder: Path, device: str, model: str, **changes):
    return build_trainer(load_config(_config(folder, model, **changes)), World(0, 1, 0, torch.device(device)))


def _first_batch(trainer):
    trainer.module.train()
    trainer.loader.set_epoch(0)
    return next(iter(trainer.loader))


def _config(folder: Path, encoder: str, **changes) -> Path:
    return write_config(folder, **STILL, train_data=str(make_list(folder, utterances=8)), dataset_args__frontend="ssl",
                        dataset_args__ssl_args__upstream_args__name=encoder,
                        dataloader_args__num_workers=0, model="SSL_BACKEND_MHFA",
                        model_args={"head_nb": 4, "compression_dim": 16, "embed_dim": 16}, **changes)


def assert_close(step, reference) -> None:
    """To what bfloat16 can tell: the loss to 2 %, the gradient of every part in direction and length."""
    (loss, gradients), (expected, exact) = step, reference
    assert abs(loss - expected) < 0.02 * abs(expected), (loss, expected)
    assert gradients.keys() == exact.keys()
    for part in sorted({name.split(".")[1] for name in exact}):
        pairs = [(gradients[name].double(), exact[name].double()) for name in exact if name.split(".")[1] == part]
        both, ours, theirs = (sum((a * b).sum().item() for a, b in products) for products in (
            pairs, [(a, a) for a, _ in pairs], [(b, b) for _, b in pairs]))
        cosine, ratio = both / (ours * theirs) ** 0.5, (ours / theirs) ** 0.5
        assert cosine > 0.97 and 0.9 < ratio < 1.1, (part, cosine, ratio)
