"""LoRA of Hugging Face's peft over models of transformers, loaded into ours and back: the same layers come out."""

from dataclasses import replace

import pytest
import torch

from tests.corpus import make_list, write_config
from wedefense.bin.adapters import main
from wedefense.bin.average import main as average
from wedefense.config.adapters import AdapterOptions
from wedefense.config.frontend import SSLOptions, UpstreamOptions, WhisperOptions
from wedefense.config.loader import load_config, save_config
from wedefense.experiment.folder import ExperimentFolder
from wedefense.frontend.ssl.adapters import adapted_products
from wedefense.frontend.ssl.formats.peft import load_adapter, read_adapter, save_adapter
from wedefense.frontend.ssl.frontend import SSLFrontend
from wedefense.frontend.whisper import WhisperFrontend, log_mel
from wedefense.train.run import build_trainer
from wedefense.utils.distributed import World

peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")

SIZES = dict(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48, conv_dim=[16] * 7,
             num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, layerdrop=0.0)
LARGE = dict(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True)
FAMILIES = {"wav2vec2": ("Wav2Vec2", {}), "wav2vec2_large": ("Wav2Vec2", LARGE), "hubert": ("Hubert", {}),
            "wavlm": ("WavLM", {"num_buckets": 32}), "wavlm_large": ("WavLM", {"num_buckets": 32, **LARGE}),
            "unispeech_sat": ("UniSpeechSat", {}), "whisper": ("Whisper", {})}
LORAS = {"all": dict(r=4, lora_alpha=6.0, target_modules=r".*encoder\.layers\..*(_proj|_dense|fc\d)"),
         "rank-stabilised": dict(r=4, lora_alpha=6.0, use_rslora=True, target_modules=["k_proj", "out_proj"]),
         "dora": dict(r=3, use_dora=True, target_modules=["q_proj", "v_proj"]),
         "one layer": dict(r=2, target_modules=["v_proj"], layers_to_transform=[1], layers_pattern="layers")}
SAMPLES = 6000


def model_of(family: str):
    torch.manual_seed(0)
    name, changes = FAMILIES[family]
    if name == "Whisper":
        config = transformers.WhisperConfig(
            d_model=32, encoder_layers=3, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4,
            encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=20, num_mel_bins=80, pad_token_id=0, bos_token_id=1,
            eos_token_id=2, decoder_start_token_id=1)
    else:
        config = getattr(transformers, f"{name}Config")(**SIZES, **changes)
    return getattr(transformers, f"{name}Model")(config).eval()


def frontend_of(folder, adapters: AdapterOptions):
    chosen = {"upstream_args": UpstreamOptions(path_or_url=str(folder)), "adapters": adapters}
    if "Whisper" in (folder / "config.json").read_text():
        return WhisperFrontend(WhisperOptions(**chosen)).eval()
    return SSLFrontend(SSLOptions(**chosen, normalize_waveform=False)).eval()


def layers_of(model, wav) -> list[torch.Tensor]:
    """Of a model of theirs, with or without an adapter."""
    own = model.base_model.model if hasattr(model, "peft_config") else model
    if isinstance(own, transformers.WhisperModel):
        encoder, (mel, frames) = own.encoder, log_mel(wav, [wav.shape[1]], 80)
        count = (int(frames[0]) + 1) // 2
        encoder.config.max_source_positions = count
        encoder.embed_positions = torch.nn.Embedding.from_pretrained(encoder.embed_positions.weight.data[:count])
        outputs = encoder(mel, output_hidden_states=True)
    else:
        outputs = own(wav, output_hidden_states=True)
    return [*outputs.hidden_states[:-1], outputs.last_hidden_state]


def assert_equal(ours, theirs, wav) -> None:
    with torch.no_grad():
        for here, there in zip(ours(wav, [wav.shape[1]]).layers, layers_of(theirs, wav), strict=True):
            torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)


def train(theirs, wav, by_hand: bool) -> None:
    """A few steps towards anything, or steps drawn where no gradient comes through."""
    theirs.eval()
    trained = [parameter for parameter in theirs.parameters() if parameter.requires_grad]
    generator = torch.Generator().manual_seed(3)
    if by_hand:
        with torch.no_grad():
            for parameter in trained:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        return
    optimiser, wanted = torch.optim.AdamW(trained, lr=0.1), None
    for _ in range(4):
        last = layers_of(theirs, wav)[-1]
        wanted = torch.randn(last.shape, generator=generator) if wanted is None else wanted
        (last - wanted).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()


def effective(theirs, family: str):
    """What an adapter means: transformers' WavLM reads the weights of its attention past peft's, until they are merged.
    """
    return theirs.merge_and_unload() if "wavlm" in family else theirs


