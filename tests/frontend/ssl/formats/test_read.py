"""Every checkpoint format of the field, told apart by content, gives the same encoder."""

import dataclasses
import json

import pytest
import torch

from tests.frontend.ssl import files
from wedefense.frontend.ssl.architecture import Architecture, BlockShape
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.frontend.ssl.formats.read import Checkpoint, load_encoder, read_checkpoint
from wedefense.frontend.ssl.formats.tensor_names import infer_architecture
from wedefense.frontend.ssl.formats.wedefense import pruned_checkpoint, wedefense_config
from wedefense.utils.errors import InputError

BOTH = pytest.mark.parametrize("large", [False, True], ids=["base", "large"])


def layers_of(checkpoint: Checkpoint, wav):
    with torch.no_grad():
        return load_encoder(checkpoint).eval()(wav).layers


def furthest(ours, theirs) -> float:
    assert len(ours) == len(theirs) and all(a.shape == b.shape for a, b in zip(ours, theirs))
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs))


def assert_same_weights(one: Checkpoint, other: Checkpoint):
    assert one.state_dict.keys() == other.state_dict.keys()
    assert all(torch.equal(one.state_dict[key], other.state_dict[key]) for key in one.state_dict)


@pytest.mark.parametrize("family, large", [
    ("wav2vec2", False), ("wav2vec2", True), ("hubert", False), ("wavlm", False), ("wavlm", True), ("data2vec", True),
    ("unispeech_sat", True)])
def test_hugging_face_folder(tmp_path, family, large):
    model = files.transformers_model(family, large)
    folder = files.save_hugging_face(model, tmp_path / "model", normalize=large, safe=large)
    checkpoint = read_checkpoint(folder)
    assert (checkpoint.format, checkpoint.family) == ("Hugging Face", family)
    assert checkpoint.architecture.normalize_waveform is large and checkpoint.architecture.normalize_eps == 1e-7
    wav = files.wave()
    heard = (wav - wav.mean()) / (wav.var(unbiased=False) + 1e-7).sqrt() if large else wav
    with torch.no_grad():
        output = model(heard, output_hidden_states=True)
    expected = [*output.hidden_states[:-1], output.last_hidden_state]
    assert furthest(layers_of(checkpoint, wav), expected) < 1e-4
    file = folder / ("model.safetensors" if large else "pytorch_model.bin")
    assert_same_weights(read_checkpoint(file), checkpoint)


S3PRL = [("wav2vec2", False), ("wav2vec2", True), ("hubert", False), ("hubert", True), ("data2vec", True),
         ("wavlm", False), ("wavlm", True), ("unispeech_sat", False)]


@pytest.mark.parametrize("family, large", S3PRL)
def test_what_s3prl_itself_reads(tmp_path, family, large):
    """The same file through s3prl's expert and through ours."""
    import importlib

    path = tmp_path / "converted.pt"
    files.save_s3prl(path, family, large)
    checkpoint = read_checkpoint(path)
    assert checkpoint.family == family and not checkpoint.remark
    assert checkpoint.format == ("WavLM release" if family in ("wavlm", "unispeech_sat") else "s3prl")
    assert checkpoint.architecture.projection_dropout == 0.2 and checkpoint.architecture.layer_drop == 0.05
    expert = importlib.import_module(f"s3prl.upstream.{family}.expert").UpstreamExpert(str(path)).eval()
    wav = files.wave()
    with torch.no_grad():
        expected = expert([wav[0]])["hidden_states"]
    assert furthest(layers_of(checkpoint, wav), expected) < 1e-4


@pytest.mark.parametrize("kind, family, large, how", [
    ("args", "wav2vec2", False, {}), ("cfg", "wav2vec2", True, {}), ("cfg", "hubert", False, {}),
    ("args", "hubert", True, {"_use_new_zipfile_serialization": False}), ("cfg", "data2vec", True, {}),
])
def test_a_raw_fairseq_release_without_fairseq(tmp_path, monkeypatch, kind, family, large, how):
    converted, raw = tmp_path / "converted.pt", tmp_path / "raw.pt"
    files.save_s3prl(converted, family, large)
    files.save_fairseq(raw, monkeypatch, kind, family, large, **how)
    with pytest.raises(ImportError):
        import fairseq  # noqa: F401
    with pytest.raises(ImportError):
        import omegaconf  # noqa: F401
    checkpoint, expected = read_checkpoint(raw), read_checkpoint(converted)
    assert checkpoint.format == f"fairseq ({kind})"
    assert checkpoint.architecture == expected.architecture
    assert_same_weights(checkpoint, expected)


