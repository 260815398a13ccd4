"""What is PyTorch's own affair may be gone in its next version: then everything runs without it."""

import ast
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import wedefense
from tests.frontend.ssl.test_encoder import BASE, LENGTHS, batch_of, difference, encoder_of
from wedefense.frontend.ssl.products import onednn_is_faster
from wedefense.pruning import gates
from wedefense.utils.convolutions import has_amx

ONEDNN = "torch.ops.mkldnn."
WITH_A_TEST_HERE = {ONEDNN + name for name in (
    "_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")}


def private_names(tree):
    """All `torch.a._b` and what is imported from such places."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "torch" and any(part.startswith("_") and not part.startswith("__") for part in parts):
                yield name


def test_no_others_are_named():
    named = {name for path in Path(wedefense.__file__).parent.rglob("*.py")
             for name in private_names(ast.parse(path.read_text(encoding="utf-8")))}
    assert named == WITH_A_TEST_HERE


@pytest.fixture
def asked_anew():
    onednn_is_faster.cache_clear()
    yield
    onednn_is_faster.cache_clear()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gone", sorted(name for name in WITH_A_TEST_HERE if name.startswith(ONEDNN)))
def test_products_without_onednn(monkeypatch, asked_anew, gone, precision):
    encoder, wav = encoder_of(BASE), batch_of(LENGTHS)

    def layers():
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
            return encoder(wav, LENGTHS).layers

    expected = layers()
    left = {name: getattr(torch.ops.mkldnn, name.removeprefix(ONEDNN)) for name in WITH_A_TEST_HERE
            if name.startswith(ONEDNN) and name != gone}
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(
        **{name.removeprefix(ONEDNN): operator for name, operator in left.items()}))
    onednn_is_faster.cache_clear()
    encoder.forget()
    assert difference(layers(), expected) < (1e-4 if precision == torch.float32 else 0.2)
    assert not onednn_is_faster(precision)


def test_the_processor_is_asked_by_what_is_documented(monkeypatch):
    expected = has_amx()
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported", raising=False)
    assert has_amx() is expected


def test_gates_of_blocks_of_which_none_can_tell_whether_they_are_compiled(monkeypatch):
    drawn = []
    monkeypatch.setattr(gates, "draw_together", drawn.append)
    monkeypatch.delattr(nn.Module, "_compiled_call_impl", raising=False)
    gate = SimpleNamespace(log_alpha=SimpleNamespace(is_cuda=True))
    monkeypatch.setattr(gates, "gated_sites", lambda encoder: [SimpleNamespace(gate=gate, unit="conv")])
    encoder = encoder_of(BASE).train()
    for module in encoder.modules():
        vars(module).pop("_compiled_call_impl", None)
    gates._draw(encoder)
    assert drawn == [[gate]]
