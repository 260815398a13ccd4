"""What a detector costs: parameters, multiply-adds, bytes.

The counting rule for multiply-adds: one for each product that the network defines in convolutions, linear layers and
attention (scores and weighted sums), for as many frames as the audio has. Biases, norms, activations, softmax,
weighted sums of layers and other element-wise work are not counted. How a product is computed (positions through
frequencies, layers joined or packed) makes no difference.

Published figures of SSL models are mostly lower. Those of the CA-MHFA paper (2 s of audio; WavLM base+ 11.05 G, large
25.79 G) come out exactly when forward hooks count the modules of the original WavLM: a multiply-add per product and
one per bias of each Conv1d and Linear module that is called. Its attention hands the weights of q, k, v and the
output to `F.multi_head_attention_forward`, and CA-MHFA its queries to a convolution, so that no hook sees them: what
is missing is 2.98 G of base's 14.01 G and 10.45 G of large's 36.19 G.
"""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from wedefense.frontend.ssl.architecture import Architecture
from wedefense.pruning.size import multiply_adds as _by_architecture

_OPTIMIZER_COPIES = {"SGD": 1, "Rprop": 2, "Adagrad": 1, "Adafactor": 0.1}  # states per weight; others keep two


def parameters(module: nn.Module, trained_only: bool = False) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trained_only)


def encoder_multiply_adds(encoder: nn.Module, samples: int = 32000) -> int:
    """Of one utterance, in an encoder of the wav2vec 2.0 family or Whisper's, whole or cut; without running it."""
    return _by_architecture(encoder, samples)


@torch.no_grad()
def multiply_adds(detector: nn.Module, seconds: float = 2.0) -> int:
    """Of one utterance, from samples to logits."""
    training, device = detector.training, next(detector.parameters()).device
    samples = int(seconds * detector.sample_rate)
    wav = torch.randn(1, samples, generator=torch.Generator().manual_seed(0)).to(device)
    detector.eval()
    native = isinstance(detector.frontend.architecture, Architecture)  # its fused products escape a counter
    learnt = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    for parameter in learnt:
        parameter.requires_grad_(False)  # the counter looks for the graph of whatever asks for gradients
    with FlopCounterMode(display=False) as frontend:
        features = detector.features(wav, [samples])
    with FlopCounterMode(display=False) as rest:
        detector.projection(detector.heard(features)[0])
    for parameter in learnt:
        parameter.requires_grad_(True)
    detector.train(training)
    if native:
        first = encoder_multiply_adds(detector.pretrained.upstream, samples)
    else:
        first = frontend.get_total_flops() // 2
    return first + rest.get_total_flops() // 2


def training_bytes(detector: nn.Module, optimizer: str) -> int:
    """Weights, gradients and optimiser states in float32; activations come on top and depend on the batch."""
    copies = 1 + _OPTIMIZER_COPIES.get(optimizer, 2)
    return int(4 * (parameters(detector) + copies * parameters(detector, trained_only=True)))
