"""LCNN-BLSTM for segments, written out by loops: the network before its pooling."""

import pytest
import torch

from wedefense.config.models import LCNNLSTMOptions, LLGFOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.models.lcnn import LCNNLSTM, LLGF, MaxFeatureMap


def filtered(step: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    """(channels, frames, features) -> the same of one step of the CNN, in evaluation"""
    if isinstance(step, torch.nn.Conv2d):
        size, pad = step.kernel_size[0], step.padding[0]
        wide = torch.zeros(x.shape[0], x.shape[1] + 2 * pad, x.shape[2] + 2 * pad)
        wide[:, pad:pad + x.shape[1], pad:pad + x.shape[2]] = x
        out = torch.stack([torch.stack([(step.weight * wide[:, t:t + size, f:f + size]).sum((1, 2, 3))
                                        for f in range(x.shape[2])], dim=1) for t in range(x.shape[1])], dim=1)
        return out + step.bias[:, None, None]
    if isinstance(step, MaxFeatureMap):
        return torch.maximum(x[:len(x) // 2], x[len(x) // 2:])
    if isinstance(step, torch.nn.MaxPool2d):
        return torch.stack([torch.stack([x[:, t:t + 2, f:f + 2].amax((1, 2)) for f in range(0, x.shape[2] - 1, 2)], 1)
                            for t in range(0, x.shape[1] - 1, 2)], dim=1)
    if isinstance(step, torch.nn.BatchNorm2d):
        return (x - step.running_mean[:, None, None]) / (step.running_var + step.eps).sqrt()[:, None, None]
    return x  # dropout


def one_way(lstm: torch.nn.LSTM, x: torch.Tensor, end: str) -> list[torch.Tensor]:
    """The states of one direction of an LSTM, a frame at a time."""
    weights = {name: getattr(lstm, f"{name}_l0{end}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    h = c = torch.zeros(lstm.hidden_size)
    states = []
    for frame in x:
        gates = weights["weight_ih"] @ frame + weights["bias_ih"] + weights["weight_hh"] @ h + weights["bias_hh"]
        i, f, g, o = gates.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        states.append(h)
    return states


def plain(model: LCNNLSTM, x: torch.Tensor) -> torch.Tensor:
    """(frames, features) of one utterance -> (segments, 32 * features / 16)"""
    x = x[None]
    for step in model.m_transform:
        x = filtered(step, x)
    x = x.permute(1, 0, 2).flatten(1)
    h = x
    for blstm in model.m_lstm:
        after, before = one_way(blstm.l_blstm, h, ""), one_way(blstm.l_blstm, h.flip(0), "_reverse")[::-1]
        h = torch.stack([torch.cat(both) for both in zip(after, before)])
    return x + h


def stirred(model: LCNNLSTM) -> LCNNLSTM:
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3), module.running_var.uniform_(0.5, 2.0)
    return model.eval()


@pytest.mark.parametrize("pooling, dim", [("TAP", 6), ("TSTP", 64)])
@torch.no_grad()
def test_segments_against_the_definition(pooling, dim):
    torch.manual_seed(0)
    model = stirred(LCNNLSTM(LCNNLSTMOptions(embed_dim=6, pooling_func=pooling), 32, 1))
    lengths = torch.tensor([50, 16, 37])
    x = torch.randn(3, 50, 32) * (torch.arange(50)[None] < lengths[:, None])[..., None]
    found = model.frames(LayerFeatures([x], lengths))
    segments, numbers = found.at[16]
    assert numbers.tolist() == [3, 1, 2] and model.frame_dims == {16: dim} and segments.shape == (3, 3, dim)
    for i, length in enumerate(lengths.tolist()):
        expected = plain(model, x[i, :length])
        expected = model.m_linear(expected) if pooling == "TAP" else expected
        torch.testing.assert_close(segments[i, :numbers[i]], expected, atol=1e-5, rtol=1e-5)
        if pooling == "TAP":
            torch.testing.assert_close(found.embedding[i], expected.mean(0), atol=1e-5, rtol=1e-5)
    assert not segments[1, 1:].any()


@torch.no_grad()
def test_llgf_tells_of_segments_too():
    torch.manual_seed(0)
    model = stirred(LLGF(LLGFOptions(embed_dim=6, compression_dim=32), 24, 2))
    features = LayerFeatures([torch.randn(2, 40, 24), torch.randn(2, 40, 24)], torch.tensor([40, 5]))
    found = model.frames(features)
    assert found.at[16][0].shape == (2, 2, 6) and found.at[16][1].tolist() == [2, 1]
    torch.testing.assert_close(found.embedding, model(features))