def test_a_fine_tuned_fairseq_model(tmp_path):
    from argparse import Namespace

    model, task, settings = files.s3prl_model("wav2vec2", True)
    weights = {f"w2v_encoder.w2v_model.{key}": value for key, value in model.state_dict().items()}
    weights["w2v_encoder.proj.weight"] = torch.zeros(3, 48)
    tuned, pretrained = tmp_path / "tuned.pt", tmp_path / "pretrained.pt"
    torch.save({"args": Namespace(normalize=True, dropout=0.0, w2v_args=Namespace(**settings, **task)),
                "model": weights}, tuned)
    files.save_s3prl(pretrained, "wav2vec2", True)
    checkpoint, expected = read_checkpoint(tuned), read_checkpoint(pretrained)
    assert_same_weights(checkpoint, expected)
    assert checkpoint.architecture == dataclasses.replace(expected.architecture, hidden_dropout=0.0)


@BOTH
@pytest.mark.parametrize("family", ["wav2vec2", "wavlm"])
def test_torchaudio_state_dict(tmp_path, family, large):
    model, _ = files.torchaudio_model(family, large)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    checkpoint = read_checkpoint(tmp_path / "model.pth")
    assert (checkpoint.format, checkpoint.family) == ("torchaudio", family)
    assert "inferred" in checkpoint.remark and checkpoint.architecture.normalize_waveform is large
    if family == "wav2vec2":  # 48 / 64 heads round to one; only WavLM's constants tell the number
        blocks = tuple(BlockShape((0, 1, 2, 3), 64) for _ in range(2))
        architecture = dataclasses.replace(checkpoint.architecture, blocks=blocks, total_heads=4)
        checkpoint = dataclasses.replace(checkpoint, architecture=architecture)
    wav = files.wave()
    with torch.no_grad():
        heard = torch.nn.functional.layer_norm(wav, wav.shape[-1:]) if large else wav
        theirs, _ = model.extract_features(heard)
    ours = layers_of(checkpoint, wav)[1:]
    if large:  # torchaudio leaves the last layer as it comes out of the last block
        theirs[-1] = model.encoder.transformer.layer_norm(theirs[-1])
    assert furthest(ours, theirs) < 1e-4


def wedefense_file(path, large: bool, settings: dict, **changes):
    """`{state_dict, config}` as WeDefense's converter writes it, from torchaudio's settings."""
    count, heads = settings["encoder_num_layers"], settings["encoder_num_heads"]
    config = {key: value for key, value in settings.items() if key != "encoder_num_heads"}
    config |= {"encoder_use_attention": [True] * count, "encoder_use_feed_forward": [True] * count,
               "encoder_total_num_heads": [heads] * count, "encoder_remaining_heads": [list(range(heads))] * count,
               "encoder_num_buckets": 32, "encoder_max_distance": 80, "normalize_waveform": large,
               "encoder_ff_interm_features": [settings["encoder_ff_interm_features"]] * count,
               "extractor_prune_conv_channels": False, **changes}
    return config


@BOTH
def test_wedefense_whole_file_and_experiment(tmp_path, large):
    model, settings = files.torchaudio_model("wavlm", large)
    torch.save(model.state_dict(), tmp_path / "torchaudio.pth")
    bare = read_checkpoint(tmp_path / "torchaudio.pth")
    state = {**bare.state_dict, "feature_extractor.dummy_weight": torch.linspace(0.5, 1.5, 16)}
    torch.save({"state_dict": state, "config": wedefense_file(tmp_path, large, settings)}, tmp_path / "wavlm.hf.pth")
    checkpoint = read_checkpoint(tmp_path / "wavlm.hf.pth")
    assert (checkpoint.format, checkpoint.family) == ("WeDefense", "wavlm")
    assert checkpoint.architecture == dataclasses.replace(
        bare.architecture, conv_output_scale=True, final_norm=False, rel_max_distance=80, hidden_dropout=0.1,
        layer_drop=0.05)
    whole = {f"frontend.upstream.{key}": value for key, value in state.items()} | {"pooling_fc.weight": torch.ones(2)}
    torch.save(whole, tmp_path / "model_3.pt")
    experiment = read_checkpoint(tmp_path / "model_3.pt")
    assert experiment.format == "WeDefense experiment" and not experiment.architecture.final_norm
    assert_same_weights(experiment, checkpoint)


