"""The cut encoder computes what the gated one computed, and has exactly as many parameters as was counted."""

import itertools

import pytest
import torch

from tests.pruning.helpers import (
    FAMILIES,
    LENGTHS,
    UNITS,
    as_set,
    batch,
    difference,
    encoder_of,
    gated,
    randomly,
    set_gates,
)
from wedefense.pruning.gates import attach, gated_sites
from wedefense.pruning.size import Size, decided_openness
from wedefense.pruning.surgery import cut
from wedefense.utils.errors import InputError


def parameters(encoder) -> int:
    return sum(p.numel() for p in encoder.parameters())


def assert_exact(encoder):
    counted, probable = Size(encoder).of(decided_openness), Size(encoder).of(as_set)
    small = cut(encoder)
    assert counted == probable == parameters(small)
    assert difference(encoder, small) < 1e-5
    assert not any("log_alpha" in name for name in small.state_dict())
    return small


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_any_units_cut_equal_the_same_units_gated(family, seed):
    encoder = gated(family)
    set_gates(encoder, randomly(seed, share=(0.5, 0.75, 0.2)[seed]))
    whole = encoder_of(family)
    assert difference(encoder, whole) > 0.01
    assert_exact(encoder)


@pytest.mark.parametrize("family", ["wavlm_large", "whisper"])
def test_an_encoder_that_stops_early_is_cut_to_one_that_does(family):
    encoder, whole = gated(family), gated(family)
    encoder.stop_after(2)
    for each in (encoder, whole):
        set_gates(each, randomly(0))
    small, wav = assert_exact(encoder), batch()
    assert small.depth == 2 and small.state_dict().keys() == cut(whole).state_dict().keys()
    for one, other in zip(small(wav, LENGTHS).layers, whole(wav, LENGTHS).layers[:3], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["wavlm", "wavlm_large"])
def test_every_subset_of_unit_kinds(family):
    for size in range(1, len(UNITS) + 1):
        for units in itertools.combinations(UNITS, size):
            encoder = gated(family, units)
            set_gates(encoder, randomly(size, 0.6))
            assert {site.unit for site in gated_sites(encoder)} == set(units)
            assert_exact(encoder)


@pytest.mark.parametrize("family", ["wav2vec2", "wav2vec2_large", "wavlm", "wavlm_large", "data2vec"])
@pytest.mark.parametrize("unit, layers", [("head", (0,)), ("head", (0, 1, 2)), ("interm", (1,)), ("conv", (0,)),
                                          ("conv", (6,)), ("conv", range(7)), ("attlayer", (0,)), ("ffnlayer", (2,))])
def test_a_layer_with_every_unit_closed_or_one_channel_left(family, unit, layers):
    """Alone and with half of the other units closed too."""
    for units in ((unit,), ()):
        encoder = gated(family, units)
        others = randomly(5, 0.7)

        def decide(site, others=others):
            if site.unit == unit and site.layer in layers:
                return torch.arange(site.count) == (7 if unit == "conv" else -1)
            return others(site)

        set_gates(encoder, decide)
        small = assert_exact(encoder)
        shape = small.architecture
        left = {"head": [len(block.heads) for block in shape.blocks], "attlayer": [len(b.heads) for b in shape.blocks],
                "interm": [b.ff_dim for b in shape.blocks], "ffnlayer": [b.ff_dim for b in shape.blocks],
                "conv": [channels - 1 for channels, _, _ in shape.conv_layers]}[unit]
        assert not any(left[i] for i in layers)


@pytest.mark.parametrize("family", FAMILIES)
def test_everything_open_is_the_whole_encoder_but_for_the_values(family):
    encoder = gated(family)
    set_gates(encoder, lambda site: torch.ones(site.count, dtype=torch.bool))
    small = assert_exact(encoder)
    new = set(small.state_dict()) - set(encoder_of(family).state_dict())
    assert new <= {"feature_extractor.dummy_weight"}
    assert Size(encoder).original == parameters(encoder_of(family))


@pytest.mark.parametrize("family", ["wavlm", "wavlm_large"])
def test_a_cut_encoder_is_gated_and_cut_again(family):
    encoder = gated(family)
    set_gates(encoder, randomly(1, 0.7))
    small = cut(encoder)
    attach(small)
    set_gates(small, randomly(2, 0.7))
    assert parameters(assert_exact(small)) < parameters(cut(encoder))


def test_the_frozen_extractor_stays_frozen():
    encoder = gated("wavlm", ("head", "interm"))
    encoder.freeze_extractor = True
    assert not any(p.requires_grad for p in cut(encoder).feature_extractor.parameters())


def test_units_an_encoder_lacks_are_refused():
    with pytest.raises(InputError, match="no 'conv' units"):
        attach(encoder_of("whisper"), ("conv",))
    frozen = encoder_of("wavlm")
    frozen.freeze_extractor = True
    with pytest.raises(InputError, match="freeze_extractor"):
        attach(frozen, ("conv",))
    attach(frozen)
    assert {site.unit for site in gated_sites(frozen)} == set(UNITS) - {"conv"}
