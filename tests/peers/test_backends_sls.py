"""The published form of SLS, from a checkpoint file with the authors' names, on s3prl's wav2vec 2.0 class."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wedefense.config.frontend import SSLOptions, UpstreamOptions
from wedefense.config.heads import SLSHeadOptions
from wedefense.config.models import SLSOptions
from wedefense.frontend.ssl.frontend import SSLFrontend
from wedefense.models.detector import Detector
from wedefense.models.heads import SLSHead
from wedefense.models.published_detectors import SLS as SLS_NAMING
from wedefense.models.published_detectors import naming_of
from wedefense.models.sls import SLS

pytest.importorskip("s3prl")

SAMPLES, FRAMES, DIM, EMBED = 64_600, 201, 128, 16
CONVS = "[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8, 2, 2)] * 2"


class Published(nn.Module):
    """The equations of Zhang et al. on the outputs of the blocks, all layers in one tensor."""

    def __init__(self):
        super().__init__()
        from s3prl.upstream.wav2vec2.wav2vec2_model import Wav2Vec2Config, Wav2Vec2Model

        self.ssl_model = nn.Module()
        self.ssl_model.model = Wav2Vec2Model(Wav2Vec2Config(
            extractor_mode="layer_norm", conv_bias=True, conv_feature_layers=CONVS, encoder_embed_dim=DIM,
            encoder_layers=4, encoder_ffn_embed_dim=16, encoder_attention_heads=2, layer_norm_first=True, conv_pos=8,
            conv_pos_groups=2, quantize_targets=True, latent_vars=2, latent_groups=2, final_dim=DIM))
        self.first_bn = nn.BatchNorm2d(1)
        self.fc0 = nn.Linear(DIM, 1)
        self.fc1 = nn.Linear((FRAMES // 3) * (DIM // 3), EMBED)
        self.fc3 = nn.Linear(EMBED, 2)

    def forward(self, wav):
        outputs = self.ssl_model.model(wav, mask=False, features_only=True)["layer_results"]
        layers = torch.stack([x.transpose(0, 1) for x, *_ in outputs], dim=1)  # (batch, layers, frames, dim)
        gates = self.fc0(layers.mean(dim=2)).sigmoid()                         # (batch, layers, 1)
        x = (layers * gates[..., None]).sum(dim=1, keepdim=True)               # (batch, 1, frames, dim)
        x = F.max_pool2d(F.selu(self.first_bn(x)), 3).flatten(1)
        x = F.selu(self.fc3(F.selu(self.fc1(x))))
        return F.log_softmax(x, dim=1)


@pytest.fixture(scope="module")
def published():
    torch.manual_seed(0)
    model = Published().eval()
    model.first_bn.running_mean.fill_(0.2)
    model.first_bn.running_var.fill_(1.7)
    return model


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_published_checkpoint_gives_its_published_scores(published, prefix, tmp_path):
    torch.save({prefix + name: tensor for name, tensor in published.state_dict().items()}, tmp_path / "epoch_2.pth")
    weights = torch.load(tmp_path / "epoch_2.pth", weights_only=True)
    assert naming_of(weights) is SLS_NAMING
    frontend = SSLFrontend(SSLOptions(upstream_args=UpstreamOptions(path_or_url=str(tmp_path / "epoch_2.pth"))))
    options = SLSOptions(frame_length=FRAMES, embed_dim=EMBED, use_input_layer=False)
    detector = Detector(frontend, SLS(options, frontend.feat_dim, frontend.num_layers),
                        SLSHead(SLSHeadOptions(), EMBED, 2))
    detector.load_state_dict(SLS_NAMING.own(weights))
    wav = torch.randn(2, SAMPLES)
    with torch.no_grad():
        ours, theirs = detector.eval()(wav, torch.tensor([SAMPLES, SAMPLES])).logits, published(wav)
    assert torch.allclose(ours, theirs.flip(1), atol=1e-5)  # our class 0 is bonafide, their class 1


def test_the_size_of_the_published_model():
    """24 blocks of XLS-R, 201 frames: 67 * 341 = 22,847 -> 1024."""
    with torch.device("meta"):
        model = SLS(SLSOptions(frame_length=201, embed_dim=1024, use_input_layer=False), 1024, 25)
    assert model.fc1.weight.shape == (1024, 22_847)
