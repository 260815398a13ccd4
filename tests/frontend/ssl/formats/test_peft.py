"""Folders of PEFT that somebody else made: what is written loads again, and everything else is refused by name."""

import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from tests.frontend.ssl.test_adapters import KINDS, adapted
from tests.pruning.helpers import LENGTHS, batch, encoder_of
from wedefense.config.adapters import AdapterOptions
from wedefense.config.frontend import SSLOptions, UpstreamOptions
from wedefense.frontend.ssl.adapters import adapt
from wedefense.frontend.ssl.formats.peft import CONFIG, WEIGHTS, load_adapter, read_adapter, save_adapter
from wedefense.frontend.ssl.frontend import SSLFrontend
from wedefense.utils.errors import InputError

LAYER = "base_model.model.encoder.layers.{}.attention.q_proj."


def folder_of(path, config=None, changes=None, drop=(), blocks=(0, 1, 2)):
    """An adapter of rank 2 on the queries of an encoder of 24 dimensions."""
    path.mkdir(exist_ok=True)
    tensors = {}
    for block in blocks:
        tensors[LAYER.format(block) + "lora_A.weight"] = torch.randn(2, 24)
        tensors[LAYER.format(block) + "lora_B.weight"] = torch.randn(24, 2)
    tensors = {name: tensor for name, tensor in (tensors | (changes or {})).items() if name not in drop}
    save_file(tensors, path / WEIGHTS)
    written = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "bias": "none", "target_modules": ["q_proj"]}
    (path / CONFIG).write_text(json.dumps(written | (config or {})))
    return path


@pytest.mark.parametrize("kind", ["lora", "rank-stabilised", "dora"])
@pytest.mark.parametrize("family", ["wavlm", "whisper", "pruned before"])
def test_what_is_written_is_read_and_computes_the_same(tmp_path, family, kind):
    options = KINDS[kind] if family != "pruned before" else AdapterOptions("lora", targets=("v_proj",), r=3)
    encoder, other = adapted(family, options), encoder_of(family)
    files = save_adapter(encoder, options, tmp_path, "some/model")
    assert sorted(path.name for path in files) == [CONFIG, WEIGHTS]
    found = read_adapter(tmp_path)
    assert found.base == "some/model" and found.options.computes_as(
        AdapterOptions(**vars(options) | {"layers": found.options.layers, "targets": found.options.targets}))
    assert set(found.options.targets) == set(options.targets)
    adapt(other, options)
    load_adapter(other, options, found)
    with torch.no_grad():
        for here, there in zip(encoder(batch(), LENGTHS).layers, other(batch(), LENGTHS).layers, strict=True):
            torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-5)


def test_a_training_begins_as_the_adapter_of_its_config_and_a_shape_alone_reads_nothing(tmp_path):
    path = folder_of(tmp_path / "adapter", changes={
        LAYER.format(block) + f"lora_{letter}.weight": torch.randn(shape) for block in range(3)
        for letter, shape in (("A", (2, 64)), ("B", (64, 2)))})
    adapters = AdapterOptions("lora", r=2, alpha=4.0, targets=("q_proj",), path=str(path))
    options = SSLOptions(upstream_args=UpstreamOptions(name="wavlm_tiny"), adapters=adapters)
    frontend = SSLFrontend(options)
    own = frontend.upstream.encoder.transformer.layers[1].attention.q_proj.adapter
    assert torch.equal(own.up, read_adapter(path).tensors[1, "q_proj"]["up"])
    (path / CONFIG).unlink()
    assert SSLFrontend(options, architecture=frontend.architecture).upstream.encoder.transformer.layers[
        1].attention.q_proj.adapter.up.abs().max() == 0


