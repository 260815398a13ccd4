"""What segments cost, by numbers that can be checked by hand."""

import math

import pytest
import torch

from wedefense.config.localization import LocalizationOptions
from wedefense.data.span_crops import boundary_targets, frame_targets
from wedefense.data.spans import Span
from wedefense.models.localizer import Segments
from wedefense.train.localization import SegmentLoss
from wedefense.utils.errors import OptionError

SPANS = [Span(0, 0.04, "bonafide"), Span(0.04, 0.05, "spoof"), Span(0.05, 0.08, "bonafide")]


def logits(*log_odds):
    """(1, segments, 2) whose log-odds of fake are these."""
    return torch.tensor([[[0.0, odds] for odds in log_odds]])


def loss_of(segments, spans=(SPANS,), **options):
    return SegmentLoss(LocalizationOptions(resolutions=tuple(segments.logits), **options))(segments, spans).item()


def softplus(x):
    return math.log1p(math.exp(x))


def test_the_mean_over_resolutions_of_known_segments():
    fine = logits(1.0, -2.0, 0.5, 3.0, 9.0)  # true: 0 0 1 0, the fifth is past the end
    wide = logits(-1.0, 2.0)                 # true: 0 1
    segments = Segments({20: fine, 40: wide}, {20: torch.tensor([5]), 40: torch.tensor([2])})
    expected = ((softplus(1) + softplus(-2) + softplus(-0.5) + softplus(3)) / 4 + (softplus(-1) + softplus(-2)) / 2) / 2
    assert loss_of(segments) == pytest.approx(expected, rel=1e-6)
    assert loss_of(segments, segment_weight=3.0) == pytest.approx(3 * expected, rel=1e-6)
    assert loss_of(segments, [None]) == loss_of(segments, None) == 0.0


def test_weighted_balanced_and_focal():
    segments = Segments({20: logits(1.0, -2.0, 0.5, 3.0)}, {20: torch.tensor([4])})
    own = [softplus(1), softplus(-2), softplus(-0.5), softplus(3)]
    weighted = (own[0] + own[1] + 5 * own[2] + own[3]) / 8
    assert loss_of(segments, weight=(1.0, 5.0)) == pytest.approx(weighted, rel=1e-6)
    balanced = (own[0] + own[1] + own[3]) / 6 + own[2] / 2
    assert loss_of(segments, balance=True) == pytest.approx(balanced, rel=1e-6)
    assert loss_of(segments, loss="focal", gamma=0.0) == pytest.approx(sum(own) / 4, rel=1e-6)
    focal = sum((1 - math.exp(-x)) ** 2 * x for x in own) / 4
    assert loss_of(segments, loss="focal") == pytest.approx(focal, rel=1e-6)


def test_p2sgrad_is_the_squared_distance_of_cosines():
    cosines = torch.tensor([[[0.5, -0.5], [0.1, 0.3]]])
    segments = Segments({20: 2 * cosines.atanh()}, {20: torch.tensor([2])})
    expected = ((0.5 ** 2 + 0.5 ** 2) / 2 + (0.9 ** 2 + 0.3 ** 2) / 2) / 2
    assert loss_of(segments, loss="p2sgrad") == pytest.approx(expected, rel=1e-5)


def test_boundaries_are_a_target_of_their_own():
    assert boundary_targets([SPANS, None], 0.02, 5).tolist() == [[0, 0, 1, 0, -1], [-1] * 5]
    assert boundary_targets([SPANS], 0.01, 9, reach=1).tolist() == [[0, 0, 0, 1, 1, 1, 1, 0, -1]]
    told = torch.tensor([[0.5, -1.0, 2.0, 0.0, 7.0]])
    segments = Segments({20: logits(0.0)}, {20: torch.tensor([1])}, told, 20)
    expected = softplus(0) + 0.5 * (softplus(0.5) + softplus(-1) + softplus(-2) + softplus(0)) / 4
    assert loss_of(segments, boundary_weight=0.5) == pytest.approx(expected, rel=1e-6)


