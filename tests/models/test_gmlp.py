"""gMLP at several resolutions, written out by loops, and checkpoints that have branches for segments too."""

import pytest
import torch
import torch.nn.functional as F

from wedefense.config.models import MultiResolutionOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.models.gmlp import MultiResolutionGMLP
from wedefense.utils.errors import InputError, OptionError


def mixed(branch, x: torch.Tensor) -> torch.Tensor:
    """(frames, dim) through the blocks of a branch."""
    for block in branch.layers:
        inside = F.gelu(block.proj1(block.norm(x)))
        kept, other = inside[:, :inside.shape[1] // 2], block.sgu.norm(inside[:, inside.shape[1] // 2:])
        gates = torch.stack([sum(block.sgu.weight[i, j] * other[j] for j in range(len(x))) + block.sgu.bias[i]
                             for i in range(len(x))])
        x = x + block.proj2(kept * gates)
    return x


def plain(model: MultiResolutionGMLP, x: torch.Tensor) -> tuple[dict[int, torch.Tensor], torch.Tensor]:
    """(frames, dim) of one utterance -> of each branch for segments (segments, dim), the utterance's embedding"""
    segments = {}
    for number in range(model.last + 1):
        if number:
            first = -1 if number == model.last else 0  # the last halving begins a frame early
            frames = []
            for start in range(first, len(x) + first - (1 if first == 0 else 0), 2):
                pair = [x[t] for t in (start, start + 1) if 0 <= t < len(x)]
                frames.append(torch.stack(pair).max(0).values)
            if first == -1 and len(x) % 2 == 0:
                frames.append(x[-1])
            x = torch.stack(frames)
            x = torch.stack([x[:, 2 * f:2 * f + 2].max(1).values for f in range(x.shape[1] // 2)], dim=1)
            x = model.blocks[str(number)][1](x)
        if f"disc_{number}" in model.post_nets_seg:
            branch = model.post_nets_seg[f"disc_{number}"]
            segments[1 << number] = branch.fc(mixed(branch, x))
    return segments, model.post_nets_utt.fc(mixed(model.post_nets_utt, x).mean(0))


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
        torch.testing.assert_close(row, plain(model, utterance[:length])[1], atol=1e-5, rtol=1e-4)
    assert model.embed_dim == 4  # 64 features, three times halved, divided by 2
    longer = LayerFeatures([torch.cat([x.layers[0][:1], torch.randn(1, 100, 64)], dim=1)], torch.tensor([140]))
    cut = LayerFeatures([longer.layers[0][:, :80]], torch.tensor([80]))
    torch.testing.assert_close(model(longer), model(cut))


@torch.no_grad()
def test_segments_of_every_resolution_against_the_definition():
    model = stirred(MultiResolutionOptions(num_scale=4, seq_len=80, gmlp_layers=2,
                                           multi_reso_active=("2", "4", "8", "16", "utt")), 64)
    assert model.frame_dims == {1: 32, 2: 16, 4: 8, 8: 4}
    lengths = torch.tensor([40, 33, 17, 26])
    x = LayerFeatures([torch.randn(4, 40, 64)], lengths)
    found = model.frames(x)
    torch.testing.assert_close(found.embedding, model(x))
    for i, length in enumerate(lengths.tolist()):
        segments, embedding = plain(model, x.layers[0][i, :length])
        torch.testing.assert_close(found.embedding[i], embedding, atol=1e-5, rtol=1e-4)
        for n, (values, numbers) in found.at.items():
            assert len(segments[n]) >= numbers[i] == (length // n if n < 8 else -(-length // n))
            torch.testing.assert_close(values[i, :numbers[i]], segments[n][:numbers[i]], atol=1e-5, rtol=1e-4)
            assert not values[i, numbers[i]:].any()


@torch.no_grad()
def test_a_short_utterance_has_no_segments_beyond_its_end():
    """It is repeated until every resolution has a frame; what is repeated is not told."""
    options = MultiResolutionOptions(num_scale=4, seq_len=80, multi_reso_active=("2", "8", "utt"))
    found = stirred(options, 64).frames(LayerFeatures([torch.randn(2, 9, 64)], torch.tensor([9, 2])))
    assert found.at[1][1].tolist() == [9, 2] and found.at[4][1].tolist() == [2, 1]
    assert not found.at[1][0][1, 2:].any() and found.at[1][0][1, :2].all()


@torch.no_grad()
def test_one_resolution_alone_has_no_other_tensors():
    """As the authors' single-resolution models are used: what is said of an utterance is the mean of its segments."""
    model = stirred(MultiResolutionOptions(num_scale=6, seq_len=80, multi_reso_active=("4",)), 64)
    assert set(model.blocks) == {"1"} and set(model.post_nets_seg) == {"disc_1"} and model.embed_dim == 16
    whole = stirred(MultiResolutionOptions(num_scale=6, seq_len=80,
                                           multi_reso_active=("2", "4", "8", "16", "32", "64", "utt")), 64)
    weights = whole.state_dict()
    model.adopt(weights, "")
    model.load_state_dict(weights)
    x = LayerFeatures([torch.randn(2, 30, 64)], torch.tensor([30, 21]))
    torch.testing.assert_close(model.frames(x).at[2], whole.frames(x).at[2])
    torch.testing.assert_close(model(x)[1], whole.frames(x).at[2][0][1, :10].mean(0))


def test_the_published_size():
    """33,055,038 parameters before the cosines: those of the authors' class with their model.py on a wav2vec 2.0 large
    (the paper's repository states no number); and a row and a column in each of the ten gates of the last halving."""
    with torch.device("meta"):
        model = MultiResolutionGMLP(MultiResolutionOptions(
            gmlp_layers=5, multi_reso_active=("2", "4", "8", "16", "32", "64", "utt")), 1024, 1)
    assert sum(parameter.numel() for parameter in model.parameters()) == 33_055_038 + 10 * (63 * 63 + 63 - 62 * 62 - 62)
    assert model.frame_dims == {1: 512, 2: 256, 4: 128, 8: 64, 16: 32, 32: 16}


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
    with pytest.raises(OptionError, match="'64' needs num_scale 6, got 3"):
        MultiResolutionOptions(num_scale=3, multi_reso_active=("64",))
    with pytest.raises(OptionError, match="at least one branch"):
        MultiResolutionOptions(multi_reso_active=())
    with pytest.raises(InputError, match="num_scale 6 halves 24 features 5 times"):
        MultiResolutionGMLP(MultiResolutionOptions(), 24, 1)
    with pytest.raises(InputError, match="embed_dim 5 must be even"):
        MultiResolutionGMLP(MultiResolutionOptions(embed_dim=5), 64, 1)