HOSTILE = {
    "no adapter_config": (dict(), lambda path: (path / CONFIG).unlink(), "adapter_config.json"),
    "not JSON": ({}, lambda path: (path / CONFIG).write_text("{"), "adapter_config.json: not valid JSON"),
    "a list": ({}, lambda path: (path / CONFIG).write_text("[]"), "expected a JSON object"),
    "nested": ({}, lambda path: (path / CONFIG).write_text("[" * 100_000), "nested too deeply"),
    "another kind": ({"config": {"peft_type": "LOHA"}}, None, "peft_type 'LOHA' is not 'LORA'"),
    "no rank": ({"config": {"r": None}}, None, "r must be a whole number between 1 and 4096, got 'None'"),
    "huge rank": ({"config": {"r": 10**18}}, None, "r must be a whole number between 1 and 4096"),
    "true as rank": ({"config": {"r": True}}, None, "r must be a whole number"),
    "another rank": ({"config": {"r": 3}}, None, r"lora_A.weight' has shape \(2, 24\), which is not of rank 3"),
    "alpha of text": ({"config": {"lora_alpha": "much"}}, None, "adapter: is no PEFT adapter that can be used"),
    "alpha NaN": ({"config": {"lora_alpha": float("nan")}}, None, "alpha: must lie between"),
    "alpha huge": ({"config": {"lora_alpha": 1e300}}, None, "alpha: must lie between"),
    "unknown key": ({"config": {"run_this": "os.system"}}, None, "run_this 'os.system' is not plain LoRA"),
    "biases": ({"config": {"bias": "all"}}, None, "bias 'all': biases were trained"),
    "changed base": ({"config": {"init_lora_weights": "pissa_niter_4"}}, None, "changed the weights below the adapter"),
    "ranks differ": ({"config": {"rank_pattern": {"q": 3}}}, None, "rank_pattern .* is not plain LoRA"),
    "missing half": ({"drop": [LAYER.format(1) + "lora_B.weight"]}, None, "q_proj of block 1 lacks lora_B.weight"),
    "flat": ({"changes": {LAYER.format(0) + "lora_A.weight": torch.zeros(48)}}, None, r"has shape \(48,\)"),
    "NaN": ({"changes": {LAYER.format(0) + "lora_B.weight": torch.full((24, 2), float("nan"))}}, None,
            "tensor 'layers.0.q_proj.up' holds NaN"),
    "infinite half": ({"changes": {LAYER.format(0) + "lora_B.weight": torch.full((24, 2), 7e4).half()}}, None,
                      "tensor 'layers.0.q_proj.up' holds NaN or infinite"),
    "whole numbers": ({"changes": {LAYER.format(0) + "lora_B.weight": torch.ones(24, 2, dtype=torch.int8)}}, None,
                      "is of type I8, not one of"),
    "outside": ({"changes": {"base_model.model.feature_projection.projection.lora_A.weight": torch.zeros(2, 24)}},
                None, "feature_projection.projection.lora_A.weight' changes what has no adapters here"),
    "a norm": ({"changes": {"base_model.model.encoder.layers.0.layer_norm.weight": torch.ones(24)}}, None,
               "layer_norm.weight' changes what has no adapters"),
    "control letters": ({"changes": {"encoder.\x1b[2J\n": torch.ones(1)}}, None, "tensor 'encoder..*' changes what"),
    "twice": ({"changes": {LAYER.format(0).replace("encoder", "x.encoder") + "lora_A.weight": torch.ones(2, 24)}},
              None, "q_proj of block 0 is there twice"),
    "no magnitude": ({"config": {"use_dora": True}}, None, "use_dora is True, and adapter_model.safetensors does not"),
    "uneven": ({"changes": {LAYER.format(0).replace("q_proj", "v_proj") + f"lora_{letter}.weight": torch.ones(shape)
                            for letter, shape in (("A", (2, 24)), ("B", (24, 2)))}}, None,
               "block 1 has no adapter of v_proj, and others have"),
    "nothing": ({"blocks": ()}, None, "holds no LoRA of blocks of an encoder"),
    "a pickle": ({}, lambda path: (path / WEIGHTS).write_bytes(pickle.dumps({"a": 1})), "no safetensors file"),
    "cut short": ({}, lambda path: (path / WEIGHTS).write_bytes((path / WEIGHTS).read_bytes()[:-9]),
                  "no safetensors file, or a damaged one"),
    "a header of 2**60": ({}, lambda path: (path / WEIGHTS).write_bytes(b"\0" * 7 + b"\x10{"), "damaged"),
    "no weights": ({}, lambda path: (path / WEIGHTS).rename(path / "adapter_model.bin"), "save the adapter with saf"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_folder_that_cannot_be_used_is_refused_by_file_and_key(tmp_path, name):
    made, spoil, told = HOSTILE[name]
    path = folder_of(tmp_path / "adapter", **made)
    if spoil is not None:
        spoil(path)
    with pytest.raises(InputError, match=told) as caught:
        read_adapter(path)
    assert str(path) in str(caught.value) and "\x1b" not in str(caught.value)


def test_what_a_config_names_is_never_opened(tmp_path, caplog):
    """A path as the base model, heads of a file, a decoder's tensors: nothing of it is looked for."""
    names = ("model.decoder.layers.0.self_attn.q_proj.lora_A.weight", "classifier.bias")
    path = folder_of(tmp_path / "adapter", {
        "base_model_name_or_path": "/etc/passwd\x1b[2J", "revision": "../..", "auto_mapping": {"parent_library": "os"},
        "modules_to_save": ["classifier"]}, {f"base_model.model.{name}": torch.ones(3) for name in names})
    found = read_adapter(path)
    assert len(found.tensors) == 3 and "\x1b" not in found.base
    assert "2 tensors are of no encoder and left behind" in caplog.text


@pytest.mark.parametrize("changes, told", [
    ({"r": 3}, "adapters.r: is 3, and the adapter in .* has 2; set r: 2"),
    ({"alpha": 8.0}, "adapters.alpha: is 8.0, .* set alpha: 4.0"),
    ({"dora": True}, "adapters.dora: .* set dora: False"),
    ({"targets": ("q_proj", "v_proj")}, r"adapters.targets: .* set targets: \['q_proj'\]"),
    ({"layers": (0, 2)}, r"adapters.layers: is \[0, 2\], .* set layers: \[0, 1, 2\]"),
    ({"rank_stabilised": True}, "set rank_stabilised: False")])
def test_a_config_that_says_otherwise_is_told_which_key(tmp_path, changes, told):
    adapter = read_adapter(folder_of(tmp_path / "adapter"))
    options = AdapterOptions(**{"type": "lora", "r": 2, "alpha": 4.0, "targets": ("q_proj",)} | changes)
    encoder = encoder_of("wavlm")
    adapt(encoder, options)
    with pytest.raises(InputError, match=told):
        load_adapter(encoder, options, adapter)


def test_an_adapter_of_another_model_and_what_peft_has_no_form_for(tmp_path):
    adapter = read_adapter(folder_of(tmp_path / "adapter", changes={
        LAYER.format(1) + "lora_B.weight": torch.ones(32, 2)}, config={"base_model_name_or_path": "a/b"}))
    options = AdapterOptions("lora", r=2, alpha=4.0, targets=("q_proj",))
    encoder = encoder_of("wavlm")
    adapt(encoder, options)
    with pytest.raises(InputError, match=r"up of q_proj of block 1 has shape \(32, 2\), and this encoder wants "
                                         r"\(24, 2\); it was trained over another model \(a/b\)"):
        load_adapter(encoder, options, adapter)
    with pytest.raises(InputError, match="adapters.type: PEFT has no form for bottlenecks of 5 units"):
        save_adapter(adapted("wavlm", KINDS["bottleneck"]), KINDS["bottleneck"], tmp_path / "b", None)
    with pytest.raises(InputError, match="adapters.norms: layer norms were trained too"):
        save_adapter(adapted("wavlm", KINDS["some layers"]), KINDS["some layers"], tmp_path / "b", None)
    with pytest.raises(InputError, match="no such folder; give one with adapter_config.json"):
        read_adapter(tmp_path / "nowhere")
