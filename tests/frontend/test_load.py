"""`wedefense.load_frontend` and `wedefense info`: one name or path, whatever it is."""

import pytest
import torch

import wedefense
from tests.frontend.ssl import files
from wedefense.bin import info
from wedefense.frontend.load import frontend_of
from wedefense.frontend.s3prl import is_native
from wedefense.frontend.ssl.frontend import SSLFrontend
from wedefense.utils.errors import InputError


def test_a_name_gives_a_frozen_frontend_with_all_layers():
    frontend = wedefense.load_frontend("wavlm_tiny")
    assert isinstance(frontend, SSLFrontend) and frontend.frozen
    features = frontend(torch.randn(2, 16000), torch.tensor([16000, 9000]))
    assert [tuple(layer.shape) for layer in features.layers] == [(2, 49, 64)] * 4
    assert features.lengths.tolist() == [49, 27]


def test_options_are_passed_on_and_checked(tmp_path):
    files.save_s3prl(tmp_path / "hubert.pt", "hubert", False)
    frontend = wedefense.load_frontend(tmp_path / "hubert.pt", frozen=False, layer=1, s3prl_frames=True)
    assert frontend.num_layers == 1 and not frontend.frozen and frontend.feat_dim == 48
    assert wedefense.load_frontend("hubert_base", path_or_url=str(tmp_path / "hubert.pt")).feat_dim == 48
    with pytest.raises(InputError, match="'dropout' is not an option of the ssl front-end, did you mean"):
        wedefense.load_frontend("wavlm_tiny", dropout=0.1)


@pytest.mark.parametrize("name, kind", [
    ("fbank", "fbank"), ("lfcc", "lfcc"), ("whisper_base", "whisper"), ("openai/whisper-small", "whisper"),
    ("wavlm_large", "ssl"), ("microsoft/wavlm-large", "ssl"), ("someone/anything", "ssl"), ("exp/model.pt", "ssl"),
    ("https://host/model.pt", "ssl"), ("distilhubert", "s3prl"), ("wav2vec2_conformer_rope", "s3prl")])
def test_who_serves_a_name(name, kind):
    if kind == "s3prl":
        pytest.importorskip("s3prl")
    assert frontend_of(name) == kind


def test_info_of_what_has_no_checkpoint():
    with pytest.raises(InputError, match="fbank has no checkpoint: .* dataset_args.fbank_args"):
        info.main(["fbank"])


def test_an_unknown_name():
    with pytest.raises(InputError, match="unknown front-end 'wavlm_bas', did you mean 'wavlm_base'"):
        wedefense.load_frontend("wavlm_bas")


@pytest.mark.parametrize("name, meant", [("wavlm_bas", "'wavlm_base'"), ("distilhubert", "'.*hubert.*'")])
def test_an_unknown_name_without_s3prl(monkeypatch, name, meant):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"unknown front-end '{name}', did you mean {meant}.*'wedefense\[s3prl\]'"):
        wedefense.load_frontend(name)


def test_which_upstreams_of_s3prl_the_native_encoder_serves():
    assert all(map(is_native, ("wavlm_base_plus", "wavlm", "wav2vec2_local", "hubert_url", "xls_r_300m", "data2vec")))
    assert not any(map(is_native, ("distilhubert", "wav2vec2_conformer_rope", "hubert_mgr_local", "mockingjay")))


def test_info_says_what_a_checkpoint_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # a row a line
    model = files.save_s3prl(tmp_path / "wavlm.pt", "wavlm", True)
    count = sum(value.numel() for name, value in model.named_parameters() if name != "mask_emb")
    assert info.main([str(tmp_path / "wavlm.pt")]) == 0
    out = capsys.readouterr().out
    assert {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in out.splitlines()} == {
        "source": str(tmp_path / "wavlm.pt"), "format": "WavLM release", "family": "wavlm",
        "layers": "2 blocks of 48 (3 layers with the first input)", "heads": "4 of 12",
        "feed-forward": "64 hidden units", "convolutions": "16, 16, 16, 16, 16, 16, 16 channels",
        "parameters": f"{count:,}",
        "normalisation": "normalised waveform (epsilon 1e-05), layer norm in the convolutions, layer norm before each "
                         "sublayer"}
    model, _ = files.torchaudio_model("wavlm", False)
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    info.main([str(tmp_path / "bare.pth")])
    assert "remark         no config in the file: architecture inferred from the tensors" in capsys.readouterr().out
    info.main([])
    assert "wavlm_base_plus                  12 blocks of  768  microsoft/wavlm-base-plus" in capsys.readouterr().out
