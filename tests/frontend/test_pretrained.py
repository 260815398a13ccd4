"""The pretrained front-ends: frozen means frozen, the chosen layers come out, WeDefense's state dicts load."""

import dataclasses

import pytest
import torch

from tests.frontend.ssl import files
from wedefense.config.frontend import FRONTENDS, S3prlOptions, S3prlUpstreamOptions, SSLOptions, UpstreamOptions
from wedefense.frontend.s3prl import S3prlFrontend
from wedefense.frontend.ssl.formats.read import read_checkpoint
from wedefense.frontend.ssl.frontend import SSLFrontend
from wedefense.utils.errors import InputError

LENGTHS = torch.tensor([8000, 4801, 6000])


def ssl(name: str = "wavlm_tiny", architecture=None, **options) -> SSLFrontend:
    torch.manual_seed(0)
    return SSLFrontend(SSLOptions(upstream_args=UpstreamOptions(name=name), **options), 16000, architecture)


def wavs() -> torch.Tensor:
    return 0.1 * torch.randn(3, 8000, generator=torch.Generator().manual_seed(3))


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.layers, other.layers, strict=True))


def test_a_frozen_frontend_is_deterministic_in_training_and_has_no_graph():
    frontend = ssl(frozen=True).train()
    assert frontend.training and not frontend.upstream.training
    first, second = (frontend(wavs(), LENGTHS) for _ in range(2))
    assert same(first, second)
    assert not any(layer.requires_grad for layer in first.layers)
    assert not any(parameter.requires_grad for parameter in frontend.parameters())
    frontend.eval()
    assert same(first, frontend(wavs(), LENGTHS))


def test_a_frozen_frontend_may_drop_out_as_in_the_published_runs():
    frontend = ssl(frozen=True, frozen_dropout=True).train()
    first, second = (frontend(wavs(), LENGTHS) for _ in range(2))
    assert frontend.upstream.training and not same(first, second)
    assert not any(tensor.requires_grad for tensor in (*first.layers, *frontend.parameters()))
    frontend.eval()
    assert same(*(frontend(wavs(), LENGTHS) for _ in range(2)))
    still = ssl(frozen=True).train()
    assert same(frontend(wavs(), LENGTHS), still(wavs(), LENGTHS))


@pytest.mark.parametrize("name", ["wavlm_tiny", "wavlm_large_tiny"])
def test_one_layer_is_that_of_all(name):
    everything = ssl(name).eval()
    for layer in range(everything.num_layers):
        one = ssl(name, layer=layer, multilayer_feature=False).eval()
        one.load_state_dict(everything.state_dict())
        with torch.no_grad():
            found = one(wavs(), LENGTHS).layers
            assert len(found) == 1 and torch.equal(found[0], everything(wavs(), LENGTHS).layers[layer])


def test_a_trained_frontend_has_dropout_and_gradients():
    frontend = ssl(frozen=False).train()
    first, second = (frontend(wavs(), LENGTHS) for _ in range(2))
    assert not same(first, second)
    first.layers[-1].sum().backward()
    assert all(parameter.grad is not None for parameter in frontend.parameters())
    frontend.eval()
    assert same(*(frontend(wavs(), LENGTHS) for _ in range(2)))


@torch.no_grad()
def test_the_norms_at_either_end_can_be_chosen():
    """As SLS was published: raw samples in, the blocks' own outputs out."""
    usual, raw, normed = (ssl("wavlm_large_tiny", **options).eval() for options in (
        {}, {"normalize_waveform": False, "final_norm": False}, {"normalize_waveform": False}))
    for frontend in (raw, normed):
        frontend.load_state_dict(usual.state_dict())
    shifts = [(frontend(wavs(), LENGTHS).layers[-1] - frontend(wavs() + 0.5, LENGTHS).layers[-1]).abs().max()
              for frontend in (usual, normed)]
    assert shifts[0] < 1e-3 < 1e-2 < shifts[1]
    own = raw(wavs(), LENGTHS).layers[-1]
    norm = raw.upstream.encoder.transformer.layer_norm
    torch.testing.assert_close(norm(own)[0], normed(wavs(), LENGTHS).layers[-1][0])
    assert not any(parameter.requires_grad for parameter in norm.parameters())


def test_dropouts_can_be_set_and_the_convolutions_kept_frozen():
    frontend = ssl(projection_dropout=0.0, hidden_dropout=0.0, attention_dropout=0.0, freeze_extractor=True).train()
    first, second = (frontend(wavs(), LENGTHS) for _ in range(2))
    assert same(first, second)
    first.layers[-1].sum().backward()
    trained = {name.split(".")[1] for name, parameter in frontend.named_parameters() if parameter.grad is not None}
    assert trained == {"encoder"}
    with_memory = ssl(projection_dropout=0.0, hidden_dropout=0.0, attention_dropout=0.0, gradient_checkpointing=True)
    assert with_memory.upstream.gradient_checkpointing
    assert torch.allclose(with_memory.train()(wavs(), LENGTHS).layers[-1], first.layers[-1], atol=1e-6)


