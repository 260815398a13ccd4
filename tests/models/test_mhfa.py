import math

import pytest
import torch
import torch.nn.functional as F

from wedefense.config.heads import HEADS
from wedefense.config.models import CAMHFAOptions, MHFAOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.models import mix
from wedefense.models.mhfa import CAMHFA, MHFA
from wedefense.models.mix import mix_layers


def features(dim=6, layers=3, lengths=(9, 5), dtype=torch.float32):
    torch.manual_seed(1)
    lengths = torch.tensor(lengths)
    frames = int(lengths.max())
    return LayerFeatures([torch.randn(len(lengths), frames, dim, dtype=dtype) for _ in range(layers)], lengths)


def randomised(model):
    torch.manual_seed(2)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model.eval()


def million(model):
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


def mixed(model, x):
    """Equation 1: keys and values as a plain weighted sum of stacked layers."""
    stack = torch.stack(x.layers)
    keys = torch.einsum("n,nbtf->btf", model.weights_k.softmax(0), stack)
    values = torch.einsum("n,nbtf->btf", model.weights_v.softmax(0), stack)
    return model.cmp_linear_k(keys), model.cmp_linear_v(values)


def test_mhfa_written_out_on_stacked_layers():
    x, model = features(), randomised(MHFA(MHFAOptions(head_nb=2, compression_dim=4, embed_dim=5), 6, 3))
    keys, values = mixed(model, x)
    for b, length in enumerate(x.lengths):
        attention = model.att_head(keys[b, :length]).softmax(dim=0)             # (frames, heads)
        pooled = torch.cat([(attention[:, h, None] * values[b, :length]).sum(0) for h in range(2)])
        assert torch.allclose(model(x)[b], model.pooling_fc(pooled), atol=1e-5)


def test_gradients_of_the_streamed_mix_are_those_of_the_stacked_one():
    x = features(dtype=torch.float64)
    x.layers = [layer.requires_grad_() for layer in x.layers]
    model = randomised(MHFA(MHFAOptions(head_nb=2, compression_dim=4, embed_dim=5), 6, 3).double())
    wanted = [model.weights_k, model.weights_v, *x.layers]

    def plain():
        keys, values = mixed(model, x)
        return sum((keys[b, :n].square().sum() + values[b, :n].sin().sum()) for b, n in enumerate(x.lengths))

    def streamed():
        keys, values = mix_layers(x.layers, model.weights_k.softmax(0), model.weights_v.softmax(0))
        keys, values = model.cmp_linear_k(keys), model.cmp_linear_v(values)
        return sum((keys[b, :n].square().sum() + values[b, :n].sin().sum()) for b, n in enumerate(x.lengths))

    for ours, theirs in zip(torch.autograd.grad(streamed(), wanted), torch.autograd.grad(plain(), wanted)):
        assert torch.allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("groups, context", [(1, 1), (2, 3), (3, 5), (2, 9)])
def test_ca_mhfa_is_equation_2_computed_by_loops(groups, context):
    options = CAMHFAOptions(head_nb=groups, context=context, compression_dim=4, embed_dim=5)
    x, model = features(dtype=torch.float64), randomised(CAMHFA(options, 6, 3).double())
    keys, values = mixed(model, x)
    reach = (context - 1) // 2
    for b, length in enumerate(x.lengths.tolist()):
        parts = []
        for g in range(groups):
            scores = []
            for t in range(length):
                around = [j for j in range(-reach, reach + 1) if 0 <= t + j < length]
                scores.append(sum(torch.dot(model.att_head.weight[g, 0, j + reach], keys[b, t + j]).item()
                                  for j in around) / context)
            weights = [math.exp(score) for score in scores]
            parts.append(sum(w / sum(weights) * values[b, t] for t, w in enumerate(weights)))
        embedding = F.normalize(model.pooling_fc(torch.cat(parts)).float(), dim=0)
        assert torch.allclose(model(x)[b], embedding, atol=1e-6)


