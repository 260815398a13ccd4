"""What every back-end promises, whatever is inside it."""

import pytest
import torch

from wedefense.config.models import BACKENDS, CAMHFAOptions, SLSOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.models.backend import ShowsAttention
from wedefense.utils.errors import InputError

SMALL = {"num_blocks": 2, "kernel_size": 3,
         "compression_dim": 16, "m_channels": 2, "hid_dim": 16, "stats_dim": 24, "bottleneck_dim": 8, "head_nb": 4}
VARIANTS = {  # beside each name with its default options
    "SSL_BACKEND_CA_MHFA values": ("SSL_BACKEND_CA_MHFA", {"conv_values": True}),
    "SSL_BACKEND_SLS adaptive": ("SSL_BACKEND_SLS", {"fit": "adaptive", "use_input_layer": False}),
    "SSL_BACKEND_utt_only_nes2net plain": ("SSL_BACKEND_utt_only_nes2net", {"weighted": False, "embed_dim": 7}),
    "SSL_BACKEND_multireso_MaxPool1dLin_gmlp segments": ("SSL_BACKEND_multireso_MaxPool1dLin_gmlp", {
        "multi_reso_active": ("2", "4", "8", "utt")}),
    "SSL_BACKEND_RAPTOR layer": ("SSL_BACKEND_RAPTOR", {"embed_dim": 7}),
    "SSL_BACKEND_MEAN pooled": ("SSL_BACKEND_MEAN", {"embed_dim": -1}),
    "SSL_BACKEND_aasist pooled": ("SSL_BACKEND_aasist", {"embed_dim": -1}),
    "ResNet18 two layers": ("ResNet18", {"two_emb_layer": True, "pooling_func": "MQMHASTP"}),
    "ECAPA_TDNN_c512 bn": ("ECAPA_TDNN_c512", {"emb_bn": True, "pooling_func": "TSDP"}),
    "XVEC attentive": ("XVEC", {"pooling_func": "ASTP"}),
    "REPVGG_TINY_A0 se": ("REPVGG_TINY_A0", {"use_se": True, "deploy": True}),
    "SSL_BACKEND_MFA blocks": ("SSL_BACKEND_MFA", {"use_input_layer": False}),
}
SIZES = {"ResNet50", "ResNet101", "ResNet152", "ResNet221", "ResNet293", "ECAPA_TDNN_c1024", "ECAPA_TDNN_GLOB_c1024",
         "XI_VEC_ECAPA_TDNN_c1024", "Res2Net34_Large", "ERes2Net34_Large", "Gemini_DF_ResNet114", "Gemini_DF_ResNet183",
         "Gemini_DF_ResNet237", "ReDimNetB2", "ReDimNetB4", "ReDimNetB5", "ReDimNetB6",
         *(f"REPVGG_{size}" for size in ("A0", "A1", "A2", "B0", "B1", "B2"))}
NAMES = sorted(set(BACKENDS.names()) - SIZES | set(VARIANTS)) + ["ResNet50"]  # the others differ in size alone


def build(name, feat_dim=24, num_layers=3, **options):
    torch.manual_seed(0)
    name, given = VARIANTS.get(name, (name, {}))
    if name == "SSL_BACKEND_LLGF":
        given = {"compression_dim": 32}
    if name == "SSL_BACKEND_multireso_MaxPool1dLin_gmlp":
        given = {"num_scale": 3, "seq_len": 1000, **given}
    cls = BACKENDS.options(name)
    small = {key: value for key, value in SMALL.items() if key in cls.__dataclass_fields__}
    return BACKENDS.load(name)(cls(**{**small, **given, **options}), feat_dim, num_layers)


def build_options(name):
    name, given = VARIANTS.get(name, (name, {}))
    return BACKENDS.options(name)(**given)


def noise(lengths, feat_dim=24, num_layers=3):
    lengths = torch.tensor(lengths)
    return LayerFeatures([torch.randn(len(lengths), int(lengths.max()), feat_dim) for _ in range(num_layers)], lengths)


