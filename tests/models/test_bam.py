"""Boundary-aware attention, written out by loops from the paper, and at its published size."""

import math

import pytest
import torch
import torch.nn.functional as F

from wedefense.config.models import BAMOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.models.bam import BAM, separated
from wedefense.utils.errors import InputError, OptionError


def stirred(options=None, dim=12, **more) -> BAM:
    torch.manual_seed(0)
    model = BAM(options or BAMOptions(pool_frames=4, **more), dim, 1).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.03 * torch.randn_like(parameter))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(std=0.3), module.running_var.uniform_(0.5, 2.0)
    return model


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def normed(bn, x):
    return (x - bn.running_mean) / (bn.running_var + bn.eps).sqrt() * bn.weight + bn.bias


def attended(layer, x: torch.Tensor, together=lambda i, j: True) -> torch.Tensor:
    """(segments, dim): s_ij = w . tanh(W (x_i * x_j)), 0 where i and j are apart; softmax over j."""
    rows = []
    for i in range(len(x)):
        seen = torch.zeros(x.shape[1], layer.heads)
        for head in range(layer.heads):
            scores = [float((layer.att_proj(x[i] * x[j]).tanh() * layer.att_weight[:, head]).sum())
                      if together(i, j) else 0.0 for j in range(len(x))]
            for j, share in enumerate(softmax(scores)):
                seen[:, head] += share * x[j]
        rows.append(F.selu(normed(layer.bn, layer.proj_with_att(seen.flatten()) + layer.proj_without_att(x[i]))))
    return torch.stack(rows)


def convolved(conv, x: torch.Tensor) -> torch.Tensor:
    """(channels, positions) -> (channels, positions)"""
    pad, stride, kernel = conv.padding[0], conv.stride[0], conv.kernel_size[0]
    x = torch.cat([torch.zeros(len(x), pad), x, torch.zeros(len(x), pad)], dim=1)
    return torch.stack([(conv.weight * x[:, at:at + kernel]).sum((1, 2))
                        for at in range(0, x.shape[1] - kernel + 1, stride)], dim=1)


def channels_normed(bn, x):
    return normed(bn, x.T).T


def within(layer, row: torch.Tensor) -> torch.Tensor:
    """(dim,) -> (dim,)"""
    net = layer.resnet
    x = channels_normed(net.bn1, convolved(net.conv1, row[None])).relu()
    x = torch.stack([x[:, at:at + 3].amax(1) for at in range(0, max(x.shape[1] - 1, 1), 2)], dim=1)
    for block in [*net.layer1, *net.layer2, *net.layer3, *net.layer4]:
        h = channels_normed(block.bn1, convolved(block.conv1, x)).relu()
        h = channels_normed(block.bn2, convolved(block.conv2, h)).relu()
        h = channels_normed(block.bn3, convolved(block.conv3, h)).relu()
        x = (h + (x if block.downsample is None else convolved(block.downsample, x))).relu()
    return layer.proj_layer(x.flatten())


