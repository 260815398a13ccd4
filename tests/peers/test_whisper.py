"""Whisper's encoder against transformers: the log-mel, every layer, and padded batches against utterances alone."""

from pathlib import Path

import pytest
import torch

from wedefense.config.frontend import UpstreamOptions, WhisperOptions
from wedefense.frontend.whisper import WhisperFrontend, log_mel, mel_filters, read_whisper
from wedefense.utils.errors import InputError

LENGTHS = torch.tensor([30000, 16159, 161, 400])


def speech_like(samples: int = 30000) -> torch.Tensor:
    """Loud and quiet stretches, so that the range limit matters."""
    noise = torch.randn(len(LENGTHS), samples, generator=torch.Generator().manual_seed(0))
    return noise * torch.logspace(-6, -1, samples).flip(0) + 0.3


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny Whisper of transformers' own, saved as float16."""
    import transformers

    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=20, num_mel_bins=80, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1)
    model = transformers.WhisperModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    path = tmp_path_factory.mktemp("whisper")
    model.half().save_pretrained(path)
    return path


def peer(folder: Path, frames: int):
    """transformers' encoder for exactly `frames` mel frames: it insists on as many as its positions."""
    import transformers

    encoder = transformers.WhisperModel.from_pretrained(folder, dtype=torch.float32).encoder.eval()
    encoder.config.max_source_positions = (frames + 1) // 2
    weight = encoder.embed_positions.weight.data[:(frames + 1) // 2]
    encoder.embed_positions = torch.nn.Embedding.from_pretrained(weight)
    return encoder


def frontend(folder: Path, **options) -> WhisperFrontend:
    return WhisperFrontend(WhisperOptions(upstream_args=UpstreamOptions(name=str(folder)), **options))


@pytest.mark.parametrize("bands", [80, 128])
def test_mel_filters(bands):
    from transformers import WhisperFeatureExtractor

    expected = torch.from_numpy(WhisperFeatureExtractor(feature_size=bands).mel_filters).float()
    assert torch.allclose(mel_filters(bands), expected, atol=1e-7)


def test_the_log_mel_is_that_of_transformers_on_the_utterance():
    from transformers import WhisperFeatureExtractor

    extractor, wav = WhisperFeatureExtractor(), speech_like()
    ours, frames = log_mel(wav, LENGTHS, 80)
    assert frames.tolist() == [188, 101, 2, 3]
    for i, length in enumerate(LENGTHS):
        theirs = extractor(wav[i, :length].numpy(), sampling_rate=16000, return_tensors="pt",
                           return_attention_mask=True)
        assert theirs.attention_mask.sum() == frames[i]
        expected = theirs.input_features[0][:, :frames[i]]
        assert torch.allclose(ours[i, :, :frames[i]], expected, atol=2e-4)
        assert not ours[i, :, frames[i]:].any()


@pytest.mark.parametrize("frames", [3000, 188])
def test_every_layer_equals_transformers(folder, frames):
    mel = torch.randn(1, 80, frames, generator=torch.Generator().manual_seed(1))
    encoder = read_whisper(folder).eval()
    theirs = peer(folder, frames)
    with torch.no_grad():
        ours = encoder.encode(mel, torch.tensor([frames])).layers
        output = theirs(mel, output_hidden_states=True)
    expected = [*output.hidden_states[:-1], output.last_hidden_state]
    assert len(ours) == len(expected) == 3
    assert max((a - b).abs().max() for a, b in zip(ours, expected)) < 1e-4


def test_alone_equals_in_a_padded_batch(folder):
    module, wav = frontend(folder, frozen=True), speech_like()
    together = module(wav, LENGTHS)
    assert (module.num_layers, module.feat_dim, module.frame_shift) == (3, 32, 20.0)
    assert together.lengths.tolist() == [94, 51, 1, 2]
    for i, length in enumerate(LENGTHS):
        alone = module(wav[i:i + 1, :length], LENGTHS[i:i + 1])
        for a, b in zip(alone.layers, together.layers, strict=True):
            assert torch.allclose(a[0], b[i, :alone.lengths[0]], atol=1e-4)


def test_longer_than_thirty_seconds_runs_window_by_window(folder):
    encoder = read_whisper(folder).eval()
    wav = torch.randn(2, 500_000, generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([500_000, 40_000])
    with torch.no_grad():
        features = encoder(wav, lengths)
        mel, _ = log_mel(wav[:1], lengths[:1], 80)
        parts = [encoder.encode(part, torch.tensor([part.shape[2]])).layers[-1] for part in mel.split(3000, 2)]
        short = encoder(wav[1:, :40_000], lengths[1:])
    assert features.lengths.tolist() == [1563, 125]
    assert torch.allclose(features.layers[-1][:1], torch.cat(parts, 1), atol=1e-4)
    assert torch.allclose(features.layers[-1][1, :125], short.layers[-1][0], atol=1e-4)


def test_frozen_trained_and_rebuilt(folder):
    wav = speech_like()
    frozen = frontend(folder, frozen=True).train()
    features = frozen(wav, LENGTHS)
    assert not features.layers[-1].requires_grad and not frozen.upstream.training
    trained = frontend(folder, freeze_extractor=True, gradient_checkpointing=True).train()
    trained(wav, LENGTHS).layers[-1].square().sum().backward()
    without = {name for name, parameter in trained.named_parameters() if parameter.grad is None}
    assert without == {f"upstream.conv{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")}
    rebuilt = WhisperFrontend(WhisperOptions(frozen=True), architecture=frozen.architecture)
    rebuilt.load_state_dict(frozen.state_dict())
    assert torch.equal(rebuilt(wav, LENGTHS).layers[-1], features.layers[-1])


def test_bfloat16_stays_near_float32(folder):
    module, wav = frontend(folder, frozen=True), speech_like()
    exact = module(wav, LENGTHS).layers
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = module(wav, LENGTHS).layers
    module.to(torch.bfloat16)
    for layers in (mixed, module(wav, LENGTHS).layers):
        for a, b in zip(exact, layers, strict=True):
            assert (a - b.float()).norm() < 0.03 * a.norm()


def test_gates_close_heads_and_hidden_units(folder):
    encoder, mel = read_whisper(folder).eval(), torch.randn(1, 80, 40)
    block = encoder.layers[0]
    before = encoder.encode(mel, torch.tensor([40])).layers[1]
    block.attention.gate = lambda: torch.zeros(4)
    block.feed_forward.gate = lambda: torch.zeros(48)
    features = encoder.encode(mel, torch.tensor([40])).layers
    closed = features[0]  # a sublayer without units is gone, its bias too
    assert torch.allclose(features[1], closed, atol=1e-5) and not torch.allclose(features[1], before, atol=1e-3)


def test_wrong_folders(folder, tmp_path):
    import json
    import shutil

    with pytest.raises(InputError, match="unknown Whisper model 'whisper_bas', did you mean 'whisper_base'"):
        WhisperFrontend(WhisperOptions(upstream_args=UpstreamOptions(name="whisper_bas")))
    shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    for change, message in (({"encoder_layers": 3}, "'model.encoder.layers.2.self_attn.q_proj.weight' is missing"),
                            ({"encoder_ffn_dim": 49}, r"fc1.weight' has shape \(48, 32\), expected \(49, 32\)"),
                            ({"model_type": "bert"}, "model_type 'bert' is not 'whisper'")):
        (tmp_path / "copy" / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(InputError, match=message):
            read_whisper(tmp_path / "copy")
