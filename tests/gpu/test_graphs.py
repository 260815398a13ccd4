"""Recorded launches: the same numbers as without, dropout included, on a GPU or an emulated one."""

import json
import weakref
from dataclasses import replace

import pytest
import torch

from tests.emulation.cuda import forget_what_is_on_devices
from tests.emulation.device import Emulation
from tests.gpu.interpreter import DEVICE
from wedefense.config.adapters import AdapterOptions
from wedefense.config.loader import load_config
from wedefense.frontend.ssl.adapters import adapt
from wedefense.frontend.ssl.architecture import full_blocks
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.frontend.ssl.products import Derived
from wedefense.frontend.ssl.zoo import find_model
from wedefense.gpu.graphs import Graphs
from wedefense.models.detector import build_detector
from wedefense.pruning.gates import attach
from wedefense.train.modes import Mode
from wedefense.train.recording import record_encoders
from wedefense.utils.devices import holding
from wedefense.utils.distributed import World


@pytest.fixture
def gpu():
    """The GPU; where there is none an emulated one, which records and plays back what it emulates."""
    if DEVICE == "cuda":
        yield torch.device("cuda")
        return
    from tests.emulation.cuda import emulated_cuda

    with emulated_cuda(kernels=True, records=True) as cuda:
        yield cuda.device


LONG = [pytest.mark.slow] if DEVICE == "cpu" else []
CONVOLUTIONS = ((32, 10, 5), (32, 3, 2), (32, 2, 2))


def trained(name, graphs, how="trained", low=False, steps=4, layer_drop=0.0, blocks=2, at_once=0,
            gates=None):
    """Weights and the last layers after some steps of training."""
    torch.manual_seed(0)
    architecture = replace(find_model(name).architecture, layer_drop=layer_drop, blocks=full_blocks(blocks, 2, 64),
                           dim=32, total_heads=2, conv_layers=CONVOLUTIONS)
    encoder = Encoder(architecture).cuda().train()
    encoder.encoder.transformer.blocks_recorded_at_once = at_once
    encoder.requires_grad_(how != "frozen")
    if gates is not None:
        attach(encoder, gates)
    adapt(encoder, AdapterOptions("lora" if how == "adapted" else "none", targets=("q_proj", "output_dense")))
    encoder.graphs = graphs
    weight = torch.ones(architecture.num_blocks + 1, device="cuda", requires_grad=True)
    optimizer = torch.optim.SGD([weight, *(p for p in encoder.parameters() if p.requires_grad)], 1e-3)
    for step in range(steps):
        wav = torch.randn(2, 300, generator=torch.Generator().manual_seed(step)).cuda()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16, enabled=low):
            layers = encoder(wav).layers
        loss = sum(w * layer.float().sin().mean() for w, layer in zip(weight, layers))
        loss.backward()
        optimizer.step()
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=not low):
            encoder(wav[:1])  # in the other precision, for which it keeps other weights
        forget_what_is_on_devices()
    return [layer.detach().clone() for layer in layers] + [p.detach().clone() for p in (weight, *encoder.parameters())]


@pytest.mark.parametrize("low", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name, how", [
    ("wavlm_base_plus", "trained"), ("wavlm_base_plus", "frozen"),
    pytest.param("wavlm_base_plus", "adapted", marks=LONG), pytest.param("wavlm_large", "trained", marks=LONG),
    ("wavlm_large", "frozen"), ("wavlm_large", "adapted")])
def test_training_is_the_same_with_recordings(gpu, name, how, low):
    if DEVICE == "cpu" and low != (name == "wavlm_large"):
        pytest.skip("emulated in the other precision alone")
    graphs = Graphs(2, 300)
    recorded, plain = trained(name, graphs, how, low), trained(name, None, how, low)
    assert len(graphs._recorded) == 1
    for one, other in zip(recorded, plain, strict=True):
        difference, bound = (one - other).norm(), (2e-2 if low else 1e-4) * other.norm() + 1e-5
        assert difference <= (0 if DEVICE == "cpu" else bound), difference / other.norm()