def test_an_experiment_of_ours_notes_its_architecture(tmp_path):
    architecture = dataclasses.replace(pruned_architecture("wavlm"), final_norm=True, normalize_eps=1e-7)
    state = {f"frontend.upstream.{key}": value for key, value in Encoder(architecture).state_dict().items()}
    (tmp_path / "models").mkdir()
    torch.save({**state, "pooling_fc.weight": torch.ones(2)}, tmp_path / "models" / "avg_model.pt")
    with pytest.raises(InputError, match="block 0 was pruned to 2 of 4 heads, and only its config says which"):
        read_checkpoint(tmp_path / "models" / "avg_model.pt")
    (tmp_path / "frontend.json").write_text(json.dumps(dataclasses.asdict(architecture)))
    checkpoint = read_checkpoint(tmp_path / "models" / "avg_model.pt")
    assert (checkpoint.format, checkpoint.architecture) == ("experiment", architecture)


def pruned_architecture(family: str) -> Architecture:
    conv = ((9, 10, 5), (16, 3, 2), (5, 3, 2), (16, 3, 2), (11, 3, 2), (16, 2, 2), (7, 2, 2))
    blocks = (BlockShape((3, 1), 13), BlockShape((), 40), BlockShape((0, 2, 3), 0))
    if family != "wavlm":  # other families only count their heads
        blocks = tuple(BlockShape(tuple(range(len(block.heads))), block.ff_dim) for block in blocks)
    return Architecture(family, blocks, dim=24, total_heads=4, conv_layers=conv, pos_conv_kernel=8, pos_conv_groups=4,
                        conv_output_scale=True, rel_buckets=32 if family == "wavlm" else 0,
                        rel_max_distance=80 if family == "wavlm" else 800, final_norm=False)


@pytest.mark.parametrize("family", ["wavlm", "wav2vec2"])
def test_wedefense_pruned_file(tmp_path, family):
    architecture = pruned_architecture(family)
    encoder = files.stirred(Encoder(architecture))
    content = pruned_checkpoint(architecture, encoder.state_dict())
    del content["architecture"]  # WeDefense's own files have none
    torch.save(content, tmp_path / "pytorch_model.bin")
    checkpoint = read_checkpoint(tmp_path)  # the folder
    assert (checkpoint.format, checkpoint.architecture) == ("WeDefense (pruned)", architecture)
    wav = files.wave()
    with torch.no_grad():
        assert furthest(layers_of(checkpoint, wav), encoder(wav).layers) == 0


def test_our_own_pruned_file_keeps_the_whole_architecture(tmp_path):
    architecture = dataclasses.replace(pruned_architecture("wav2vec2"), family="hubert", normalize_eps=1e-7)
    torch.save(pruned_checkpoint(architecture, Encoder(architecture).state_dict()), tmp_path / "pytorch_model.bin")
    assert read_checkpoint(tmp_path / "pytorch_model.bin").architecture == architecture
    assert wedefense_config(architecture)["encoder_num_heads"] == [2, 0, 3]


def test_pruning_block_0_s_attention_takes_the_bias_of_all_along(tmp_path):
    architecture = dataclasses.replace(
        pruned_architecture("wavlm"), blocks=(BlockShape((), 13), BlockShape((0, 2, 3), 5)))
    content = pruned_checkpoint(architecture, Encoder(architecture).state_dict())
    del content["architecture"]
    assert content["state_dict"].pop("encoder.transformer.layers.0.attention.rel_attn_embed.weight").shape == (32, 4)
    torch.save(content, tmp_path / "pytorch_model.bin")
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.architecture.rel_buckets == 0
    assert not any("gru_rel_pos" in key for key in checkpoint.state_dict)


