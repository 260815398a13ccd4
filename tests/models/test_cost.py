import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.corpus import write_config
from tests.frontend.ssl.test_adapters import adapted
from wedefense.config.adapters import AdapterOptions
from wedefense.config.loader import load_config
from wedefense.config.models import BACKENDS
from wedefense.frontend.features import LayerFeatures
from wedefense.models.cost import encoder_multiply_adds, multiply_adds, parameters, training_bytes
from wedefense.models.detector import build_detector


def test_cost_of_a_network_that_can_be_counted_by_hand(tmp_path):
    config = load_config(write_config(tmp_path))
    detector = build_detector(config, 2)
    # mean pooling: a linear layer 20 -> 16 on the pooled frame; the head 16 -> 2
    assert parameters(detector.backend) + parameters(detector.projection) == parameters(detector)
    linear = sum(p.numel() for n, p in detector.named_parameters() if n.endswith("weight") and p.dim() == 2)
    mel = 257 * 20 * (1 + (32000 - 400) // 160)  # filter banks of 2 s
    assert multiply_adds(detector) == linear + mel
    assert detector.training
    assert training_bytes(detector, "SGD") == 4 * 3 * parameters(detector)
    detector.frontend.requires_grad_(False)
    torch.testing.assert_close(training_bytes(detector, "AdamW"), 4 * 4 * parameters(detector))


def test_a_pretrained_encoder_counts_by_its_architecture(tmp_path):
    config = load_config(write_config(tmp_path, dataset_args__frontend="ssl",
                                      dataset_args__ssl_args={"upstream_args": {"name": "wavlm_tiny"}}))
    detector = build_detector(config, 2)
    rest = detector.backend, detector.projection
    linear = sum(p.numel() for part in rest for n, p in part.named_parameters() if n.endswith("weight")
                 and p.dim() == 2)
    encoder = encoder_multiply_adds(detector.frontend.upstream, 16000)
    assert multiply_adds(detector, 1.0) == encoder + linear
    assert encoder_multiply_adds(detector.frontend.upstream, 32000) > 2 * encoder
    costs = []
    for layer in range(4):  # blocks above the wanted layer do not run
        detector.frontend.upstream.stop_after(layer)
        costs.append(encoder_multiply_adds(detector.frontend.upstream, 16000))
    assert costs[3] == encoder and costs[1] - costs[0] == costs[2] - costs[1] == costs[3] - costs[2] > 0


@pytest.mark.parametrize("family, frames", [("wavlm", 49), ("whisper", 50)])
def test_changes_of_weights_cost_nothing_and_detours_two_products_for_each_sum(family, frames):
    """One second of audio."""
    plain, *costs = (encoder_multiply_adds(adapted(family, options), 16000) for options in (
        AdapterOptions(), AdapterOptions("lora"), AdapterOptions("bottleneck", dim=5, layers=(0, 2))))
    assert costs == [plain, plain + frames * 2 * 2 * (24 * 5 + 5 * 24)]


@pytest.mark.parametrize("name, embed_dim, published", [
    ("ECAPA_TDNN_GLOB_c512", 192, 1.04), ("ResNet221", 256, 21.29), ("ResNet293", 256, 28.10)])
def test_published_costs_of_networks_on_filter_banks(name, embed_dim, published):
    """Table II of the CA-MHFA paper, 2 s: our products, and the 4 that its counter adds per element of a batch norm."""
    with torch.device("meta"):
        backend = BACKENDS.load(name)(BACKENDS.options(name)(embed_dim=embed_dim), 80, 1).eval()
        features = LayerFeatures([torch.empty(1, 200, 80)], torch.tensor([200]))
    normed = []
    for module in backend.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            module.register_forward_hook(lambda module, seen, made: normed.append(made.numel()))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backend(features)
    assert (counter.get_total_flops() / 2 + 4 * sum(normed)) / 1e9 == pytest.approx(published, abs=0.006)


@pytest.mark.parametrize("name", [name for name in BACKENDS.names() if name.startswith("SSL_")])
def test_every_backend_of_a_pretrained_encoder_can_be_counted(tmp_path, name):
    """Parameters that a back-end hands on as they are (AASIST's master nodes) do not stop the counter."""
    config = load_config(write_config(tmp_path, model=name, model_args={}, dataset_args__frontend="ssl",
                                      dataset_args__ssl_args={"upstream_args": {"name": "wavlm_tiny"}}))
    detector = build_detector(config, 2)
    learnt = [parameter.requires_grad for parameter in detector.parameters()]
    assert multiply_adds(detector, 1.0) > encoder_multiply_adds(detector.frontend.upstream, 16000)
    assert [parameter.requires_grad for parameter in detector.parameters()] == learnt and any(learnt)
