"""SUPERB's x-vector, written out frame by frame."""

import torch

from wedefense.config.models import SuperbXVecOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.models.superb_xvector import SuperbXVector


def plain(model: SuperbXVector, x: torch.Tensor, training: bool) -> torch.Tensor:
    """(frames, dim) of an utterance -> its embedding, as the paper's figures have it."""
    x = model.connector(x)
    for layer, dilation in zip(model.frame_layers, (1, 2, 3, 1, 1)):
        context = layer.weight.shape[2]
        weight = layer.weight.permute(0, 2, 1).flatten(1)  # (out, context x in)
        frames = len(x) - (context - 1) * dilation
        x = torch.stack([torch.relu(weight @ torch.cat([x[t + k * dilation] for k in range(context)]) + layer.bias)
                         for t in range(frames)])
    pooled = torch.cat([x.mean(0), x.std(0)])
    x = torch.relu(model.segment_1(pooled))
    return torch.relu(model.segment_2(x)) if training else x


@torch.no_grad()
def test_against_the_definition_in_training_and_in_use():
    torch.manual_seed(0)
    model = SuperbXVector(SuperbXVecOptions(embed_dim=7, hid_dim=6, stats_dim=9), 5, 1)
    for parameter in model.parameters():
        parameter.mul_(2)
    lengths = torch.tensor([30, 17, 21])
    x = LayerFeatures([torch.randn(3, 30, 5)], lengths)
    for training in (True, False):
        found = model.train(training)(x)
        for row, utterance, length in zip(found, x.layers[0], lengths):
            torch.testing.assert_close(row, plain(model, utterance[:length], training), atol=1e-4, rtol=1e-3)
    assert not torch.equal(found, model.train()(x))


def test_its_size():
    with torch.device("meta"):
        model = SuperbXVector(SuperbXVecOptions(), 768, 13)
    frame_layers = 512 * (5 + 3 + 3 + 1) * 512 + 4 * 512 + 512 * 1500 + 1500
    assert sum(p.numel() for p in model.parameters()) == (768 * 512 + 512 + frame_layers + 3000 * 512 + 512
                                                          + 512 * 512 + 512 + 13)
