"""What a detector costs: parameters, multiply-adds, bytes."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_OPTIMIZER_COPIES = {"SGD": 1, "Rprop": 2, "Adagrad": 1, "Adafactor": 0.1}  # states per weight; others keep two


def parameters(module: nn.Module, trained_only: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained_only)


@torch.no_grad()
def multiply_adds(detector: nn.Module, seconds: float = 2.0) -> int:
    """Of one utterance: one for each product of convolutions, linear layers and attention.

    Norms, activations, softmax and element-wise sums are not counted, as usual in the field's tables.
    """
    training, device = detector.training, next(detector.parameters()).device
    samples = int(seconds * detector.sample_rate)
    wav = torch.randn(1, samples, generator=torch.Generator().manual_seed(0)).to(device)
    detector.eval()
    with FlopCounterMode(display=False) as counter:
        detector(wav, torch.tensor([samples], device=device))
    detector.train(training)
    return counter.get_total_flops() // 2


def training_bytes(detector: nn.Module, optimizer: str) -> int:
    """Weights, gradients and optimiser states in float32; activations come on top and depend on the batch."""
    copies = 1 + _OPTIMIZER_COPIES.get(optimizer, 2)
    return int(4 * (parameters(detector) + copies * parameters(detector, trained_only=True)))
