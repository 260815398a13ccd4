import pytest
import torch
from torch import nn

from tests.corpus import write_config
from wedefense.config.loader import load_config
from wedefense.frontend.features import LayerFeatures
from wedefense.models.detector import Cmvn, Detector, build_detector, own_weights, public_weights


def tiny(tmp_path, **changes) -> Detector:
    torch.manual_seed(0)
    return build_detector(load_config(write_config(tmp_path, **changes)), 2)


def ssl_changes(**more):
    return {"dataset_args__frontend": "ssl",
            "dataset_args__ssl_args": {"upstream_args": {"name": "wavlm_tiny"}, **more},
            "model": "SSL_BACKEND_MHFA", "model_args": {"embed_dim": 16, "head_nb": 4, "compression_dim": 8,
                                                        "feature_grad_mult": 0.1}}


def test_cmvn_over_time_uses_valid_frames_only():
    x = torch.randn(2, 6, 3)
    lengths = torch.tensor([6, 4])
    out = Cmvn(True, True, over_time=True)(LayerFeatures([x], lengths)).layers[0]
    torch.testing.assert_close(out[1, :4].mean(dim=0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(out[1, :4].var(dim=0), torch.ones(3), atol=1e-4, rtol=0)
    assert not out[1, 4:].any()


def test_cmvn_of_ssl_layers_takes_the_mean_over_the_feature_dimension():
    layers = [torch.randn(2, 5, 8), torch.randn(2, 5, 8)]
    out = Cmvn(True, False, over_time=False)(LayerFeatures(layers, torch.tensor([5, 5])))
    for before, after in zip(layers, out.layers):
        torch.testing.assert_close(after, before - before.mean(dim=2, keepdim=True))
    out = Cmvn(True, True, over_time=False)(LayerFeatures(layers, torch.tensor([5, 5])))
    for before, after in zip(layers, out.layers):
        deviation = (before.var(dim=2, keepdim=True) + 1e-7).sqrt()
        torch.testing.assert_close(after, (before - before.mean(dim=2, keepdim=True)) / deviation)


ONE_LAYER = {"layer": 1, "layerwise_feature": False, "multilayer_feature": False}
A_SUM = {"layerwise_feature": False}


@pytest.mark.parametrize("options, over, axis", [({}, None, 2), (ONE_LAYER, None, 1), (A_SUM, None, 1),
                                                 (A_SUM, "features", 2), ({}, "time", 1)])
def test_the_mean_is_of_the_axis_that_published_code_has_second(tmp_path, options, over, axis):
    """(batch, dim, frames, layers) where layers are stacked, (batch, frames, dim) where there is one or a sum of them:
    `feats - feats.mean(dim=1)` is of features in the one case and of time in the other."""
    chosen = {} if over is None else {"dataset_args__cmvn_args__over": over}
    detector = tiny(tmp_path, **ssl_changes(**options), **chosen).eval()
    wav, lengths = torch.randn(1, 8000) * 0.1 + 0.02, torch.tensor([8000])
    with torch.no_grad():
        raw, found = detector.frontend(wav, lengths).layers, detector(wav, lengths).features.layers
    for before, after in zip(raw, found, strict=True):
        torch.testing.assert_close(after, before - before.mean(dim=axis, keepdim=True))


@pytest.mark.parametrize("kind", ["fbank", "ssl"])
def test_an_utterance_alone_and_in_a_padded_batch_scores_the_same(tmp_path, kind):
    detector = tiny(tmp_path, **(ssl_changes() if kind == "ssl" else {})).eval()
    lengths = torch.tensor([16000, 7000, 1000])
    wav = torch.zeros(3, 16000)
    for row, length in enumerate(lengths):
        wav[row, :length] = torch.randn(int(length)) * 0.1
    together = detector(wav, lengths).logits
    for row, length in enumerate(lengths):
        alone = detector(wav[row:row + 1, :length], lengths[row:row + 1]).logits
        torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["fbank", "ssl"])
def test_outputs_are_those_of_the_parts(tmp_path, kind):
    detector = tiny(tmp_path, dataset_args__cmvn=True, **(ssl_changes() if kind == "ssl" else {})).eval()
    wav, lengths = 0.1 * torch.randn(2, 8000), [8000, 5000]
    outputs = detector(wav, lengths)
    expected = (detector.frontend(wav, lengths).layers, detector(wav, lengths).features.layers)
    for found, layers in zip((outputs.layers.layers, outputs.features.layers), expected, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(found, layers, strict=True))
    assert not torch.equal(expected[0][0], expected[1][0])  # cmvn
    assert torch.equal(outputs.embedding, detector.embed(wav, lengths))
    assert torch.equal(outputs.logits, detector.projection(outputs.embedding))


def test_the_gradient_into_the_front_end_is_scaled(tmp_path):
    wav, lengths, labels = torch.randn(2, 8000) * 0.1, torch.tensor([8000, 8000]), torch.tensor([0, 1])
    norms = {}
    for factor in (1.0, 0.1):
        changes = ssl_changes(hidden_dropout=0.0, attention_dropout=0.0, projection_dropout=0.0)
        changes["model_args"]["feature_grad_mult"] = factor
        detector = tiny(tmp_path, **changes).train()
        nn.functional.cross_entropy(detector(wav, lengths, labels).logits, labels).backward()
        norms[factor] = {name: p.grad.norm() for name, p in detector.named_parameters()}
    for name, norm in norms[1.0].items():
        expected = norm * (0.1 if name.startswith("frontend.") else 1.0)
        torch.testing.assert_close(norms[0.1][name], expected, rtol=1e-3, atol=1e-7)


def test_a_frozen_front_end_is_frozen(tmp_path):
    detector = tiny(tmp_path, **ssl_changes(frozen=True)).train()
    wav, lengths = torch.randn(2, 8000) * 0.1, torch.tensor([8000, 6000])
    first, second = (detector.frontend(wav, lengths).layers for _ in range(2))
    assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(first, second))
    detector(wav, lengths).logits.sum().backward()
    assert all(p.grad is None for p in detector.frontend.parameters())
    assert not any(module.training for module in detector.frontend.modules() if isinstance(module, nn.Dropout))


def test_weights_have_public_names_and_come_back(tmp_path):
    detector = tiny(tmp_path, **ssl_changes())
    weights = public_weights(detector)
    assert {"weights_k", "weights_v", "cmp_linear_k.weight", "att_head.weight", "pooling_fc.weight"} <= weights.keys()
    assert any(name.startswith("frontend.upstream.encoder.transformer.layers.0.") for name in weights)
    assert any(name.startswith("projection.") for name in weights)
    prefixed = {f"module.{name}": tensor for name, tensor in weights.items()}
    other = tiny(tmp_path, **ssl_changes())
    other.load_state_dict(own_weights(prefixed))
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, detector.state_dict()[name])
