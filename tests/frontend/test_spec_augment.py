import pytest
import torch

from wedefense.config.data import SpecAugOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.frontend.spec_augment import SpecAugment


def hidden(batch=400, frames=60, dim=40, lengths=None, seed=0, **options):
    """(batch, frames, dim) bool: what is set to zero."""
    torch.manual_seed(seed)
    lengths = torch.full((batch,), frames) if lengths is None else lengths
    layer = torch.ones(batch, frames, dim)
    out = SpecAugment(SpecAugOptions(**options))(LayerFeatures([layer, layer + 1], lengths))
    first, second = out.layers
    assert layer.all() and out.lengths is lengths
    assert torch.equal(first == 0, second == 0) and {*first.unique().tolist()} <= {0, 1}
    return first == 0


def runs(line):
    """Lengths of the bands of True in a (size,) line."""
    edges = torch.diff(line.int(), prepend=torch.zeros(1), append=torch.zeros(1))
    return ((edges == -1).nonzero() - (edges == 1).nonzero()).flatten().tolist()


def test_one_band_of_frames_and_of_bins():
    mask = hidden(prob=1.0)
    for utterance in mask:
        frames, bins = utterance.all(1), utterance.all(0)
        assert len(runs(frames)) == 1 and 1 <= runs(frames)[0] <= 10
        assert len(runs(bins)) == 1 and 1 <= runs(bins)[0] <= 8
        assert torch.equal(utterance, frames[:, None] | bins[None, :])
    widths = torch.tensor([runs(u.all(1))[0] for u in mask])
    assert {*widths.tolist()} == {*range(1, 11)}
    assert mask.all(2).float().mean(0)[10:].min() > 0.02  # anywhere in time


def test_share_of_utterances_and_count_of_bands():
    touched = hidden(prob=0.6).flatten(1).any(1).float().mean()
    assert touched == pytest.approx(0.6, abs=0.08)
    assert not hidden(prob=0.0).any()
    assert not hidden(prob=1.0, num_t_mask=0, max_f=0).any()
    bins_only = hidden(prob=1.0, num_t_mask=0, num_f_mask=2)
    assert not bins_only.all(2).any() and max(len(runs(u[0])) for u in bins_only) == 2


def test_bands_start_among_the_real_frames():
    lengths = torch.tensor([5, 60] * 100)
    frames = hidden(batch=200, lengths=lengths, prob=1.0, num_f_mask=0).all(2)
    assert frames[0::2, :5].any(1).all() and not frames[0::2, 15:].any()
    assert frames[1::2, 30:].any()


def test_the_draw_follows_torchs_generator():
    assert torch.equal(hidden(seed=1), hidden(seed=1)) and not torch.equal(hidden(seed=1), hidden(seed=2))
