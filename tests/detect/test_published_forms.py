"""Detectors as their authors hand them out: files with their names and shapes score as their equations say."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from tests.detect import published_files as files
from tests.detect.experiments import wave
from tests.hub import TOKEN, hub  # noqa: F401, a fixture
from wedefense import load_detector
from wedefense.bin.models import main as models
from wedefense.detect.published import MODELS
from wedefense.frontend.ssl.formats.read import find_checkpoint
from wedefense.utils.errors import InputError

RAPTOR = {f"backbone.{name}": shape for name, shape in (files.transformers("ssl_model.") | files.raptor()).items()}
TAK = files.fairseq("ssl_model.model.") | files.aasist()
NES2NET = files.fairseq("ssl_model.model.") | files.nes2net()
ANTIDEEPFAKE = files.fairseq("m_ssl.model.") | files.linear("proj_fc", 2, files.DIM)
HUBERT = files.fairseq("m_ssl.model.", bias=False) | files.linear("proj_fc", 2, files.DIM)
SMALL = files.fairseq("m_ssl.model.", bias=False, layer_norms=False) | files.linear("proj_fc", 2, files.DIM)
SAMPLES = 64_600


def written(path, shapes, prefix: str = ""):
    """The tensors, and the file that holds them."""
    tensors = files.filled(shapes)
    if "backbone.conformer.class_token" in tensors:
        tensors["backbone.conformer.positional_emb"] = files.sines()
    named = {prefix + name: tensor for name, tensor in tensors.items()}
    save_file(named, path) if path.suffix == ".safetensors" else torch.save(named, path)
    return tensors


def layers_of(model, wav: np.ndarray) -> list[torch.Tensor]:
    """(1, frames, dim) of each layer, as the file's encoder hands them out; other tests hold it to its authors'."""
    with torch.no_grad():
        return model.detector.frontend(torch.from_numpy(wav)[None]).layers


def cropped(wav: np.ndarray) -> np.ndarray:
    return np.tile(wav, SAMPLES // len(wav) + 1)[:SAMPLES]


def batch_normed(t, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.batch_norm(x, *(t[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))


def lin(t, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, t[f"{name}.weight"], t.get(f"{name}.bias"))


def layer_normed(t, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], t[f"{name}.weight"], t[f"{name}.bias"])


def raptor(t, layers) -> torch.Tensor:
    """Logits (1, 2) of spoof and bona fide."""
    x = 0
    for layer in layers:
        pooled = (lin(t, "attn_scores", layer).softmax(dim=1) * layer).sum(dim=1)
        x = x + layer * lin(t, "fc0", pooled).sigmoid()[:, None]
    x = F.selu(batch_normed(t, "first_bn", x[:, None]))[:, 0] + t["conformer.positional_emb"][:, :x.shape[1]]
    x = torch.cat([t["conformer.class_token"][None], x], dim=1)
    for number in range(2):
        b = f"conformer.encoder_blocks.{number}."
        x = x + feed_forward(t, f"{b}ff1.fn", x)
        x = x + head_attention(t, f"{b}attn.fn", layer_normed(t, f"{b}attn.norm", x))
        y = F.conv1d(layer_normed(t, f"{b}conv.net.0", x).mT, t[f"{b}conv.net.2.weight"], t[f"{b}conv.net.2.bias"])
        y = F.glu(y, dim=1)
        y = F.conv1d(F.pad(y, (15, 15)), t[f"{b}conv.net.4.conv.weight"], t[f"{b}conv.net.4.conv.bias"],
                     groups=y.shape[1])
        y = F.silu(batch_normed(t, f"{b}conv.net.5", y))
        x = x + F.conv1d(y, t[f"{b}conv.net.7.weight"], t[f"{b}conv.net.7.bias"]).mT
        x = layer_normed(t, f"{b}post_norm", x + feed_forward(t, f"{b}ff2.fn", x))
    return lin(t, "conformer.fc5", x[:, 0])


def feed_forward(t, name: str, x: torch.Tensor) -> torch.Tensor:
    x = F.silu(lin(t, f"{name}.fn.net.0", layer_normed(t, f"{name}.norm", x)))
    return 0.5 * lin(t, f"{name}.fn.net.3", x)


def head_attention(t, name: str, x: torch.Tensor, heads: int = 4) -> torch.Tensor:
    (_, count, dim), part = x.shape, x.shape[2] // heads
    tokens = lin(t, f"{name}.ht_proj", x.mean(dim=1).view(heads, part)).view(heads, heads, part)
    tokens = F.gelu(layer_normed(t, f"{name}.ht_norm", tokens)).view(1, heads, dim) + t[f"{name}.pos_embed"]
    x = torch.cat([x, tokens], dim=1)
    query, key, value = lin(t, f"{name}.qkv", x)[0].view(-1, 3, heads, part).permute(1, 2, 0, 3)
    weights = (query @ key.mT / part ** 0.5).softmax(dim=-1)                 # (heads, tokens, tokens)
    x = lin(t, f"{name}.proj", (weights @ value).transpose(0, 1).reshape(1, -1, dim))
    frames = x[:, 1:count]
    token = x[:, :1] + x[:, count:].mean(dim=1, keepdim=True) + frames.mean(dim=1, keepdim=True)
    return torch.cat([token, frames], dim=1)


def nes2net(t, layers) -> torch.Tensor:
    *groups, last = layers[-1].mT.split(files.DIM // 8, dim=1)
    out, h = [], 0
    for number, group in enumerate(groups):
        name = f"Nested_Res2Net_TDNN.Build_in_Res2Nets.{number}"
        x = h + group
        y = batch_normed(t, f"{name}.bn1", F.conv1d(x, t[f"{name}.conv1.weight"], t[f"{name}.conv1.bias"]).relu())
        *parts, rest = y[..., None].split(y.shape[1] // 8, dim=1)
        inner, z = [], rest
        for branch, piece in enumerate(parts):
            z = torch.cat([z, piece], dim=3)
            z = F.conv2d(z, t[f"{name}.convs.{branch}.weight"], t[f"{name}.convs.{branch}.bias"], padding=(2, 0),
                         dilation=(2, 1)).relu()
            z = batch_normed(t, f"{name}.bns.{branch}", z)
            inner.append((z * t[f"{name}.weighted_sum.{branch}"]).sum(dim=3))
        y = torch.cat([*inner, rest[..., 0]], dim=1)
        y = batch_normed(t, f"{name}.bn3", F.conv1d(y, t[f"{name}.conv3.weight"], t[f"{name}.conv3.bias"]).relu())
        gate = F.conv1d(y.mean(dim=2, keepdim=True), t[f"{name}.se.se.1.weight"], t[f"{name}.se.se.1.bias"]).relu()
        gate = F.conv1d(gate, t[f"{name}.se.se.3.weight"], t[f"{name}.se.se.3.bias"]).sigmoid()
        h = batch_normed(t, f"Nested_Res2Net_TDNN.bns.{number}", (x + y * gate).relu())
        out.append(h)
    x = batch_normed(t, "Nested_Res2Net_TDNN.bn", torch.cat([*out, last], dim=1)).relu()
    return lin(t, "Nested_Res2Net_TDNN.fc", x.mean(dim=2))


def aasist(t, layers) -> torch.Tensor:
    x = F.max_pool2d(lin(t, "LL", layers[-1]).mT[:, None], 3)
    x = F.selu(batch_normed(t, "first_bn", x))
    for number in range(6):
        b = f"encoder.{number}.0"
        y = F.conv2d(x, t[f"{b}.conv1.weight"], t[f"{b}.conv1.bias"], padding=(1, 1))
        y = F.conv2d(F.selu(batch_normed(t, f"{b}.bn2", y)), t[f"{b}.conv2.weight"], t[f"{b}.conv2.bias"],
                     padding=(0, 1))
        down = t.get(f"{b}.conv_downsample.weight")
        x = y + (x if down is None else F.conv2d(x, down, t[f"{b}.conv_downsample.bias"], padding=(0, 1)))
    x = F.selu(batch_normed(t, "first_bn1", x))
    w = F.selu(F.conv2d(x, t["attention.0.weight"], t["attention.0.bias"]))
    w = F.conv2d(batch_normed(t, "attention.2", w), t["attention.3.weight"], t["attention.3.bias"])
    spectral = pooled(t, "pool_S", graph(t, "GAT_layer_S", (x * w.softmax(dim=3)).sum(dim=3).mT + t["pos_S"]))
    temporal = pooled(t, "pool_T", graph(t, "GAT_layer_T", (x * w.softmax(dim=2)).sum(dim=2).mT))
    ends = []
    for branch in "12":
        s, time, master = both(t, f"HtrgGAT_layer_ST{branch}1", temporal, spectral, t[f"master{branch}"])
        s, time = pooled(t, f"pool_hS{branch}", time), pooled(t, f"pool_hT{branch}", s)  # temporal came first
        more_t, more_s, more = both(t, f"HtrgGAT_layer_ST{branch}2", time, s, master)
        ends.append((time + more_t, s + more_s, master + more))
    time, s, master = (torch.maximum(one, two) for one, two in zip(*ends))
    return lin(t, "out_layer", torch.cat([time.abs().amax(dim=1), time.mean(dim=1), s.abs().amax(dim=1),
                                          s.mean(dim=1), master[:, 0]], dim=1))


def graph(t, name: str, x: torch.Tensor) -> torch.Tensor:
    weights = lin(t, f"{name}.att_proj", x[:, :, None] * x[:, None]).tanh() @ t[f"{name}.att_weight"] / 2.0
    x = lin(t, f"{name}.proj_with_att", weights.softmax(dim=-2)[..., 0] @ x) + lin(t, f"{name}.proj_without_att", x)
    return F.selu(batch_normed(t, f"{name}.bn", x[0]))[None]


def pooled(t, name: str, x: torch.Tensor) -> torch.Tensor:
    scores = lin(t, f"{name}.proj", x).sigmoid()
    best = scores[0, :, 0].topk(max(x.shape[1] // 2, 1)).indices
    return (x * scores)[:, best]


def both(t, name: str, first: torch.Tensor, second: torch.Tensor, master: torch.Tensor):
    count = first.shape[1]
    x = torch.cat([lin(t, f"{name}.proj_type1", first), lin(t, f"{name}.proj_type2", second)], dim=1)
    pairs = lin(t, f"{name}.att_proj", x[:, :, None] * x[:, None]).tanh()
    scores = (pairs @ t[f"{name}.att_weight12"])[..., 0]
    scores[:, :count, :count] = (pairs @ t[f"{name}.att_weight11"])[:, :count, :count, 0]
    scores[:, count:, count:] = (pairs @ t[f"{name}.att_weight22"])[:, count:, count:, 0]
    seen = ((lin(t, f"{name}.att_projM", x * master).tanh() @ t[f"{name}.att_weightM"]) / 100.0).softmax(dim=1)
    master = (lin(t, f"{name}.proj_with_attM", (seen * x).sum(dim=1, keepdim=True))
              + lin(t, f"{name}.proj_without_attM", master))
    x = (lin(t, f"{name}.proj_with_att", (scores / 100.0).softmax(dim=-1) @ x) + lin(t, f"{name}.proj_without_att", x))
    x = F.selu(batch_normed(t, f"{name}.bn", x[0]))[None]
    return x[:, :count], x[:, count:], master


def mean(t, layers) -> torch.Tensor:
    return lin(t, "proj_fc", layers[-1].mean(dim=1))


CASES = {"DF-Arena": (RAPTOR, raptor, "pytorch_model.bin", ""), "Tak": (TAK, aasist, "best.pth", ""),
         "Tak, of several GPUs": (TAK, aasist, "best.pth", "module."), "Nes2Net": (NES2NET, nes2net, "ep95.pth", ""),
         "AntiDeepfake": (ANTIDEEPFAKE, mean, "model.safetensors", ""), "its ckpt": (HUBERT, mean, "hubert.ckpt", ""),
         "its small one": (SMALL, mean, "model.safetensors", "")}


@pytest.mark.parametrize("seconds", [6.0, 1.3])
@pytest.mark.parametrize("case", CASES)
def test_a_file_scores_as_its_authors_score_it(case, seconds, tmp_path):
    shapes, equations, name, prefix = CASES[case]
    tensors = {key.removeprefix("backbone."): value for key, value in written(tmp_path / name, shapes, prefix).items()}
    model, wav = load_detector(tmp_path / name), wave(seconds).astype(np.float32)
    heard = wav if equations is mean else cropped(wav)
    with torch.no_grad():
        logits = equations(tensors, layers_of(model, heard))[0]       # of spoof and bona fide, in their order
    score = model.score(wav, 16000)
    published = logits.softmax(dim=0)[1] if equations in (mean, raptor) else logits[1]
    assert score.raw == pytest.approx(float(published), abs=2e-5)
    prior = 0.0 if equations in (mean, raptor) else np.log(2322 / 2280)
    assert score.llr == pytest.approx(float(logits[1] - logits[0]) - prior, abs=1e-4)
    assert score.heard == pytest.approx(seconds if equations is mean else min(seconds, SAMPLES / 16000), abs=1e-3)
    assert ("64,600" in model.remark) == (equations is not mean)


def test_waveforms_are_as_their_authors_make_them(tmp_path):
    """AntiDeepfake normalises them, whatever the encoder is; the others take them as they are."""
    for name, shapes, normalized in (("a.pth", SMALL, True), ("b.pth", ANTIDEEPFAKE, True), ("c.pth", TAK, False),
                                     ("d.pth", RAPTOR, False)):
        written(tmp_path / name, shapes)
        model, wav = load_detector(tmp_path / name), wave(1.0).astype(np.float32)
        loud, soft = (model.score(gain * wav, 16000).raw for gain in (1.0, 0.25))
        assert (abs(loud - soft) < 1e-4) == normalized
        assert model.detector.frontend.architecture.normalize_waveform == normalized


@pytest.mark.parametrize("shapes, name", [
    (TAK, "out_layer.weight"), (TAK, "GAT_layer_S.att_weight"), (TAK, "encoder.3.0.bn2.weight"),
    (NES2NET, "Nested_Res2Net_TDNN.Build_in_Res2Nets.3.weighted_sum.2"), (NES2NET, "Nested_Res2Net_TDNN.fc.bias"),
    (RAPTOR, "backbone.conformer.encoder_blocks.1.attn.fn.ht_norm.bias"), (RAPTOR, "backbone.fc0.weight"),
    (RAPTOR, "backbone.conformer.positional_emb"), (ANTIDEEPFAKE, "proj_fc.bias"),
    (ANTIDEEPFAKE, "m_ssl.model.encoder.layers.1.fc1.weight")])
def test_a_renamed_tensor_is_refused_by_its_name(shapes, name, tmp_path):
    written(tmp_path / "a.pth", shapes)
    tensors = torch.load(tmp_path / "a.pth", weights_only=True)
    torch.save({key + "X" * (key == name): tensor for key, tensor in tensors.items()}, tmp_path / "a.pth")
    ours = {"proj_fc.bias": "projection.linear.bias", "Nested_Res2Net_TDNN.fc.bias": "projection.linear.bias"}
    own = name.removeprefix("backbone.").removeprefix("Nested_Res2Net_TDNN.")
    with pytest.raises(InputError, match=ours.get(name, own)):
        load_detector(tmp_path / "a.pth")


def test_a_table_of_positions_that_is_another_is_refused(tmp_path):
    written(tmp_path / "a.pth", RAPTOR)
    tensors = torch.load(tmp_path / "a.pth", weights_only=True)
    tensors["backbone.conformer.positional_emb"][0, 3, 5] += 0.1
    torch.save(tensors, tmp_path / "a.pth")
    with pytest.raises(InputError, match="positional_emb' is not the table of sines"):
        load_detector(tmp_path / "a.pth")


@pytest.mark.parametrize("name, shapes", [("df_arena_1b", RAPTOR), ("antideepfake_mms_300m", ANTIDEEPFAKE)])
def test_by_its_name_it_is_fetched_and_its_licence_told_before(name, shapes, hub, tmp_path, caplog):  # noqa: F811
    """Beside the weights lie a config and code, of which nothing is asked for."""
    model = MODELS[name]
    written(tmp_path / model.files[0], shapes)
    content = (tmp_path / model.files[0]).read_bytes()
    first = hub.add(model.hub_id, {model.files[0]: content, "config.json": b'{"model_type": "antispoofing"}',
                                   "backbone.py": b"raise SystemExit"}, gated=True, granted=(TOKEN,))
    with pytest.raises(InputError, match=f"'{model.hub_id}' is gated: accept its conditions"):
        load_detector(name)
    assert f"{model.hub_id}: the licence of its weights is {model.licence}" in caplog.text
    assert "no commercial use" in model.licence
    wav = wave(1.0).astype(np.float32)
    expected = load_detector(tmp_path / model.files[0]).score(wav, 16000).llr
    for place in (name, name.replace("_", "-").upper(), model.hub_id, f"{model.hub_id}@{first}"):
        assert load_detector(place, token=TOKEN).score(wav, 16000).llr == expected
    assert not [path for _, path in hub.asked if path.endswith((".py", ".json"))]
    caplog.clear()
    load_detector(name, token=TOKEN)
    assert "licence" not in caplog.text  # told once, before it was fetched


def test_their_encoders_are_front_ends(hub, tmp_path):  # noqa: F811
    """By hub id or file; a base model hears normalised waveforms, which no tensor tells."""
    written(tmp_path / "model.safetensors", SMALL)
    hub.add("nii-yamagishilab/wav2vec-small-anti-deepfake", {
        "model.safetensors": (tmp_path / "model.safetensors").read_bytes(), "config.json": b"{}"})
    for place in ("nii-yamagishilab/wav2vec-small-anti-deepfake", str(tmp_path / "model.safetensors")):
        found = find_checkpoint(place)
        assert found.architecture.normalize_waveform and found.architecture.num_blocks == files.BLOCKS


def test_the_table_tells_where_what_and_under_which_licence(capsys):
    assert models(["df-arena", "xlsr_aasist_la"]) == 0
    text = capsys.readouterr().out
    for part in ("df_arena_500m", "Speech-Arena-2025/DF_Arena_1B_V_1", "no commercial use", "arXiv:2603.06164",
                 "the first 64,600 samples", "the probability of bona fide", "in_the_wild 0.91",
                 "asvspoof2021_la 0.82"):
        assert part in text
    assert "antideepfake" not in text
    with pytest.raises(InputError, match="unknown model 'df_arean', did you mean 'df_arena"):
        models(["df_arean"])
    assert models([]) == 0
    assert capsys.readouterr().out.count("  licence ") == len(MODELS) == 17
