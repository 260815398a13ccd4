"""What every back-end that localises promises, and what is made of its frames."""

import pytest
import torch

from tests.models.test_backends import VARIANTS, build, noise, trained_a_little
from wedefense.config.localization import LocalizationOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.models.localizer import (
    LOCALIZING,
    Frames,
    Localizer,
    LocalizingBackend,
    joined,
    rest_idle,
    utterance_logits,
)
from wedefense.utils.errors import OptionError

NAMES = [f"{name} segments" if f"{name} segments" in VARIANTS else name for name in LOCALIZING]


def resolutions_of(model, shift=20):
    return [ms for ms in (20, 40, 80, 160, 320, 640) if any(ms % (own * shift) == 0 for own in model.frame_dims)]


@pytest.mark.parametrize("name", NAMES)
def test_segments_of_an_utterance_alone_and_in_a_batch_are_the_same(name):
    model, x = trained_a_little(build(name)), noise([70, 3, 41, 24, 1])
    assert isinstance(model, LocalizingBackend)
    localizer = Localizer(LocalizationOptions(resolutions=resolutions_of(model), boundary_weight=1.0), model, 20.0)
    with torch.no_grad():
        frames = model.frames(x)
        torch.testing.assert_close(frames.embedding, model(x))
        together = localizer(frames)
        for n, (values, lengths) in frames.at.items():
            assert values.shape[2] == model.frame_dims[n]
            for row, length in zip(values, lengths):
                assert not row[length:].any()
        for i, length in enumerate(x.lengths):
            alone = localizer(model.frames(LayerFeatures([layer[i:i + 1, :length] for layer in x.layers],
                                                         x.lengths[i:i + 1])))
            for ms, logits in together.logits.items():
                count = int(together.lengths[ms][i])
                assert count == int(alone.lengths[ms][0]) and 1 <= count <= -(-int(length) * 20 // ms)
                assert (alone.logits[ms][0, :count] - logits[i, :count]).abs().max() < 1e-4
                assert torch.isinf(together.scores(ms)[i, count:]).all()
            count = int(frames.at[min(frames.at)][1][i])
            assert (alone.boundaries[0, :count] - together.boundaries[i, :count]).abs().max() < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_segments_reach_the_front_end(name):
    model, x = build(name).train(), noise([50, 44, 50])
    x.layers = [layer.requires_grad_() for layer in x.layers]
    options = LocalizationOptions(resolutions=resolutions_of(model), boundary_weight=float(model.has_boundaries))
    localizer = Localizer(options, model, 20.0)
    segments = localizer(model.frames(x))
    sum((logits * torch.randn_like(logits)).sum() for logits in segments.logits.values()).backward()
    assert any(layer.grad is not None and layer.grad.abs().sum() > 0 for layer in x.layers)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in localizer.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_what_no_segment_is_made_of_rests_where_segments_speak_for_utterances(name):
    """It had been among the trained parameters, and no gradient had ever come to it."""
    model, x = trained_a_little(build(name)).train(), noise([50, 44, 50])
    state, drawn = {key: value.clone() for key, value in model.state_dict().items()}, torch.get_rng_state()
    rest_idle(model, 24, 3)
    assert model.training and torch.equal(drawn, torch.get_rng_state())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    frames = model.frames(x)
    said = sum(values.sin().sum() for values, _ in frames.at.values())
    (said if frames.boundaries is None else said + frames.boundaries.sin().sum()).backward()
    for key, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
    idle = {key.partition(".")[0] for key, parameter in model.named_parameters() if not parameter.requires_grad}
    expected = {"SSL_BACKEND_SLS": {"fc1"}, "LCNN_LSTM": {"m_linear"},
                "SSL_BACKEND_multireso_MaxPool1dLin_gmlp segments": {"post_nets_utt"}}
    assert idle == expected.get(name, set()) or name == "SSL_BACKEND_aasist" and "GAT_layer_S" in idle


def test_a_back_end_that_learns_nothing_of_its_own_has_nothing_that_rests():
    class Bare(torch.nn.Module):
        min_frames = 1

        def frames(self, features):
            return Frames({1: (features.layers[0], features.lengths)}, features.layers[0][:, 0])

    rest_idle(Bare(), 4, 2)


def test_frames_are_joined_by_their_largest():
    x = torch.tensor([[1.0, -5.0, 3.0, -2.0, 9.0], [-1.0, -3.0, -4.0, 7.0, 7.0]])[..., None]
    wide, lengths = joined(x, torch.tensor([5, 3]), 2)
    assert wide[..., 0].tolist() == [[1.0, 3.0, 9.0], [-1.0, -4.0, 0.0]] and lengths.tolist() == [3, 2]


def test_an_utterance_is_as_fake_as_its_fakest_segment():
    model = build("SSL_BACKEND_MHFA")
    localizer = Localizer(LocalizationOptions(resolutions=(20, 40)), model, 20.0)
    segments = localizer(model.frames(noise([9, 4])))
    for row, logits, length in zip(utterance_logits(segments, "min"), segments.logits[20], (9, 4)):
        place = (logits[:length, 0] - logits[:length, 1]).argmin()
        assert torch.equal(row, logits[place])
    mean = utterance_logits(segments, "mean")
    torch.testing.assert_close(mean[1], segments.logits[20][1, :4].mean(dim=0))


def test_segments_that_frames_do_not_make_and_back_ends_without_frames_are_refused():
    class Coarse(torch.nn.Module):
        frame_dims, has_boundaries = {8: 3}, False

        def frames(self, features):
            return Frames({8: (features.layers[0], features.lengths)}, features.layers[0][:, 0])

    assert Localizer(LocalizationOptions(resolutions=(320,)), Coarse(), 20.0).sources == {320: (8, 2)}
    with pytest.raises(OptionError, match="segments of 20 ms cannot be made of the back-end's frames of 160 ms"):
        Localizer(LocalizationOptions(resolutions=(20, 160)), Coarse(), 20.0)
    with pytest.raises(OptionError, match="the back-end MeanPooling says nothing of frames; SSL_BACKEND_MHFA"):
        Localizer(LocalizationOptions(resolutions=(20,)), build("SSL_BACKEND_MEAN"), 20.0)


def test_parts_of_a_back_end_that_nothing_trains_are_refused():
    several = build("SSL_BACKEND_multireso_MaxPool1dLin_gmlp segments")
    with pytest.raises(OptionError, match="branches that none of them is made of: for 40, 80 ms"):
        Localizer(LocalizationOptions(resolutions=(20,)), several, 20.0)
    with pytest.raises(OptionError, match="multi_reso_active: names no branch for segments"):
        Localizer(LocalizationOptions(resolutions=(20,)), build("SSL_BACKEND_multireso_MaxPool1dLin_gmlp"), 20.0)
    with pytest.raises(OptionError, match="segments of 20 ms cannot be made of the back-end's frames of 160 ms"):
        Localizer(LocalizationOptions(resolutions=(20,), boundary_weight=1.0), build("SSL_BACKEND_BAM"), 20.0)
    with pytest.raises(OptionError, match="boundary_weight: BAM has a part for boundaries, which nothing else trains"):
        Localizer(LocalizationOptions(resolutions=(160,)), build("SSL_BACKEND_BAM"), 20.0)