def test_which_layers_come_out():
    every = ssl().eval()
    layers = every(wavs(), LENGTHS).layers
    assert (every.num_layers, every.feat_dim, every.frame_shift, len(layers)) == (4, 64, 20.0, 4)
    one = ssl(layer=2, multilayer_feature=False).eval()
    assert one.num_layers == 1 and torch.equal(one(wavs(), LENGTHS).layers[0], layers[2])
    last = ssl(layerwise_feature=False, multilayer_feature=False).eval()
    assert last.num_layers == 1 and torch.equal(last(wavs(), LENGTHS).layers[0], layers[3])
    summed = ssl(layerwise_feature=False, frozen=True).train()
    summed.featurizer.weights.data = torch.tensor([0.0, 1.0, -1.0, 2.0])
    shares = torch.softmax(summed.featurizer.weights.detach(), 0)
    result = summed(wavs(), LENGTHS).layers
    assert torch.allclose(result[0], sum(share * layer for share, layer in zip(shares, layers)), atol=1e-5)
    result[0].square().sum().backward()  # the sum is learnt though the encoder is frozen
    assert summed.featurizer.weights.grad.abs().sum() > 0
    with pytest.raises(InputError, match="layer: must be at most 3, the last layer of this model, got 4"):
        ssl(layer=4, multilayer_feature=False)


@pytest.mark.parametrize("name, s3prl_frames", [("wavlm_tiny", False), ("wavlm_tiny", True), ("hubert_tiny", False),
                                                ("data2vec_tiny", True), ("wavlm_large_tiny", True)])
def test_alone_equals_in_a_padded_batch(name, s3prl_frames):
    frontend = ssl(name, s3prl_frames=s3prl_frames).eval()
    lengths = torch.tensor([8000, 4801, 450 if not s3prl_frames else 100])
    wav = wavs() + 1.0  # what lies past the end must not matter
    with torch.no_grad():
        together = frontend(wav, lengths)
        for i, length in enumerate(lengths):
            alone = frontend(wav[i:i + 1, :length], lengths[i:i + 1])
            frames = int(alone.lengths[0])
            assert frames == together.lengths[i] == (-(-length // 320) if s3prl_frames else (length - 80) // 320)
            for a, b in zip(alone.layers, together.layers, strict=True):
                assert torch.allclose(a[0], b[i, :frames], atol=1e-4)
                assert not b[i, frames:].any()


def test_what_does_not_fit_is_an_error():
    with pytest.raises(InputError, match="this front-end hears 16000 Hz, not 8000; set resample_rate: 16000"):
        SSLFrontend(SSLOptions(upstream_args=UpstreamOptions(name="wavlm_tiny")), 8000)
    with pytest.raises(InputError, match="frame_shift: this model makes a frame every 20 ms, got 10"):
        ssl(frame_shift=10.0)


def test_an_experiment_loads_without_the_pretrained_file():
    trained = ssl()
    rebuilt = ssl("wavlm_base_plus", trained.architecture)  # the name's own file is nowhere
    assert rebuilt.architecture == trained.architecture
    rebuilt.load_state_dict(trained.state_dict())
    with torch.no_grad():
        assert same(rebuilt.eval()(wavs(), LENGTHS), trained.eval()(wavs(), LENGTHS))


def test_wedefense_experiments_with_s3prl_load_under_our_names(tmp_path):
    model, _, _ = files.s3prl_model("wavlm", False)
    files.save_s3prl(tmp_path / "wavlm.pt", "wavlm", False)
    checkpoint = read_checkpoint(tmp_path / "wavlm.pt")
    frontend = S3prlFrontend(S3prlOptions(), architecture=checkpoint.architecture)
    theirs = {f"upstream.upstream.model.{key}": value for key, value in model.state_dict().items()}
    frontend.load_state_dict({**theirs, "featurizer.weights": torch.arange(3.0)})
    for name, value in frontend.upstream.state_dict().items():
        assert torch.equal(value, checkpoint.state_dict[name])
    assert frontend.featurizer.weights.tolist() == [0.0, 1.0, 2.0]
    old = {key.replace("parametrizations.weight.original0", "weight_g").replace(
        "parametrizations.weight.original1", "weight_v"): value for key, value in frontend.state_dict().items()}
    assert any(key.endswith("weight_g") for key in old)
    frontend.load_state_dict(old)


def test_wedefense_options_of_all_frontends_are_taken():
    assert FRONTENDS.names() == ["conformer", "fbank", "huggingface", "lfcc", "lfcc_torchaudio", "s3prl", "ssl",
                                 "whisper"]
    assert FRONTENDS.load("huggingface") is FRONTENDS.load("ssl") is SSLFrontend
    s3prl = S3prlOptions(upstream_args=S3prlUpstreamOptions(name="wavlm_base_plus"), download_dir="./s3prl_hub",
                         multilayer_feature=True, layerwise_feature=True, layer=-1, frozen=True, frame_shift=20,
                         frame_length=20)
    assert dataclasses.asdict(s3prl)["upstream_args"]["normalize"] is False
    native = SSLOptions(upstream_args=UpstreamOptions(name="wavlm_base", path_or_url="hf/wavlm_base.hf.pth",
                                                      pruning_units="conv,head, attlayer,interm,ffnlayer"))
    assert native.upstream_args.units() == ("conv", "head", "attlayer", "interm", "ffnlayer")
    with pytest.raises(InputError, match="unknown unit 'heads', did you mean 'head'"):
        UpstreamOptions(pruning_units="heads")
    with pytest.raises(InputError, match="layer 3 alone needs multilayer_feature: False"):
        SSLOptions(layer=3)