def trained_a_little(model):
    """Batch norms with statistics of their own, so that a padded frame is not the mean by luck."""
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2.0)
    return model.eval()


@pytest.mark.parametrize("name", NAMES)
def test_an_utterance_alone_and_padded_in_a_batch_are_the_same(name):
    model, x = trained_a_little(build(name)), noise([70, 3, 41, 24, 1])
    with torch.no_grad():
        together = model(x)
        assert together.shape == (5, model.embed_dim)
        spread = together.std(dim=0).mean()  # a leak of padding would be of this order
        for i, length in enumerate(x.lengths):
            alone = LayerFeatures([layer[i:i + 1, :length] for layer in x.layers], x.lengths[i:i + 1])
            difference = (model(alone)[0] - together[i]).abs().max()
            assert difference < 1e-4 and difference < 0.01 * spread


@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(build(name), ShowsAttention)])
@torch.no_grad()
def test_where_a_backend_says_it_looks_there_it_looks(name):
    model, x = trained_a_little(build(name)), noise([41, 24])
    for parameter in model.parameters():
        if parameter.shape == (3,):
            parameter.normal_()  # weights of layers
    shares, alone = model.attention_shares(x), model.attention_shares(
        LayerFeatures([layer[1:, :24] for layer in x.layers], x.lengths[1:]))
    for kind, weights in shares.layers.items():
        assert weights.shape[-1] == 3 and (weights >= 0).all() and (weights <= 1).all()
        assert kind == "gates" or weights.sum() == pytest.approx(1)
        assert torch.allclose(weights.reshape(-1, 3)[-1], alone.layers[kind].reshape(-1, 3)[0], atol=1e-5)
    if shares.frames is not None:
        assert torch.allclose(shares.frames.sum(dim=1), torch.ones(()), atol=1e-5)
        assert torch.allclose(shares.frames[1, :24], alone.frames[0], atol=1e-5) and not shares.frames[1, 24:].any()
    if "sum" in shares.layers:  # all that it takes from the layers
        mixed = sum(weight * layer for weight, layer in zip(shares.layers["sum"], x.layers, strict=True))
        assert torch.allclose(model(x.with_layers([mixed] * 3)), model(x), atol=1e-4)


def test_nodes_of_saturated_scores_are_kept_by_their_logits():
    """Sigmoids of 20 and more are all 1 in float32: which of equal nodes are kept must not depend on the padding."""
    from wedefense.models.aasist import GraphPool

    pool, nodes = GraphPool(4).eval(), torch.randn(1, 40, 4)
    with torch.no_grad():
        pool.proj.weight.fill_(1.0), pool.proj.bias.fill_(40.0)
        logits = pool.proj(nodes)[0, :, 0]
        assert (logits.sigmoid() == 1).all()
        kept, mask = pool(nodes, torch.ones(1, 40, dtype=torch.bool))
        torch.testing.assert_close(kept[0], nodes[0, logits.argsort(descending=True)[:20]])
        padded = torch.cat([nodes, torch.full((1, 23, 4), 9.0)], dim=1)
        present = torch.arange(63)[None] < 40
        among, mask = pool(padded, present)
        assert mask.sum() == 20
        torch.testing.assert_close(among[0, :20], kept[0])


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name):
    model, x = build(name).train(), noise([50, 44, 50])
    x.layers = [layer.requires_grad_() for layer in x.layers]
    loss = (model(x) * torch.randn(3, model.embed_dim)).sum()
    if name in ("SSL_BACKEND_BAM", "SSL_BACKEND_multireso_MaxPool1dLin_gmlp segments"):  # parts for segments alone
        found = model.frames(x)
        parts = [values for values, _ in found.at.values()] + ([found.boundaries] if model.has_boundaries else [])
        loss = loss + sum((part * torch.randn_like(part)).sum() for part in parts)
    loss.backward()
    without = [key for key, parameter in model.named_parameters() if parameter.grad is None and parameter.requires_grad]
    assert without == []
    options = build_options(name)
    used = x.layers if getattr(options, "use_input_layer", True) else x.layers[1:]
    assert all(layer.grad.abs().sum() > 0 for layer in used)
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_silence_leaves_gradients_finite(name):
    """Less its mean over time, its filter banks are zeros."""
    model = build(name).train()
    x = LayerFeatures([torch.zeros(3, 50, 24, requires_grad=True) for _ in range(3)], torch.tensor([50, 44, 50]))
    embeddings = model(x)
    assert embeddings.isfinite().all()
    (embeddings * torch.randn_like(embeddings)).sum().backward()
    parts = dict(model.named_parameters()) | {f"layer {n}": layer for n, layer in enumerate(x.layers)}
    assert [key for key, part in parts.items() if part.grad is not None and not part.grad.isfinite().all()] == []