def same_but_for_queries(context_aware, plain):
    plain.load_state_dict({**context_aware.state_dict(), "att_head.weight": context_aware.att_head.weight[:, 0, 0],
                           "att_head.bias": torch.zeros(context_aware.att_head.weight.shape[0])})
    return plain


def test_one_frame_of_context_is_mhfa_without_the_bias_of_its_heads():
    x = features()
    model = randomised(CAMHFA(CAMHFAOptions(head_nb=4, context=1, compression_dim=4, embed_dim=5), 6, 3))
    plain = same_but_for_queries(model, MHFA(MHFAOptions(head_nb=4, compression_dim=4, embed_dim=5), 6, 3))
    assert torch.allclose(model(x), F.normalize(plain(x), dim=1), atol=1e-6)


def test_queries_of_zero_are_mean_pooling():
    x = features()
    model = randomised(CAMHFA(CAMHFAOptions(head_nb=2, context=5, compression_dim=4, embed_dim=5, l2_norm=False), 6, 3))
    model.att_head.weight.data.zero_()
    _, values = mixed(model, x)
    means = torch.stack([values[b, :n].mean(dim=0) for b, n in enumerate(x.lengths)])
    assert torch.allclose(model(x), model.pooling_fc(means.repeat(1, 2)), atol=1e-5)


def test_one_group_with_one_frame_is_self_attentive_pooling():
    x = features()
    model = randomised(CAMHFA(CAMHFAOptions(head_nb=1, context=1, compression_dim=4, embed_dim=5, l2_norm=False), 6, 3))
    keys, values = mixed(model, x)
    for b, n in enumerate(x.lengths):
        weights = (keys[b, :n] @ model.att_head.weight[0, 0, 0]).softmax(dim=0)
        assert torch.allclose(model(x)[b], model.pooling_fc(weights @ values[b, :n]), atol=1e-5)


def test_the_dagger_form_convolves_the_values_over_five_frames():
    x = features(lengths=(9, 9))
    options = CAMHFAOptions(head_nb=2, context=3, compression_dim=4, embed_dim=5, l2_norm=False, conv_values=True)
    model = randomised(CAMHFA(options, 6, 3))
    attention = model.frame_attention(x)                                    # (batch, frames, heads)
    _, values = mixed(model, x)
    values = F.conv1d(values.transpose(1, 2), model.conv_values.weight, model.conv_values.bias, padding=2)
    pooled = torch.einsum("bth,bdt->bhd", attention, values).flatten(1)
    assert torch.allclose(model(x), model.pooling_fc(pooled), atol=1e-4)