@pytest.mark.parametrize("name, at_once", [
    ("wavlm_base_plus", 0), pytest.param("wavlm_large", 1, marks=LONG)])
def test_pruning_is_the_same_with_recordings(gpu, name, at_once):
    """Gates are drawn in what is recorded: others in every step."""
    graphs = Graphs(2, 300)
    recorded, plain = (trained(name, graphs, gates=(), at_once=at_once) for graphs in (graphs, None))
    assert len(graphs._recorded) == 1
    for one, other in zip(recorded, plain, strict=True):
        difference, bound = (one - other).norm(), 1e-4 * other.norm() + 1e-5
        exact = 1e-6 * other.norm() * (at_once > 0)  # layers' gradients are summed in another order
        assert difference <= (bound if DEVICE == "cuda" else exact), difference / other.norm()


@pytest.mark.parametrize("name, options", [
    ("wavlm_base_plus", {"layer_drop": 0.4, "blocks": 3, "steps": 3}),
    pytest.param("wavlm_large", {"layer_drop": 0.4, "blocks": 3}, marks=LONG),
    pytest.param("wavlm_base_plus", {"at_once": 2, "blocks": 3}, marks=LONG),
    ("wavlm_large", {"at_once": 2, "blocks": 3, "steps": 2})], ids=str)
def test_training_is_the_same_with_sections(gpu, name, options):
    """Blocks that are left out hand on what they get, both ways, and their parameters have no gradient."""
    graphs = Graphs(2, 300)
    recorded, plain = trained(name, graphs, **options), trained(name, None, **options)
    (recording,), drops = graphs._recorded.values(), "layer_drop" in options
    assert len(recording.sections) == (4 + (name == "wavlm_large") if drops else 3)
    for one, other in zip(recorded, plain, strict=True):
        difference, bound = (one - other).norm(), 1e-4 * other.norm() + 1e-5
        assert difference <= (bound if DEVICE == "cuda" else 1e-6 * other.norm() * drops), difference / other.norm()


def test_what_is_kept_is_dropped_with_the_mode(gpu):
    graphs = Graphs(2, 300)
    architecture = replace(find_model("wavlm_base_plus").architecture, layer_drop=0.0, blocks=full_blocks(1, 2, 64),
                           dim=32, total_heads=2, conv_layers=CONVOLUTIONS)
    encoder = Encoder(architecture).cuda().eval()
    encoder.graphs = graphs
    wav = torch.randn(2, 300).cuda()
    with torch.no_grad():
        found = [[layer.clone() for layer in encoder(wav).layers] for _ in range(4)]
        assert len(graphs._recorded) == 1
        for layers in found[1:]:
            for one, other in zip(layers, found[0]):
                torch.testing.assert_close(one.cpu(), other.cpu(), rtol=0, atol=1e-6)
        next(encoder.parameters()).mul_(2)
        encoder.train()
        assert not graphs._recorded


@pytest.mark.parametrize("trains", [False, True], ids=["frozen", "trained"])
def test_samples_are_copied_and_all_else_is_played_back(gpu, trains):
    """Their normalisation too. Whole numbers are recorded by themselves; what lies beyond the crop is left out.

    Passes from before the recordings live on, and take no part in them.
    """
    architecture = replace(find_model("wavlm_large").architecture, layer_drop=0.0, blocks=full_blocks(1, 2, 64), dim=32,
                           total_heads=2, conv_layers=CONVOLUTIONS, hidden_dropout=0.0, attention_dropout=0.0)
    encoder = Encoder(architecture).cuda().requires_grad_(trains)
    assert architecture.normalize_waveform
    wav = torch.randn(2, 310, generator=torch.Generator().manual_seed(0)).mul(1000).round().cuda()
    plain, graphs = encoder(wav, [300, 300]).layers, Graphs(2, 300)
    encoder.graphs = graphs
    for given in (wav, wav.short(), wav[:, :300].clone(), wav):
        for one, other in zip(encoder(given, [300, 300]).layers, plain, strict=True):
            difference = (one - other).norm() / other.norm()
            assert difference <= (0 if DEVICE == "cpu" else 1e-5)
    assert len(graphs._recorded) == 2
    if DEVICE == "cpu":
        with Emulation.current.watch() as seen:
            encoder(wav, [300, 300])
        assert dict(seen.launches) == {"copy_": 1}