def test_sls_detectors_hear_raw_samples(tmp_path):
    model, _, _ = files.s3prl_model("wav2vec2", True)
    weights = {f"module.ssl_model.model.{key}": value for key, value in model.state_dict().items()}
    torch.save({**weights, "module.fc0.weight": torch.ones(1, 48)}, tmp_path / "sls.pth")
    checkpoint = read_checkpoint(tmp_path / "sls.pth")
    assert checkpoint.architecture.norm_first and not checkpoint.architecture.normalize_waveform


def test_inferred_heads_of_the_released_sizes():
    from wedefense.frontend.ssl.formats.read import expected_shapes
    from wedefense.frontend.ssl.zoo import MODELS

    for name in ("wav2vec2_base_960", "xlsr_53", "xls_r_1b", "xls_r_2b", "wavlm_large", "data2vec_base_960"):
        architecture = MODELS[name].architecture
        state = {key: torch.empty(shape, device="meta") for key, shape in expected_shapes(architecture).items()}
        inferred = infer_architecture(state, name)
        same = dataclasses.replace(architecture, projection_dropout=0.1, hidden_dropout=0.1, attention_dropout=0.1,
                                   layer_drop=0.0)
        assert inferred == same


# wrong files

def broken(tmp_path, change):
    path = tmp_path / "broken.pt"
    files.save_s3prl(path, "wav2vec2", False)
    content = torch.load(path)
    change(content)
    torch.save(content, path)
    return path


@pytest.mark.parametrize("change, message", [
    (lambda c: c["model_weight"].pop("encoder.layers.1.fc1.weight"),
     r"1 of \d+ tensors of a wav2vec2 encoder of 2 blocks are missing: .*layers.1.feed_forward.intermediate_dense"),
    (lambda c: c["model_cfg"].update(encoder_layers=3), "layers.2.*missing|missing.*layers.2"),
    (lambda c: c["model_cfg"].update(encoder_layers=1), "1 blocks as its config describes has no .*layers.1"),
    (lambda c: c["model_cfg"].update(encoder_ffn_embed_dim=65), r"has shape \(64, 48\), expected \(65, 48\)"),
    (lambda c: c["model_cfg"].update(layer_type="conformer"), "layer_type 'conformer' is not supported"),
    (lambda c: c["model_cfg"].update(conv_feature_layers="__import__('os')"), "cannot read conv_feature_layers"),
    (lambda c: c["model_weight"].update({"encoder.layers.0.adapter.weight": torch.ones(1)}),
     "no encoder of the wav2vec 2.0 family has: encoder.layers.0.adapter.weight"),
    (lambda c: c["model_weight"].update({"encoder.hard_concrete.log_alpha": torch.ones(1)}), "pruning is under way"),
], ids=["missing", "too few blocks", "too many", "shape", "conformer", "code", "unknown", "gates"])
def test_a_wrong_file_says_what_was_expected(tmp_path, change, message):
    with pytest.raises(InputError, match=message) as error:
        read_checkpoint(broken(tmp_path, change))
    assert "broken.pt" in str(error.value)


def test_files_that_are_no_encoder(tmp_path):
    torch.save({"fc.weight": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="no encoder of the .* family among its tensors .fc.weight.*torchaudio"):
        read_checkpoint(tmp_path / "other.pt")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    with pytest.raises(InputError, match="a dict of epoch holds no tensors of an encoder"):
        read_checkpoint(tmp_path / "empty.pt")
    with pytest.raises(InputError, match="no model in this folder"):
        read_checkpoint(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_checkpoint(tmp_path / "absent.pt")


def test_wrong_hugging_face_folders(tmp_path):
    folder = files.save_hugging_face(files.transformers_model("wav2vec2", False), tmp_path / "model", False)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:500])
    with pytest.raises(InputError, match="model.safetensors: truncated or damaged"):
        read_checkpoint(folder)
    (folder / "model.safetensors").write_bytes(weights)
    config = (folder / "config.json").read_text()
    (folder / "config.json").write_text(config.replace('"wav2vec2"', '"wav2vec3"'))
    with pytest.raises(InputError, match="model_type 'wav2vec3' is not .*did you mean 'wav2vec2'"):
        read_checkpoint(folder)
    (folder / "config.json").write_text(config.replace('"wav2vec2"', '"whisper"'))
    with pytest.raises(InputError, match="frontend: whisper"):
        read_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="config.json: not valid JSON"):
        read_checkpoint(folder)