@pytest.mark.parametrize("name", NAMES)
def test_three_frames_and_a_thousand_of_any_dimension_and_number_of_layers(name):
    for feat_dim, num_layers, lengths in [(16, 1, [3, 2]), (83, 2, [1000, 3])]:
        model = build(name, feat_dim, num_layers).eval()
        with torch.no_grad():
            embeddings = model(noise(lengths, feat_dim, num_layers))
        assert embeddings.shape == (2, model.embed_dim) and torch.isfinite(embeddings).all()


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_is_close_to_float32(name):
    """Under autocast an encoder hands out some layers in bfloat16 and, after norms, others in float32."""
    model, x = build(name).eval(), noise([60, 33])
    with torch.no_grad():
        wide = model(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            narrow = model(x)
            mixed = model(LayerFeatures([x.layers[0].bfloat16(), *x.layers[1:]], x.lengths))
    for other in (narrow, mixed):
        assert torch.allclose(wide, other.float(), atol=0.05 * float(wide.abs().max()))


@pytest.mark.parametrize("name, feat_dim, embed_dim, published", [
    ("ECAPA_TDNN_GLOB_c512", 80, 192, 6.19), ("ResNet221", 80, 256, 23.79), ("ResNet293", 80, 256, 28.62),
    ("CAMPPlus", 80, 512, 7.18), ("Res2Net34_Base", 80, 256, 4.68), ("ERes2Net34_Base", 80, 192, 6.61),
    ("Gemini_DF_ResNet114", 80, 256, 6.53), ("REPVGG_TINY_A0", 80, 256, 6.26),
    ("XI_VEC_ECAPA_TDNN_c512", 80, 192, 5.9), ("ReDimNetB0", 60, 192, 1.0), ("ReDimNetB6", 72, 192, 15.0)])
def test_parameter_counts_as_published(name, feat_dim, embed_dim, published):
    """Of CA-MHFA's table II, WeSpeaker's results and the papers; of RepVGG with its branches merged."""
    merged = {"deploy": True} if name.startswith("REPVGG") else {}
    with torch.device("meta"):
        model = BACKENDS.load(name)(BACKENDS.options(name)(embed_dim=embed_dim, **merged), feat_dim, 1)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("name", sorted(SIZES))
def test_the_larger_sizes_run(name):
    with torch.no_grad():
        assert build(name, num_layers=1).eval()(noise([20], num_layers=1)).isfinite().all()


def test_a_feature_dimension_that_is_not_the_front_ends_is_refused():
    with pytest.raises(InputError, match="feat_dim is 768, but the front-end gives 24"):
        build("SSL_BACKEND_MHFA", feat_dim=24, num_layers=3).__class__(
            BACKENDS.options("SSL_BACKEND_MHFA")(feat_dim=768), 24, 3)


def test_another_number_of_layers_is_taken_with_a_warning(caplog):
    with caplog.at_level("WARNING", logger="wedefense"):
        BACKENDS.load("SSL_BACKEND_SLS")(SLSOptions(nb_layer=13), 24, 25)
    assert "nb_layer is 13, but the front-end gives 25" in caplog.text
    caplog.clear()
    BACKENDS.load("SSL_BACKEND_CA_MHFA")(CAMHFAOptions(nb_layer=3), 24, 3)
    assert caplog.text == ""