def test_boundaries_of_runs_lie_on_the_fake_side():
    """Labels of segments 0 0 1 1 1 0, 1 0 ...: a boundary is the first and the last 1 of a run beside a 0."""
    spans = [Span(0, 0.05, "bonafide"), Span(0.05, 0.09, "spoof"), Span(0.09, 0.12, "bonafide")]
    assert frame_targets([spans], 0.02, 7).tolist() == [[0, 0, 1, 1, 1, 0, -1]]
    assert boundary_targets([spans], 0.02, 7, of_runs=True).tolist() == [[0, 0, 1, 0, 1, 0, -1]]
    assert boundary_targets([spans], 0.02, 7).tolist() == [[0, 0, 1, 0, 1, 0, -1]]
    gap = [Span(0, 0.05, "spoof"), Span(0.05, 0.06, "bonafide"), Span(0.06, 0.1, "spoof")]  # within a fake segment
    assert boundary_targets([gap, None], 0.02, 5, of_runs=True).tolist() == [[0] * 5, [-1] * 5]
    assert boundary_targets([gap], 0.02, 5).tolist() == [[0, 0, 1, 1, 0]]
    end = [Span(0, 0.04, "bonafide"), Span(0.04, 0.1, "spoof")]  # changes at the begin of a segment
    assert boundary_targets([end], 0.02, 5, reach=1, of_runs=True).tolist() == [[0, 1, 1, 1, 0]]
    told = torch.tensor([[1.0, -2.0, 0.5]])
    segments = Segments({20: logits(0.0)}, {20: torch.tensor([1])}, told, 20)
    fake = [[Span(0, 0.06, "spoof")]]  # no boundary at the ends of an utterance
    loss = loss_of(segments, fake, boundary_weight=1.0, boundary_of="runs") - softplus(0)
    assert loss == pytest.approx((softplus(1) + softplus(-2) + softplus(0.5)) / 3, rel=1e-6)


def test_only_the_hardest_segments_without_a_boundary_count():
    """As the balanced loss of BAM's authors: here two for one with a boundary; none has one, none counts."""
    told = torch.tensor([[0.5, -1.0, 2.0, 0.0, 7.0]])
    segments = Segments({20: logits(0.0)}, {20: torch.tensor([1])}, told, 20)  # true: 0 0 1 0, then no more
    cost = 2 * (loss_of(segments, boundary_weight=0.5, boundary_negatives=2.0) - softplus(0))
    assert cost == pytest.approx((softplus(-2) + softplus(0.5) + softplus(0)) / 3, rel=1e-6)
    cost = 2 * (loss_of(segments, boundary_weight=0.5, boundary_negatives=9.0) - softplus(0))
    assert cost == pytest.approx((softplus(-2) + softplus(0.5) + softplus(0) + softplus(-1)) / 4, rel=1e-6)
    whole = [[Span(0, 0.08, "bonafide")]]
    assert loss_of(segments, whole, boundary_weight=0.5, boundary_negatives=2.0) == pytest.approx(softplus(0), rel=1e-6)


def test_one_class_alone_is_not_balanced_away():
    segments = Segments({20: logits(1.0, -2.0)}, {20: torch.tensor([2])})
    whole = [[Span(0, 0.04, "bonafide")]]
    assert loss_of(segments, whole, balance=True) == pytest.approx((softplus(1) + softplus(-2)) / 2, rel=1e-6)


@pytest.mark.parametrize("given, message", [
    ({"balance": True}, "resolutions: name the segments"), ({"resolutions": (20, 20)}, "names one twice"),
    ({"resolutions": (20,), "segment_weight": 0.0}, "nothing about them is trained"),
    ({"resolutions": (20,), "weight": (0.0, 0.0)}, "nor all 0"), ({"resolutions": (20,), "gamma": -1.0}, "at least 0")])
def test_options_that_mean_nothing_are_refused(given, message):
    with pytest.raises(OptionError, match=message):
        LocalizationOptions(**given)


@pytest.mark.parametrize("options", [{"loss": "cross_entropy"}, {"loss": "focal", "gamma": 0.5}, {"loss": "focal"},
                                     {"loss": "p2sgrad"}])
def test_a_segment_that_is_surely_right_leaves_gradients_finite(options):
    logits = torch.tensor([[[60.0, 0.0], [0.0, 0.0]]], requires_grad=True)
    criterion = SegmentLoss(LocalizationOptions(resolutions=(20,), **options))
    criterion.of_segments(logits, torch.tensor([[0, 0]]))[0].backward()
    assert logits.grad.isfinite().all() and logits.grad[0, 1].any()
