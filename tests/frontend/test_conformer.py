"""The Conformer front-end: NeMo's file in, and the features of a definition written out frame by frame."""

import io
import math
import tarfile

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml

from tests.frontend.nemo import CONFIG, write_nemo
from wedefense.config.frontend import ConformerOptions, Upstream
from wedefense.frontend import load_frontend
from wedefense.frontend.conformer.architecture import FAST_LARGE, LARGE, ConformerArchitecture
from wedefense.frontend.conformer.encoder import ConformerEncoder
from wedefense.frontend.conformer.frontend import ConformerFrontend
from wedefense.frontend.conformer.nemo import nemo_architecture, read_nemo
from wedefense.utils.errors import InputError

VARIANTS = {"striding": {}, "dw_striding": {"subsampling": "dw_striding", "subsampling_factor": 8},
            "layer norm": {"conv_norm_type": "layer_norm", "xscaling": False, "use_bias": False}}


def front(path, **options) -> ConformerFrontend:
    shift = 80.0 if "dw" in str(path) else 40.0
    return ConformerFrontend(ConformerOptions(upstream_args=Upstream(name=str(path)), frame_shift=shift, **options))


def plain_mel(wav, bands):
    """(frames, bands) of one utterance, a window at a time."""
    wav = wav.astype(np.float64)
    wav = np.concatenate([wav[:1], wav[1:] - 0.97 * wav[:-1]])
    padded, window = np.pad(wav, 256), np.zeros(512)
    window[56:456] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 399)
    frames = [np.abs(np.fft.rfft(padded[t * 160:t * 160 + 512] * window)) ** 2 for t in range(len(wav) // 160)]
    low = np.linspace(0, 1000, 16)[1] / 1000 * 15  # one mel is 200 / 3 Hz below 1 kHz
    assert low == pytest.approx(1.0)
    mel_of = lambda hertz: hertz / (200 / 3) if hertz < 1000 else 15 + math.log(hertz / 1000) / (math.log(6.4) / 27)
    hertz_of = lambda mel: mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)
    edges = [hertz_of(mel) for mel in np.linspace(0, mel_of(8000), bands + 2)]
    filters = np.zeros((bands, 257))
    for band, (left, centre, right) in enumerate(zip(edges, edges[1:], edges[2:])):
        for line in range(257):
            at = line * 8000 / 256
            height = min((at - left) / (centre - left), (right - at) / (right - centre))
            filters[band, line] = max(0.0, height) * 2 / (right - left)
    log = np.log(np.array(frames) @ filters.T + 2.0 ** -24)
    return (log - log.mean(0)) / (log.std(0, ddof=1) + 1e-5)


def plain_block(w, x, heads, norm):
    """x (frames, dim); `w` the tensors of a block by NeMo's names."""
    def ln(x, name):
        return F.layer_norm(x, x.shape[1:], w[f"{name}.weight"], w[f"{name}.bias"])

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

    def ff(x, name):
        return linear(F.silu(linear(x, f"{name}.linear1")), f"{name}.linear2")

    x = x + 0.5 * ff(ln(x, "norm_feed_forward1"), "feed_forward1")
    y, frames, dim = ln(x, "norm_self_att"), *x.shape
    q, k, v = (linear(y, f"self_attn.linear_{name}").view(frames, heads, -1) for name in "qkv")
    size, out = dim // heads, torch.zeros(frames, heads, dim // heads)
    for i in range(frames):
        scores = torch.zeros(heads, frames)
        for j in range(frames):
            place = torch.tensor([f((i - j) / 10000 ** (2 * n / dim)) for n in range(dim // 2)
                                  for f in (math.sin, math.cos)])
            p = linear(place, "self_attn.linear_pos").view(heads, size)
            scores[:, j] = ((q[i] + w["self_attn.pos_bias_u"]) * k[j]).sum(1) + (
                (q[i] + w["self_attn.pos_bias_v"]) * p).sum(1)
        out[i] = torch.einsum("hj,jhd->hd", (scores / math.sqrt(size)).softmax(1), v)
    x = x + linear(out.flatten(1), "self_attn.linear_out")
    y = ln(x, "norm_conv")
    y = F.glu(F.linear(y, w["conv.pointwise_conv1.weight"][:, :, 0], w.get("conv.pointwise_conv1.bias")), dim=1)
    kernel = w["conv.depthwise_conv.weight"][:, 0]
    around = F.pad(y.t(), (kernel.shape[1] // 2,) * 2).unfold(1, kernel.shape[1], 1)  # (dim, frames, kernel)
    y = torch.einsum("dtk,dk->td", around, kernel) + w.get("conv.depthwise_conv.bias", 0.0)
    if norm == "batch_norm":
        y = (y - w["conv.batch_norm.running_mean"]) / (w["conv.batch_norm.running_var"] + 1e-5).sqrt()
        y = y * w["conv.batch_norm.weight"] + w["conv.batch_norm.bias"]
    else:
        y = ln(y, "conv.batch_norm")
    x = x + F.linear(F.silu(y), w["conv.pointwise_conv2.weight"][:, :, 0], w.get("conv.pointwise_conv2.bias"))
    x = x + 0.5 * ff(ln(x, "norm_feed_forward2"), "feed_forward2")
    return ln(x, "norm_out")


def plain(weights, architecture, wav):
    """All layers of one utterance from the tensors of its file."""
    x = torch.from_numpy(plain_mel(wav, architecture.mel_bins)).float()[None, None]
    convolutions = sorted(int(name.split(".")[3]) for name in weights if name.startswith("encoder.pre_encode.conv")
                           and name.endswith("weight"))
    for number in convolutions:
        weight, bias = (weights[f"encoder.pre_encode.conv.{number}.{part}"] for part in ("weight", "bias"))
        point = weight.shape[2:] == (1, 1)
        groups = weight.shape[0] if not point and number and weight.shape[1] == 1 else 1
        x = F.conv2d(x, weight, bias, stride=1 if point else 2, padding=0 if point else 1, groups=groups)
        if number + 1 not in convolutions:
            x = x.relu()
    x = F.linear(x[0].transpose(0, 1).flatten(1), weights["encoder.pre_encode.out.weight"],
                 weights["encoder.pre_encode.out.bias"])
    layers = [x * math.sqrt(architecture.dim) if architecture.scaled_input else x]
    for number in range(architecture.num_blocks):
        start = f"encoder.layers.{number}."
        own = {name.removeprefix(start): tensor for name, tensor in weights.items() if name.startswith(start)}
        layers.append(plain_block(own, layers[-1], architecture.heads, architecture.conv_norm))
    return layers


def wavs(lengths):
    return [0.1 * np.random.default_rng(i).standard_normal(n).astype(np.float32) for i, n in enumerate(lengths)]


def batch(utterances):
    padded = torch.full((len(utterances), max(map(len, utterances))), 0.7)  # what lies past the end must not matter
    for row, wav in zip(padded, utterances):
        row[:len(wav)] = torch.from_numpy(wav)
    return padded, [len(wav) for wav in utterances]


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_against_the_definition_and_alone_as_in_a_batch(tmp_path, name):
    path = write_nemo(tmp_path / f"{name}.nemo", VARIANTS[name])
    frontend = front(path, frozen=True)
    with tarfile.open(path) as archive:
        weights = torch.load(io.BytesIO(archive.extractfile("./model_weights.ckpt").read()), weights_only=True)
    utterances = wavs([9000, 6401, 3199])
    together = frontend(*batch(utterances))
    assert frontend.num_layers == len(together.layers) == 4
    for i, wav in enumerate(utterances):
        alone = frontend(*batch([wav]))
        expected = plain(weights, frontend.architecture, wav)
        frames = len(expected[0])
        mel = len(wav) // 160
        for _ in range(int(math.log2(frontend.architecture.shorter))):
            mel = (mel + 1) // 2
        assert frames == mel == alone.lengths[0] == together.lengths[i] == together.counts[i]
        for ours, other, layer in zip(alone.layers, together.layers, expected, strict=True):
            torch.testing.assert_close(ours[0], layer, atol=2e-3 * float(layer.abs().max()), rtol=1e-3)
            torch.testing.assert_close(other[i, :frames], ours[0], atol=1e-4, rtol=1e-4)
            assert not other[i, frames:].any()


def test_frozen_and_trained(tmp_path):
    path = write_nemo(tmp_path / "a.nemo")
    wav, lengths = batch(wavs([9000, 6401]))
    frozen = front(path, frozen=True).train()
    first, second = frozen(wav, lengths), frozen(wav, lengths)
    assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(first.layers, second.layers, strict=True))
    trained = front(path).train()
    assert not torch.equal(trained(wav, lengths).layers[-1], trained(wav, lengths).layers[-1])
    sum(layer.square().mean() for layer in trained(wav, lengths).layers).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in trained.parameters())
    second_block = front(path, layer=2, multilayer_feature=False).eval()
    everything = front(path).eval()
    with torch.no_grad():
        one = second_block(wav, lengths)
        assert len(one.layers) == 1 and torch.equal(one.layers[0], everything(wav, lengths).layers[2])
    assert not any(p.requires_grad for p in second_block.upstream.layers[2].parameters())


def test_it_loads_by_its_path_and_without_it(tmp_path):
    path = write_nemo(tmp_path / "a.nemo", prefix="")
    loaded = load_frontend(str(path), frame_shift=40.0)
    assert isinstance(loaded, ConformerFrontend) and loaded.feat_dim == 24 and loaded.frame_shift == 40
    rebuilt = ConformerFrontend(ConformerOptions(), architecture=loaded.architecture)  # the file is nowhere
    rebuilt.load_state_dict(loaded.state_dict())
    wav, lengths = batch(wavs([8000]))
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(wav, lengths).layers[-1], loaded.eval()(wav, lengths).layers[-1])
    assert ConformerFrontend.summary(str(path), None)["layers"] == "3 blocks of 24"
    for name in ("stt_en_conformer_ctc_large", "nvidia/stt_en_fastconformer_ctc_large", "x/y.nemo"):
        assert ConformerFrontend.serves(name)
    with pytest.raises(InputError, match="frame_shift: this model makes a frame every 40 ms, got 80"):
        load_frontend(str(path), frame_shift=80.0)


@pytest.mark.parametrize("architecture, millions", [(LARGE, 121.5), (FAST_LARGE, 115)])
def test_published_sizes(architecture, millions):
    """With its decoder of 128 word pieces (and the FastConformer's of 1024) as NeMo's tables have them."""
    with torch.device("meta"):
        encoder = ConformerEncoder(architecture)
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(millions, rel=0.015)


@pytest.mark.parametrize("changes, told", [
    ({"self_attention_model": "abs_pos"}, "encoder.self_attention_model is 'abs_pos'.*'rel_pos'"),
    ({"att_context_size": [70, 1]}, r"att_context_size is \[70, 1\].*the whole utterance"),
    ({"subsampling": "vggnet"}, "encoder.subsampling is 'vggnet'"),
    ({"_target_": "nemo.collections.asr.modules.ConvASREncoder"}, "a Conformer's is taken"),
])
def test_other_models_are_refused_with_what_is_read(changes, told):
    with pytest.raises(InputError, match=told):
        nemo_architecture({**CONFIG, "encoder": {**CONFIG["encoder"], **changes}}, "a.nemo")


def test_broken_files_are_named(tmp_path):
    path = write_nemo(tmp_path / "a.nemo")
    (tmp_path / "half.nemo").write_bytes(path.read_bytes()[:5000])
    (tmp_path / "text.nemo").write_text("no tar")
    with tarfile.open(tmp_path / "empty.nemo", "w"):
        pass
    config = {**CONFIG, "encoder": {**CONFIG["encoder"], "d_model": 32}}
    with tarfile.open(path) as archive:
        weights = archive.extractfile("./model_weights.ckpt").read()
    with tarfile.open(tmp_path / "other.nemo", "w") as archive:
        for name, content in (("model_config.yaml", yaml.safe_dump(config).encode()), ("model_weights.ckpt", weights)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    for name, told in (("half", "half.nemo: "), ("text", "text.nemo: not a whole .nemo file"),
                       ("empty", "empty.nemo: no model_config.yaml in it"),
                       ("other", r"other.nemo: tensor 'encoder.pre_encode.out.weight' has shape \(24, 24\)")):
        with pytest.raises(InputError, match=told):
            read_nemo(tmp_path / f"{name}.nemo")
    with pytest.raises(InputError, match="no Conformer, did you mean 'stt_en_conformer_ctc_large'"):
        ConformerFrontend(ConformerOptions(upstream_args=Upstream(name="stt_en_conformer_ctc_larg")))


def test_what_a_pickle_asks_for_is_not_run(tmp_path):
    class Bad:
        def __reduce__(self):
            import os
            return os.system, ("true",)

    weights = io.BytesIO()
    torch.save({"encoder.x": Bad()}, weights)
    with tarfile.open(tmp_path / "bad.nemo", "w") as archive:
        for name, content in (("model_config.yaml", yaml.safe_dump(CONFIG).encode()),
                              ("model_weights.ckpt", weights.getvalue())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with pytest.raises(InputError, match="bad.nemo: .*refused, it asks for"):
        read_nemo(tmp_path / "bad.nemo")


def test_defaults_are_those_of_the_published_configs():
    large = {"encoder": {"n_layers": 18, "d_model": 512, "n_heads": 8, "conv_kernel_size": 31, "dropout_att": 0.1},
             "preprocessor": {"features": 80, "n_fft": 512, "window_size": 0.025}}
    assert nemo_architecture(large, "large") == LARGE == ConformerArchitecture()