@pytest.mark.parametrize("lora", LORAS)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_of_peft_gives_the_layers_that_it_gives_there_and_goes_back(family, lora, tmp_path):
    model_of(family).save_pretrained(tmp_path / "model")
    theirs = peft.get_peft_model(model_of(family), peft.LoraConfig(**LORAS[lora]))
    wav = 0.1 * torch.randn(1, SAMPLES, generator=torch.Generator().manual_seed(1))
    before = layers_of(theirs, wav)[-1].detach()
    train(theirs, wav, by_hand="wavlm" in family)
    theirs.save_pretrained(tmp_path / "adapter")
    theirs = effective(theirs, family)
    assert not torch.allclose(layers_of(theirs, wav)[-1], before, atol=1e-2)

    options = read_adapter(tmp_path / "adapter").options
    ours = frontend_of(tmp_path / "model", replace(options, path=str(tmp_path / "adapter")))
    assert_equal(ours, theirs, wav)

    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for product in adapted_products(ours.upstream).values():
            for parameter in product.adapter.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    save_adapter(ours.upstream, options, tmp_path / "back", str(tmp_path / "model"))
    again = peft.PeftModel.from_pretrained(model_of(family), tmp_path / "back").eval()
    assert len([name for name, _ in again.named_parameters() if "lora_A" in name]) == len(
        adapted_products(ours.upstream))
    assert_equal(ours, effective(again, family), wav)
    assert_equal(ours, effective(peft.AutoPeftModel.from_pretrained(tmp_path / "back").eval(), family), wav)
    same = frontend_of(tmp_path / "model", options)
    load_adapter(same.upstream, options, read_adapter(tmp_path / "back"))
    with torch.no_grad():
        for here, there in zip(ours(wav, [SAMPLES]).layers, same(wav, [SAMPLES]).layers, strict=True):
            torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-5)


def test_heads_of_theirs_are_left_behind(tmp_path, caplog):
    config = transformers.WavLMConfig(**SIZES, num_buckets=32, num_labels=2)
    theirs = peft.get_peft_model(transformers.WavLMForSequenceClassification(config), peft.LoraConfig(
        r=2, target_modules=["q_proj"], modules_to_save=["classifier", "projector"]))
    theirs.save_pretrained(tmp_path / "adapter")
    assert set(read_adapter(tmp_path / "adapter").tensors) == {(block, "q_proj") for block in range(3)}
    assert "4 tensors are of no encoder and left behind" in caplog.text


@pytest.mark.parametrize("asked, told", [
    ({"bias": "lora_only"}, "bias 'lora_only': biases were trained"),
    ({"rank_pattern": {"layers.1.attention.q_proj": 3}}, "rank_pattern .* is not plain LoRA"),
    ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changed the weights below"),
    ({"target_modules": "all-linear"}, "'base_model.model.(encoder|feature).*' changes what has no adapters here"),
    ({"lora_bias": True}, "lora_bias 'True' is not plain LoRA")])
def test_what_of_theirs_is_more_than_lora_is_refused(asked, told, tmp_path):
    theirs = peft.get_peft_model(model_of("wavlm"), peft.LoraConfig(**{"r": 2, "target_modules": ["q_proj"], **asked}))
    theirs.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=told):
        read_adapter(tmp_path)


@pytest.mark.parametrize("family", ["wavlm_large", "wav2vec2", "whisper"])
def test_the_command_checks_what_it_writes_by_peft(family, tmp_path, capsys):
    model_of(family).save_pretrained(tmp_path / "model")
    kind = "whisper" if family == "whisper" else "ssl"
    config = load_config(write_config(
        tmp_path, train_data=str(make_list(tmp_path, utterances=8)), num_epochs=1, num_avg=1, model="SSL_BACKEND_MEAN",
        dataset_args__frontend=kind, dataloader_args__num_workers=0, **{f"dataset_args__{kind}_args": {
            "upstream_args": {"name": "whisper_base" if kind == "whisper" else "wavlm_base",
                              "path_or_url": str(tmp_path / "model")},
            "layerwise_feature": False, "adapters": {"type": "lora", "dora": family == "wav2vec2"}}}))
    into = ExperimentFolder(config.exp_dir)
    into.models.mkdir(parents=True)
    save_config(config, into.config)
    trainer = build_trainer(config, World(0, 1, 0, torch.device("cpu")))
    trainer.fit()
    average(["--config", str(into.config)])
    main([str(into), "--trust", "--peft", str(tmp_path / "adapter"), "--check", str(tmp_path / "model")])
    assert "all layers within" in capsys.readouterr().out.splitlines()[-1]
    torch.manual_seed(1)
    config = type(model_of(family)).config_class.from_pretrained(tmp_path / "model")
    type(model_of(family))(config).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="its layers differ from ours by .*; it is not the model that the adapters"):
        main([str(into), "--trust", "--peft", str(tmp_path / "adapter"), "--check", str(tmp_path / "other")])
    with pytest.raises(ValueError, match="nowhere: cannot be loaded by transformers"):
        main([str(into), "--trust", "--peft", str(tmp_path / "adapter"), "--check", str(tmp_path / "nowhere")])