def plain(model: BAM, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(frames, dim) of one utterance -> (segments, 2 * dim), logits of boundaries (segments,)"""
    segments = []
    for part in frames.split(model.size):
        shares = softmax([math.tanh(float(frame @ model.att_pool.mm_weights[:, 0])) for frame in part])
        segments.append(sum(share * frame for share, frame in zip(shares, part)))
    x = model.proj(torch.stack(segments))
    felt = torch.cat([attended(model.inter_layer, x), torch.stack([within(model.intra_layer, row) for row in x])], 1)
    logits = model.b_output_layer(felt)[:, 0]
    boundary = [float(logit) > 0 for logit in logits]

    def together(i, j):
        return i == j or not any(boundary[min(i, j):max(i, j) + 1])

    for layer in model.gap_layers:
        x = attended(layer, x, together)
    return torch.cat([x, F.selu(model.boundary_proj(felt))], dim=1), logits


@pytest.mark.parametrize("options", [BAMOptions(pool_frames=4), BAMOptions(pool_frames=3, embed_dim=9, gap_head_num=2,
                                                                           gap_layer_num=1)])
@torch.no_grad()
def test_against_the_definition(options):
    model, lengths = stirred(options), torch.tensor([30, 1, 17, 24])
    x = torch.randn(4, 30, 12)
    found = model.frames(LayerFeatures([x], lengths))
    model.b_output_layer[0].bias -= found.boundaries[0].median() + 1e-3  # of the first utterance half are boundaries
    for counts in (None, [30, 1, 17, 24]):
        found = model.frames(LayerFeatures([x], lengths, counts))
        segments, numbers = found.at[options.pool_frames]
        assert numbers.tolist() == [-(-length // options.pool_frames) for length in lengths.tolist()]
        for i, length in enumerate(lengths.tolist()):
            row, logits = plain(model, x[i, :length])
            torch.testing.assert_close(segments[i, :numbers[i]], row, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(found.boundaries[i, :numbers[i]], logits, atol=1e-5, rtol=1e-5)
            assert not segments[i, numbers[i]:].any()
            torch.testing.assert_close(found.embedding[i], row.mean(0), atol=1e-5, rtol=1e-5)
    felt = found.boundaries[0] > 0
    assert felt.any() and not felt.all()


@torch.no_grad()
def test_segments_that_a_boundary_parts():
    """Of five segments with a boundary in the third, the first two go together, and the last two."""
    apart = separated(torch.tensor([[False, False, True, False, False]]))[0]
    together = {(i, j) for i in range(5) for j in range(5) if not apart[i, j]}
    assert together == {(0, 0), (0, 1), (1, 0), (1, 1), (2, 2), (3, 3), (3, 4), (4, 3), (4, 4)}


@torch.no_grad()
def test_pairs_are_scored_in_parts_as_at_once(monkeypatch):
    model, x = stirred(), LayerFeatures([torch.randn(2, 40, 12)], torch.tensor([40, 33]))
    whole = model.frames(x)
    monkeypatch.setattr("wedefense.models.bam.PAIRS", 2 * 10 * 12 * 3)
    parts = model.frames(x)
    torch.testing.assert_close(parts.at[4][0], whole.at[4][0])


@torch.no_grad()
def test_exported_it_takes_any_number_of_segments(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = stirred()

        def forward(self, x, lengths):
            found = self.model.frames(LayerFeatures([x], lengths))
            return found.at[4][0], found.boundaries

    whole, path = Whole().eval(), str(tmp_path / "bam.onnx")
    given = torch.randn(2, 18, 12), torch.tensor([18, 9])
    torch.onnx.export(whole, given, path, dynamo=False, input_names=["x", "lengths"],
                      dynamic_axes={"x": {0: "batch", 1: "frames"}, "lengths": {0: "batch"}})
    session, traced = onnxruntime.InferenceSession(path), torch.jit.trace(whole, given)
    others = (torch.randn(3, 33, 12), torch.tensor([33, 1, 30])), (torch.randn(1, 3, 12), torch.tensor([3]))
    for x, lengths in (given, *others):
        expected = whole(x, lengths)
        found = session.run(None, {"x": x.numpy(), "lengths": lengths.numpy()})
        for a, b, c in zip(expected, traced(x, lengths), found):
            torch.testing.assert_close(b, a, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(torch.from_numpy(c), a, atol=1e-5, rtol=1e-5)


def test_padding_moves_neither_statistics_nor_gradients():
    """In training too: batch norms count the segments of utterances alone."""
    x = torch.randn(2, 24, 12)
    one, other = stirred().train(), stirred().train()
    x[1, 8:] = 0
    one.frames(LayerFeatures([x], torch.tensor([24, 8]), [24, 8])).at[4][0].sum().backward()
    x[1, 8:] = 7
    wide = torch.cat([x, torch.full((2, 8, 12), 7.0)], dim=1)
    other.frames(LayerFeatures([wide], torch.tensor([24, 8]), [24, 8])).at[4][0].sum().backward()
    for (name, a), b in zip(one.named_buffers(), other.buffers()):
        torch.testing.assert_close(a, b, msg=name)
    for (name, a), b in zip(one.named_parameters(), other.parameters()):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_classes_do_not_move_what_boundaries_feel():
    """Of the classes' loss nothing reaches the part for boundaries, as in the authors' code."""
    model = stirred().train()
    found = model.frames(LayerFeatures([torch.randn(2, 24, 12)], torch.tensor([24, 20]), [24, 20]))
    found.at[4][0].square().sum().backward(retain_graph=True)
    of_boundaries = [parameter for name, parameter in model.named_parameters()
                     if name.startswith(("inter_layer.", "intra_layer.", "b_output_layer."))]
    assert all(parameter.grad is None for parameter in of_boundaries)
    found.boundaries.sum().backward()
    assert all(parameter.grad is not None for parameter in of_boundaries)


def test_the_published_size():
    """50,348,323 parameters: those of the authors' code with its config for WavLM-Large (the paper states no number),
    of which 4,098 are the output layer, which is a head here."""
    with torch.device("meta"):
        model = BAM(BAMOptions(), 1024, 1)
    assert sum(parameter.numel() for parameter in model.parameters()) == 50_348_323 - (2 * 2048 + 2)
    assert model.frame_dims == {8: 2048}


def test_what_cannot_be_is_named():
    with pytest.raises(InputError, match="2 features leave nothing"):
        BAM(BAMOptions(embed_dim=2), 12, 1)
    with pytest.raises(OptionError, match="pool_frames"):
        BAMOptions(pool_frames=0)
