"""`frontend: s3prl` against s3prl: the native families and an upstream that only s3prl has."""

import importlib
import json
import math

import pytest
import torch

from tests.frontend.ssl import files
from wedefense.config.frontend import S3prlOptions, S3prlUpstreamOptions
from wedefense.frontend.names import upstream_names
from wedefense.frontend.s3prl import S3prlFrontend, Upstream, load_expert
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.utils.errors import InputError

pytest.importorskip("s3prl")
LENGTHS = torch.tensor([9600, 4801, 700, 9600])


def wavs() -> torch.Tensor:
    return 0.1 * torch.randn(4, 9600, generator=torch.Generator().manual_seed(3)) + 0.01


def frontend(name: str, path, **options) -> S3prlFrontend:
    upstream = S3prlUpstreamOptions(name=name, path_or_url=str(path), normalize=options.pop("normalize", False))
    return S3prlFrontend(S3prlOptions(upstream_args=upstream, layerwise_feature=True, **options))


def by_s3prl_s_rules(expert, wav: torch.Tensor) -> list[torch.Tensor]:
    """What s3prl's own wrapper makes of one utterance: at least 800 samples, ceil(samples / 320) frames."""
    frames = math.ceil(len(wav) / 320)
    heard = torch.nn.functional.pad(wav, (0, max(800 - len(wav), 0)))
    wanted = math.ceil(len(heard) / 320)
    layers = []
    with torch.no_grad():
        for hidden in expert([heard])["hidden_states"]:
            row = hidden[0][:wanted]
            row = torch.cat([row] + [row[-1:]] * (wanted - len(row)))
            layers.append(row[:frames])
    return layers


def assert_equals_s3prl(module: S3prlFrontend, expert):
    with torch.no_grad():
        features = module.eval()(wavs(), LENGTHS)
    assert features.lengths.tolist() == [30, 16, 3, 30]
    for i, length in enumerate(LENGTHS):
        expected = by_s3prl_s_rules(expert.eval(), wavs()[i, :length])
        assert len(expected) == len(features.layers) == module.num_layers
        for layer, row in zip(features.layers, expected, strict=True):
            assert torch.allclose(layer[i, :len(row)], row, atol=1e-4)
            assert not layer[i, len(row):].any()


@pytest.mark.parametrize("family, large", [("wavlm", False), ("wavlm", True), ("wav2vec2", False), ("wav2vec2", True),
                                           ("hubert", False), ("data2vec", True), ("unispeech_sat", False)])
def test_native_families_on_a_padded_batch(tmp_path, family, large):
    path = tmp_path / "model.pt"
    files.save_s3prl(path, family, large)
    module = frontend(f"{family}_local", path, frozen=True)
    assert isinstance(module.upstream, Encoder) and module.architecture.layer_drop == 0
    expert = importlib.import_module(f"s3prl.upstream.{family}.expert").UpstreamExpert(str(path))
    assert_equals_s3prl(module, expert)


@pytest.fixture
def distilled(tmp_path):
    """A tiny DistilHuBERT: an upstream that the native encoder lacks."""
    from s3prl.upstream.distiller.model import DistillerConfig, DistillerModel

    config = {"extractor_conv_feature_layers": files.CONV_TEXT, "conv_pos": 16, "conv_pos_groups": 4,
              "encoder_embed_dim": 48, "encoder_ffn_embed_dim": 64, "encoder_attention_heads": 4, "final_dim": 48,
              "n_tasks": 2, "pred_layer_id": [1, 2], "encoder_layers": 2, "out_layer_inter_dim": 16}
    torch.manual_seed(0)
    model = files.stirred(DistillerModel(DistillerConfig(config)))
    torch.save({"Config": {"distiller": config}, "Distiller": model.state_dict()}, tmp_path / "distilled.ckpt")
    return tmp_path / "distilled.ckpt"


def test_another_upstream_on_a_padded_batch(distilled):
    module = frontend("distiller_local", distilled, frozen=True)
    assert isinstance(module.upstream, Upstream) and module.upstream.together and module.architecture is None
    assert (module.feat_dim, module.frame_shift) == (48, 20.0)
    expert = module.upstream.upstream
    assert_equals_s3prl(module, expert)
    first, second = (module.train()(wavs(), LENGTHS).layers for _ in range(2))
    assert all(torch.equal(a, b) and not a.requires_grad for a, b in zip(first, second))


