import pytest
import torch
from torch import nn

from tests.corpus import make_list, write_config
from wedefense.config.loader import load_config
from wedefense.frontend.features import LayerFeatures
from wedefense.models.cache import FeatureCache
from wedefense.train.run import build_trainer
from wedefense.utils import distributed
from wedefense.utils.errors import InputError


class Listening(nn.Module):
    """Two layers of one frame per sample; remembers how many utterances it was asked about."""

    heard = 0

    def forward(self, wav, lengths):
        self.heard += len(wav)
        return LayerFeatures([wav[..., None], wav[..., None] * 2], lengths)


def test_an_utterance_is_heard_once_whatever_is_beside_it():
    frontend, cache = Listening(), FeatureCache(1.0)
    wav, lengths = torch.randn(3, 9), torch.tensor([9, 4, 7])
    cache(frontend, wav[:2], lengths[:2])
    features = cache(frontend, wav[1:], lengths[1:])
    assert frontend.heard == 3 and features.lengths.tolist() == [4, 7]
    assert torch.equal(features.layers[1][1, :, 0], 2 * wav[2, :7])
    assert torch.equal(features.layers[0][0, :4, 0], wav[1, :4]) and features.layers[0].shape == (2, 7, 1)


def test_other_samples_are_another_utterance():
    frontend, cache = Listening(), FeatureCache(1.0)
    wav = torch.randn(1, 9)
    cache(frontend, wav, torch.tensor([9]))
    cache(frontend, wav + 1e-4, torch.tensor([9]))
    cache(frontend, wav, torch.tensor([8]))
    assert frontend.heard == 3


def test_what_does_not_fit_is_heard_again():
    frontend, cache = Listening(), FeatureCache(9 * 2 * 4 / 2**30)
    wav, lengths = torch.randn(2, 9), torch.tensor([9, 9])
    for _ in range(2):
        features = cache(frontend, wav, lengths)
    assert frontend.heard == 3 and torch.equal(features.layers[0][..., 0], wav)


@pytest.mark.parametrize("changes, message", [
    ({"whole_utt": False}, "whole_utt: True"),
    ({"ssl_args": {"frozen": False}}, "ssl_args.frozen: True"),
    ({"ssl_args": {"frozen": True, "layerwise_feature": False, "upstream_args": {"name": "wavlm_tiny"}}},
     "layerwise_feature: True"),
])
def test_a_cache_that_would_be_wrong_is_refused(tmp_path, changes, message):
    data = {"frontend": "ssl", "whole_utt": True, "ssl_args": {"frozen": True}} | changes
    with pytest.raises(InputError, match=message):
        build_trainer(load_config(write_config(tmp_path, feature_cache=1.0, dataset_args=data,
                                               train_data=str(make_list(tmp_path)))), distributed.start(device="cpu"))


def test_training_with_a_cache_ends_at_the_same_weights(tmp_path):
    weights = []
    for gib in (0.0, 1.0):
        config = load_config(write_config(
            tmp_path, feature_cache=gib, exp_dir=str(tmp_path / str(gib)), train_data=str(make_list(tmp_path)),
            num_epochs=2, dataset_args={"frontend": "ssl", "whole_utt": True, "ssl_args": {
                "frozen": True, "upstream_args": {"name": "wavlm_tiny"}}}))
        (tmp_path / str(gib) / "models").mkdir(parents=True)
        trainer = build_trainer(config, distributed.start(device="cpu"))
        trainer.fit()
        weights.append(torch.load(tmp_path / str(gib) / "models/model_2.pt", weights_only=True))
    assert len(trainer.detector.cache.known) == 24
    for name in weights[0]:
        torch.testing.assert_close(weights[1][name], weights[0][name], atol=1e-4, rtol=1e-3, msg=name)
