"""gMLP at several resolutions, written out by loops, and checkpoints that have branches for segments too."""

import pytest
import torch
import torch.nn.functional as F

from wedefense.config.models import MultiResolutionOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.models.gmlp import MultiResolutionGMLP
from wedefense.utils.errors import InputError


def plain(model: MultiResolutionGMLP, x: torch.Tensor) -> torch.Tensor:
    """(frames, dim) of one utterance -> its embedding."""
    for number, (_, linear) in enumerate(model.blocks.values(), 1):
        first = -1 if number == len(model.blocks) else 0  # the last halving begins a frame early
        frames = []
        for start in range(first, len(x) + first - (1 if first == 0 else 0), 2):
            pair = [x[t] for t in (start, start + 1) if 0 <= t < len(x)]
            frames.append(torch.stack(pair).max(0).values)
        if first == -1 and len(x) % 2 == 0:
            frames.append(x[-1])
        x = torch.stack(frames)
        x = torch.stack([x[:, 2 * f:2 * f + 2].max(1).values for f in range(x.shape[1] // 2)], dim=1)
        x = linear(x)
    for block in model.post_nets_utt.layers:
        inside = F.gelu(block.proj1(block.norm(x)))
        kept, mixed = inside[:, :inside.shape[1] // 2], block.sgu.norm(inside[:, inside.shape[1] // 2:])
        gates = torch.stack([sum(block.sgu.weight[i, j] * mixed[j] for j in range(len(x))) + block.sgu.bias[i]
                             for i in range(len(x))])
        x = x + block.proj2(kept * gates)
    return model.post_nets_utt.fc(x.mean(0))


def stirred(options: MultiResolutionOptions, dim: int) -> MultiResolutionGMLP:
    torch.manual_seed(0)
    model = MultiResolutionGMLP(options, dim, 1).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


@torch.no_grad()
def test_against_the_definition():
    model = stirred(MultiResolutionOptions(num_scale=4, seq_len=80, gmlp_layers=2), 64)
    lengths = torch.tensor([40, 33, 17, 26])
    x = LayerFeatures([torch.randn(4, 40, 64)], lengths)
    for row, utterance, length in zip(model(x), x.layers[0], lengths):
        torch.testing.assert_close(row, plain(model, utterance[:length]), atol=1e-5, rtol=1e-4)
    assert model.embed_dim == 4  # 64 features, three times halved, divided by 2
    longer = LayerFeatures([torch.cat([x.layers[0][:1], torch.randn(1, 100, 64)], dim=1)], torch.tensor([140]))
    cut = LayerFeatures([longer.layers[0][:, :80]], torch.tensor([80]))
    torch.testing.assert_close(model(longer), model(cut))


@torch.no_grad()
def test_a_checkpoint_with_branches_for_segments_is_taken():
    """One frame fewer in its gate, as WeDefense makes it: the row that is added is never read there."""
    model = stirred(MultiResolutionOptions(num_scale=3, seq_len=40, gmlp_layers=1), 16)
    weights = dict(model.state_dict())
    gate = "post_nets_utt.layers.0.sgu."
    weights |= {f"{gate}weight": weights[f"{gate}weight"][:10, :10], f"{gate}bias": weights[f"{gate}bias"][:10],
                "post_nets_seg.disc_0.fc.weight": torch.zeros(3)}
    again = MultiResolutionGMLP(MultiResolutionOptions(num_scale=3, seq_len=40, gmlp_layers=1), 16, 1).eval()
    again.adopt(weights, "")
    again.load_state_dict(weights)
    x = LayerFeatures([torch.randn(2, 30, 16)], torch.tensor([30, 21]))
    torch.testing.assert_close(again(x), model(x))
    with pytest.raises(InputError, match="num_scale 6 halves 24 features 5 times"):
        MultiResolutionGMLP(MultiResolutionOptions(), 24, 1)
    with pytest.raises(InputError, match="embed_dim 5 must be even"):
        MultiResolutionGMLP(MultiResolutionOptions(embed_dim=5), 64, 1)