def test_another_upstream_is_trained(distilled):
    module = frontend("distiller_local", distilled, frozen=False).train()
    module(wavs(), LENGTHS).layers[-1].sum().backward()
    assert any(parameter.grad is not None for parameter in module.upstream.parameters())
    normed = frontend("distiller_local", distilled, frozen=True, normalize=True)
    layer = normed(wavs(), LENGTHS).layers[1]
    assert torch.allclose(layer[0].mean(-1), torch.zeros(30), atol=1e-5)
    assert torch.allclose(layer[0].var(-1, unbiased=False), torch.ones(30), atol=1e-2)


class Mixing(torch.nn.Module):
    """An upstream whose features depend on what shares the batch, as with its padding or statistics."""

    def get_downsample_rates(self, key):
        return 320

    def forward(self, batch):
        frames = torch.stack([wav[:len(wav) // 320 * 320].view(-1, 320) for wav in batch])
        return {"hidden_states": [frames, frames - frames.mean(0)]}


def test_an_upstream_that_mixes_utterances_runs_one_at_a_time():
    module = Upstream(Mixing())
    assert not module.together
    features = module(wavs(), torch.tensor([9600, 9600, 6400, 9600]))
    assert torch.equal(features.layers[0][3], wavs()[3].view(30, 320))
    assert not features.layers[1].any()  # each is its batch's mean


def test_hugging_face_models_through_s3prl(tmp_path):
    model = files.transformers_model("hubert", False)
    folder = files.save_hugging_face(model, tmp_path / "model", normalize=False)
    (folder / "preprocessor_config.json").write_text(json.dumps(
        {"do_normalize": False, "feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1,
         "return_attention_mask": True, "sampling_rate": 16000, "padding_value": 0.0}))
    module = frontend("hf_hubert_custom", folder, frozen=True)
    assert_equals_s3prl(module, module.upstream.upstream)


@pytest.mark.parametrize("family", ["hubert", "wav2vec2"])

def test_the_last_layer_of_a_large_model_is_normed_whatever_the_version_of_transformers(tmp_path, family):
    """transformers 4 had the normed one among the hidden states, 5 has not."""
    model = files.transformers_model(family, True)
    folder = files.save_hugging_face(model, tmp_path / "model", normalize=False)
    (folder / "preprocessor_config.json").write_text(json.dumps(
        {"do_normalize": False, "feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1,
         "return_attention_mask": True, "sampling_rate": 16000, "padding_value": 0.0}))
    module, wav = frontend(f"hf_{family}_custom", folder, frozen=True).eval(), wavs()[:1]
    with torch.no_grad():
        layers, whole = module(wav, torch.tensor([9600])).layers, model(wav, output_hidden_states=True)
        last = model.encoder.layer_norm(_blocks_output(model, wav))
    frames = last.shape[1]
    torch.testing.assert_close(layers[-1][:, :frames], last, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(layers[-2][:, :frames], whole.hidden_states[-2], atol=1e-5, rtol=1e-4)


def _blocks_output(model, wav):
    """What the last block hands to the final norm."""
    seen = []
    handle = model.encoder.layers[-1].register_forward_hook(
        lambda module, inputs, output: seen.append(output[0] if isinstance(output, tuple) else output))
    model(wav)
    handle.remove()
    return seen[0]


def test_names_families_and_what_is_missing(tmp_path, monkeypatch):
    names = upstream_names()
    assert names["wavlm_base_plus"] == "wavlm" and names["distilhubert"] == "distiller" and len(names) > 150
    with pytest.raises(InputError, match="unknown s3prl upstream 'distilhuber', did you mean 'distilhubert'"):
        load_expert("distilhuber", None, None)
    with pytest.raises(InputError, match="absent.pt: no such file"):
        load_expert("distiller_local", "absent.pt", None)
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    with pytest.raises(InputError, match="OFFLINE forbids .*distilhubert_ls960_4-8-12.ckpt"):
        load_expert("distilhubert", None, str(tmp_path))
    with pytest.raises(InputError, match="cannot be built from .*bad.ckpt"):
        (tmp_path / "bad.ckpt").write_bytes(b"PK\x03\x04nothing")
        load_expert("distiller_local", str(tmp_path / "bad.ckpt"), None)
