"""Files of authors' whole detectors are told by the names of their tensors."""

import pytest
import torch

from wedefense.models.published_detectors import AASIST, RAPTOR, SLS, naming_of


@pytest.mark.parametrize("names, found", [
    (("ssl_model.model.mask_emb", "LL.weight"), AASIST),
    (("module.ssl_model.model.mask_emb", "module.fc0.weight"), SLS),
    (("backbone.ssl_model.masked_spec_embed", "backbone.attn_scores.weight", "backbone.fc0.weight"), RAPTOR),
    (("frontend.upstream.mask_emb", "fc0.weight"), None),
    (("ssl_model.model.mask_emb", "att_head.weight"), None)])
def test_a_file_is_told_by_its_encoder_and_what_is_beside_it(names, found):
    assert naming_of(dict.fromkeys(names, torch.zeros(1))) is found


def test_rows_of_the_output_change_places_and_idle_tensors_are_left():
    own = AASIST.own({f"module.{name}": torch.tensor([1.0, 2.0]) for name in (
        "ssl_model.model.mask_emb", "encoder.1.0.bn1.weight", "LL.bias", "out_layer.bias")})
    assert own.keys() == {"frontend.upstream.mask_emb", "backend.LL.bias", "projection.linear.bias"}
    assert own["projection.linear.bias"].tolist() == [2, 1]