def test_crops_alone_are_recorded_and_once(monkeypatch):
    """What is recorded when; the recording itself needs a GPU."""
    recordings = []
    monkeypatch.setattr(Graphs, "_record", lambda self, encoder, wav, layers, grad, _: (
        recordings.append(grad) or (lambda wav, drops: layers(wav))))
    encoder, graphs = torch.nn.Linear(2, 2), Graphs(4, 8000)

    def layers(wav):
        return [wav]

    for shape in ((4, 8000), (1, 16000), (4, 8000), (3, 8000), (1, 16001)):
        graphs(encoder, torch.zeros(shape), layers)
    assert recordings == [True]
    with torch.no_grad():
        graphs(encoder, torch.zeros(4, 8000), layers)
    assert recordings == [True, False]
    graphs.clear()
    graphs(encoder, torch.zeros(4, 8000), layers)
    assert recordings == [True, False, True]


def test_a_recording_leaves_the_encoder_as_it_is(monkeypatch):
    """Making one changes no mode, which would make the encoder forget the others."""
    modes, encoder = [], torch.nn.Linear(2, 2).eval()
    monkeypatch.setattr(torch.nn.Linear, "train", lambda self, mode=True: modes.append(mode) or self)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: None)
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: None)
    monkeypatch.setattr("wedefense.gpu.graphs.Recording",
                        lambda module, wav, *_: lambda wav, drops: [*module(wav)])
    with torch.no_grad():
        assert torch.equal(Graphs(1, 3)(encoder, torch.ones(1, 3), lambda wav: [wav * 2])[0], torch.full((1, 3), 2.0))
    assert not modes


def test_weights_that_a_recording_reads_outlive_their_cache():
    """As those of frozen blocks, which the cache replaces when they are wanted in another precision."""
    cache, weight = Derived(), torch.ones(2)
    with holding() as held:
        low = weakref.ref(cache.get((weight,), "bfloat16", weight.bfloat16))
    cache.get((weight,), "float64", weight.double)
    assert low() is held[0]
    held.clear()
    assert low() is None


@pytest.mark.parametrize("changes, ranks, recorded", [
    ({}, 1, (16, 48000, False)), ({"cuda_graphs": False}, 1, None), ({"accum_grad": 2}, 1, (16, 48000, True)),
    ({"compile": True}, 1, None), ({}, 2, (16, 48000, False)), ({"sharding": "full"}, 2, None),
    ({"use_pruning_loss": True}, 1, (16, 48000, False)), ({"dataset_args": {"whole_utt": True}}, 1, None)], ids=str)
def test_a_run_records_its_crops(monkeypatch, tmp_path, changes, ranks, recorded):
    """Over several ranks in sections."""
    page = {"exp_dir": str(tmp_path), **changes, "dataset_args": {"frontend": "ssl", **changes.get("dataset_args", {})}}
    (tmp_path / "config.yaml").write_text(json.dumps(page))
    config = load_config(tmp_path / "config.yaml")
    monkeypatch.setattr("wedefense.train.recording.kernels_run_on", lambda device: True)
    detector = build_detector(config, 2, find_model("wavlm_tiny").architecture)
    record_encoders(config, detector, Mode(), World(0, ranks, 0, torch.device("cpu")))
    graphs = detector.frontend.upstream.graphs
    assert (graphs and (*graphs.shape, graphs.summed)) == recorded
    at_once = detector.frontend.upstream.encoder.transformer.blocks_recorded_at_once
    assert (at_once > 0) == (recorded is not None and ranks > 1)
