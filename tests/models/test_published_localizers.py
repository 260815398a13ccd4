"""Checkpoints of the authors of localisers: every tensor gets a place, and the classes change theirs."""

from argparse import Namespace

import pytest
import torch

from wedefense.config.heads import P2SGradOptions
from wedefense.config.localization import LocalizationOptions
from wedefense.config.models import BAMOptions, MultiResolutionOptions
from wedefense.experiment.checkpoint import load_model
from wedefense.frontend.features import LayerFeatures
from wedefense.models.bam import BAM
from wedefense.models.detector import own_weights
from wedefense.models.gmlp import MultiResolutionGMLP
from wedefense.models.heads import P2SGrad
from wedefense.models.localizer import Localizer
from wedefense.models.published_localizers import from_published, is_published
from wedefense.utils.errors import InputError

ALL = (20, 40, 80, 160, 320, 640)
OPTIONS = MultiResolutionOptions(gmlp_layers=1, seq_len=64, multi_reso_active=("2", "4", "8", "16", "32", "64", "utt"))


def parts(own: dict, name: str) -> dict:
    return {key.removeprefix(name): value for key, value in own.items() if key.startswith(name)}


@torch.no_grad()
def test_all_of_a_multi_resolution_gmlp_is_taken():
    torch.manual_seed(0)
    backend = MultiResolutionGMLP(OPTIONS, 128, 3).eval()
    published = {f"m_transform.0.{name}": value for name, value in backend.state_dict().items()
                 if "layer_sum" not in name}
    published |= {"weight_hidd": torch.arange(30.0), "input_mean": torch.zeros(1), "output_std": torch.ones(1)}
    published |= {f"extracter.model.encoder.layers.{n}.fc1.bias": torch.zeros(4) for n in range(2)}
    published |= {f"m_angle_scales.{ms // 10}.weight": torch.randn(dim, 2) for ms, dim in
                  zip(ALL, backend.frame_dims.values())}
    for name, value in published.items():  # the gates of the last halving have a frame fewer there
        if ".disc_5." in name or "post_nets_utt." in name:
            frames = {"sgu.weight": (2, 2), "sgu.bias": (2,)}.get(".".join(name.split(".")[-2:]), value.shape)
            published[name] = value[tuple(map(slice, frames))]
    own = from_published(published)
    assert sorted(parts(own, "frontend.")) == [f"upstream.encoder.layers.{n}.fc1.bias" for n in range(2)]
    assert len(own) == len(published) - 2 + 1  # two without a use; and the utterance's head, which is the coarsest's
    weights = parts(own, "backend.")
    backend.adopt(weights, "")
    assert weights["layer_sum.weights"].tolist() == [0, 1, 2]  # of 30
    backend.load_state_dict(weights)
    localizer = Localizer(LocalizationOptions(resolutions=ALL, loss="p2sgrad"), backend, 20).eval()
    localizer.load_state_dict(parts(own, "localizer."))
    head = P2SGrad(P2SGradOptions(), backend.embed_dim, 2).eval()
    head.load_state_dict(parts(own, "projection."))
    frames = backend.frames(LayerFeatures([torch.randn(2, 40, 128) for _ in range(3)], torch.tensor([40, 40])))
    for ms, logits in localizer(frames).logits.items():
        x, matrix = frames.at[ms // 20][0][0], published[f"m_angle_scales.{ms // 10}.weight"]
        for row, said in zip(x, (logits[0] / 2).tanh()):
            for bonafide, column in ((0, 1), (1, 0)):  # theirs: 1 is bona fide
                cosine = row @ matrix[:, column] / row.norm() / matrix[:, column].norm()
                torch.testing.assert_close(said[bonafide], cosine, atol=3e-5, rtol=0)
    column = published["m_angle_scales.64.weight"][:, 1]
    cosine = torch.nn.functional.cosine_similarity(frames.embedding[0], column, dim=0)
    torch.testing.assert_close((head(frames.embedding) / 2).tanh()[0, 0], cosine, atol=3e-5, rtol=0)


def test_all_of_a_bam_is_taken():
    torch.manual_seed(0)
    backend = BAM(BAMOptions(), 12, 1)
    published = {f"model.{name}": value for name, value in backend.state_dict().items()}
    published |= {"model.out_layer.weight": torch.randn(2, 24), "model.out_layer.bias": torch.randn(2),
                  "model.intra_layer.resnet.downsample.weight": torch.randn(3),
                  "model.ssl_layer.model.encoder.layers.0.fc1.bias": torch.zeros(4)}
    own = from_published(published)
    backend.load_state_dict(parts(own, "backend."))
    localizer = Localizer(LocalizationOptions(resolutions=(160,), boundary_weight=0.5, utterance="min"), backend, 20)
    localizer.load_state_dict(parts(own, "localizer."))
    assert torch.equal(localizer.heads["160"].linear.weight[0], published["model.out_layer.weight"][1])
    assert not parts(own, "projection.") and parts(own, "frontend.upstream.")


def test_what_lightning_keeps_beside_the_tensors_is_not_looked_at(tmp_path):
    """BAM's file holds its options as objects of classes that nobody has here."""
    path = tmp_path / "model.ckpt"
    torch.save({"epoch": 30, "hyper_parameters": {"args": Namespace(resolution=0.16)},
                "state_dict": {"model.out_layer.bias": torch.ones(2)}}, path)
    assert set(load_model(path)) == {"model.out_layer.bias"}
    torch.save({"hyper_parameters": Namespace(resolution=0.16)}, path)
    with pytest.raises(InputError, match="expected the tensors of a model by name"):
        load_model(path)


def test_other_checkpoints_are_left_to_others():
    """Those of this toolkit among them, whose back-ends have the authors' names."""
    weights = {"b_output_layer.0.weight": torch.zeros(1), "projection.weight": torch.zeros(1),
               "localizer.heads.160.linear.weight": torch.zeros(1)}
    assert not is_published(weights)
    assert set(own_weights(weights)) == {"backend.b_output_layer.0.weight", "projection.weight",
                                         "localizer.heads.160.linear.weight"}
