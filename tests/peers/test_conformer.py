"""Our FastConformer beside the one of transformers (Parakeet's encoder and its extractor), with the same weights."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.frontend.nemo import CONFIG, stirred
from wedefense.frontend.conformer.encoder import ConformerEncoder
from wedefense.frontend.conformer.nemo import nemo_architecture

parakeet = pytest.importorskip("transformers.models.parakeet.modeling_parakeet")
RENAMED = ((".relative_k_proj.", ".linear_pos."), (".q_proj.", ".linear_q."), (".k_proj.", ".linear_k."),
           (".v_proj.", ".linear_v."), (".o_proj.", ".linear_out."), (".bias_u", ".pos_bias_u"),
           (".bias_v", ".pos_bias_v"), (".conv.norm.", ".conv.batch_norm."),
           ("subsampling.layers.", "pre_encode.conv."), ("subsampling.linear.", "pre_encode.out."))


def our_name(name: str) -> str:
    for theirs, ours in RENAMED:
        name = name.replace(theirs, ours)
    return name


@pytest.fixture(scope="module")
def both():
    from transformers.models.parakeet.configuration_parakeet import ParakeetEncoderConfig

    changes = {"subsampling": "dw_striding", "subsampling_factor": 8}
    torch.manual_seed(0)
    ours = stirred(ConformerEncoder(nemo_architecture({**CONFIG, "encoder": {**CONFIG["encoder"], **changes}}, "test")))
    theirs = parakeet.ParakeetEncoder(ParakeetEncoderConfig(
        hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48, conv_kernel_size=5,
        subsampling_factor=8, subsampling_conv_channels=6, num_mel_bins=16)).eval()
    state = ours.state_dict()
    theirs.load_state_dict({name: state[our_name(name)] for name in theirs.state_dict()})
    return ours.eval(), theirs


@torch.no_grad()
def test_the_encoder_equals_theirs_of_any_lengths(both):
    ours, theirs = both
    wav, lengths = 0.1 * torch.randn(3, 16000, generator=torch.Generator().manual_seed(1)), [16000, 9003, 12345]
    mel, counts = ours.featurizer(wav, lengths)
    mask = torch.arange(mel.shape[1])[None] < torch.tensor(counts)[:, None]
    expected = theirs(mel, attention_mask=mask).last_hidden_state
    found = ours(wav, lengths)
    for row, other, frames in zip(found.layers[-1], expected, found.counts, strict=True):
        torch.testing.assert_close(row[:frames], other[:frames], atol=1e-4, rtol=1e-3)


@torch.no_grad()
def test_the_log_mel_frames_equal_theirs(both, monkeypatch):
    """With the mel filters of transformers in the place of librosa's, which are the same and may not be there."""
    from transformers.audio_utils import mel_filter_bank
    from transformers.models.parakeet import feature_extraction_parakeet as theirs

    def mel(sr, n_fft, n_mels, fmin, fmax, norm):
        return mel_filter_bank(n_fft // 2 + 1, n_mels, fmin, fmax, sr, norm=norm, mel_scale="slaney").T

    try:
        monkeypatch.setattr(theirs, "librosa", SimpleNamespace(filters=SimpleNamespace(mel=mel)), raising=False)
    except ImportError as error:  # some versions hand out nothing of the module without librosa
        pytest.skip(str(error).strip().splitlines()[0])
    extractor = theirs.ParakeetFeatureExtractor(feature_size=16)
    for samples in (16000, 9003):
        wav = 0.1 * np.random.default_rng(samples).standard_normal(samples).astype(np.float32)
        expected = extractor(wav, sampling_rate=16000, return_tensors="pt").input_features[0]
        found, counts = both[0].featurizer(torch.from_numpy(wav)[None], [samples])
        torch.testing.assert_close(found[0], expected[:counts[0]], atol=1e-3, rtol=1e-3)
