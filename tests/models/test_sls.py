import pytest
import torch
import torch.nn.functional as F

from wedefense.config.models import SLSOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.models.sls import SLS
from wedefense.utils.errors import InputError

LENGTH, DIM = 12, 7


def sls(**options):
    torch.manual_seed(0)
    return SLS(SLSOptions(frame_length=LENGTH, embed_dim=5, **options), DIM, 3).eval()


def features(frames, lengths=None):
    torch.manual_seed(frames)
    batch = 1 if lengths is None else len(lengths)
    layers = [torch.randn(batch, frames, DIM) for _ in range(3)]
    return LayerFeatures(layers, torch.tensor([frames] if lengths is None else lengths))


def written_out(model, layers):
    """The equations on layers (layers, frames, dim) of exactly the trained length."""
    gates = model.fc0(layers.mean(dim=1)).sigmoid()                     # (layers, 1)
    x = (layers * gates[..., None]).sum(dim=0)                          # (frames, dim)
    x = F.selu((x - model.first_bn.running_mean) / (model.first_bn.running_var + 1e-5).sqrt())
    pooled = torch.stack([torch.stack([x[3 * i:3 * i + 3, 3 * j:3 * j + 3].max() for j in range(DIM // 3)])
                          for i in range(LENGTH // 3)])
    return F.selu(model.fc1(pooled.flatten()))


@pytest.mark.parametrize("frames", [LENGTH, 5, 1, 20])
def test_shorter_utterances_are_repeated_and_longer_ones_cut(frames):
    model, x = sls(), features(frames)
    layers = torch.cat(x.layers)                                        # (layers, frames, dim)
    fitted = torch.cat([layers] * LENGTH, dim=1)[:, :LENGTH]
    assert torch.allclose(model(x)[0], written_out(model, fitted), atol=1e-5)


@pytest.mark.parametrize("fit", ["repeat_cut", "adaptive"])
def test_both_fits_agree_at_the_trained_length(fit):
    model, x = sls(fit=fit), features(LENGTH)
    assert torch.allclose(model(x)[0], written_out(model, torch.cat(x.layers)), atol=1e-5)


def test_adaptive_pooling_sees_the_end_of_a_long_utterance_and_repeat_cut_does_not():
    x, changed = features(30), features(30)
    changed.layers[0][:, -1] += 10
    for fit, sees in (("adaptive", True), ("repeat_cut", False)):
        model = sls(fit=fit)
        assert (not torch.allclose(model(x), model(changed))) == sees


def test_without_the_input_layer_the_first_layer_is_not_looked_at():
    x, changed = features(LENGTH), features(LENGTH)
    changed.layers[0] += 1
    model = sls(use_input_layer=False)
    assert torch.equal(model(x), model(changed))


@pytest.mark.parametrize("use_input_layer", [True, False])
def test_the_gates_that_are_shown_are_those_of_the_sum(use_input_layer):
    model, x = sls(use_input_layer=use_input_layer), features(9, (9, 4))
    gates = model.attention_shares(x).layers["gates"]                   # (batch, layers)
    assert gates.shape == (2, 3) and (gates[:, 0] == 0).all() == (not use_input_layer)
    total = sum(gates[:, i, None, None] * layer for i, layer in enumerate(x.layers))
    assert torch.allclose(total, model._summed(x), atol=1e-6)


def test_a_kernel_wider_than_the_features_is_refused():
    with pytest.raises(InputError, match="kernel_size is 9, but the front-end gives 7"):
        SLS(SLSOptions(kernel_size=9), DIM, 3)