def test_the_form_of_the_public_code_sums_scores_and_leaves_lengths():
    x, sizes = features(), dict(head_nb=2, context=3, compression_dim=4, embed_dim=5)
    paper = randomised(CAMHFA(CAMHFAOptions(**sizes), 6, 3))
    code = CAMHFA(CAMHFAOptions(**sizes, divide_by_context=False, l2_norm=False), 6, 3)
    code.load_state_dict({**paper.state_dict(), "att_head.weight": paper.att_head.weight / 3})
    assert torch.allclose(F.normalize(code(x), dim=1), paper(x), atol=1e-6)
    assert not torch.allclose(code(x).norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("model", [
    MHFA(MHFAOptions(head_nb=2, compression_dim=4, embed_dim=5), 6, 3),
    CAMHFA(CAMHFAOptions(head_nb=2, context=3, compression_dim=4, embed_dim=5, l2_norm=False), 6, 3)])
def test_attention_sums_to_one_and_frame_embeddings_average_to_the_embedding(model):
    x, model = features(), randomised(model)
    attention = model.frame_attention(x)
    assert torch.allclose(attention.sum(dim=1), torch.ones(2, 2), atol=1e-6)
    assert (attention[1, 5:] == 0).all()
    shares = model.attention_shares(x)
    assert torch.equal(shares.frames, attention) and torch.equal(shares.layers["values"], model.weights_v.softmax(0))
    frames = model.frame_embeddings(x)
    for b, n in enumerate(x.lengths):
        assert torch.allclose(frames[b, :n].mean(dim=0), model(x)[b], atol=1e-4)


def test_frame_scores_average_to_the_score_of_the_utterance_under_a_linear_head():
    x, model = features(), randomised(MHFA(MHFAOptions(head_nb=2, compression_dim=4, embed_dim=5), 6, 3))
    head = HEADS.load("linear")(HEADS.options("linear")(), 5, 2).eval()
    scores = model.frame_scores(x, head)
    assert scores.shape == (2, 9, 2)
    assert torch.allclose(scores[1, :5].mean(dim=0), head(model(x))[1], atol=1e-4)


@pytest.mark.parametrize("heads, published", [(16, 0.72), (32, 1.25), (64, 2.30)])
def test_parameter_counts_of_mhfa_in_table_1(heads, published):
    model = MHFA(MHFAOptions(head_nb=heads, compression_dim=128, embed_dim=256), 768, 13)
    assert million(model) == pytest.approx(published, abs=0.006)


@pytest.mark.parametrize("groups, context, published", [
    (32, 3, 1.25), (32, 5, 1.26), (64, 3, 2.30), (64, 5, 2.31), (64, 9, 2.36), (64, 17, 2.41)])
def test_parameter_counts_of_ca_mhfa_in_table_1(groups, context, published):
    model = CAMHFA(CAMHFAOptions(head_nb=groups, context=context, compression_dim=128, embed_dim=256), 768, 13)
    assert million(model) == pytest.approx(2 * 769 * .128e-3 + groups * (context * .128e-3 + .128e-3 * 256) + 282e-6)
    # One row is 1.1 % below the count of a query for each of L frames. No such count fits the whole column, which
    # rises by 0.05 from 5 to 9 frames and by 0.05 again from 9 to 17.
    assert million(model) == pytest.approx(published, rel=0.012 if (groups, context) == (64, 5) else 0.01)


def test_parameter_count_of_the_dagger_row_in_table_1():
    sizes = {"head_nb": 64, "context": 5, "compression_dim": 128, "embed_dim": 256}
    plain, dagger = (million(CAMHFA(CAMHFAOptions(conv_values=conv, **sizes), 768, 13)) for conv in (False, True))
    # As the paper describes it: kernel 5, D channels in and out. Its 2.32 M is 0.01 M above the row without, where
    # such a convolution has 0.082 M: a depthwise one would have 0.001 M, one of 8 groups 0.010 M, and neither is told.
    assert dagger - plain == pytest.approx((5 * 128 + 1) * 128e-6)
    assert dagger == pytest.approx(2.417, abs=5e-4)


def test_public_parameter_names():
    names = {name for name, _ in MHFA(MHFAOptions(), 8, 2).named_parameters()}
    assert names == {"weights_k", "weights_v", *(f"{layer}.{kind}" for layer in
                     ("cmp_linear_k", "cmp_linear_v", "att_head", "pooling_fc") for kind in ("weight", "bias"))}


def test_a_mix_by_products_is_that_of_one_layer_at_a_time(monkeypatch):
    """What GPUs compute, in parts that do not divide the layers evenly; some layers in bfloat16 as under autocast."""
    monkeypatch.setattr(mix, "BLOCK", 8)
    monkeypatch.setattr(mix, "CHUNK", 48)
    x = features(dim=7)
    layers = [layer.bfloat16() if n == 1 else layer for n, layer in enumerate(x.layers)]
    weights = torch.stack([torch.tensor([0.2, 0.5, 0.3]), torch.tensor([1.0, -1.0, 0.25])])
    grads = tuple(torch.randn_like(layers[0]) for _ in range(2))
    for ours, theirs in zip(mix.mixed_by_products(weights, layers), mix._mixed(weights, layers), strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(mix.dots_by_products(grads, layers), mix._dots(grads, layers), atol=1e-4, rtol=1e-4)
    for n, ours in enumerate(mix.combined_by_product(weights, grads)):
        torch.testing.assert_close(ours, mix._combine(weights[:, n], grads))
    assert len(list(mix._stacked(layers, torch.float32))) == 8  # 126 values, 16 at a time
