"""Long recordings: attention some queries at a time is attention, and nothing grows with the square of the length."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.frontend.ssl.test_encoder import FAMILIES, batch_of, difference, encoder_of
from wedefense.frontend.ssl import attention
from wedefense.frontend.ssl.packing import Packing, Span

LENGTHS = torch.tensor([70000, 50000, 69000])


@pytest.fixture
def few_scores(monkeypatch):
    """So few that everything here is long."""
    def few():
        monkeypatch.setattr(attention, "MOST_SCORES", 2**12)
        monkeypatch.setattr(attention, "PART_ON_CPU", 2**12)

    return few


class Largest(TorchDispatchMode):
    """The most values in a tensor that is made."""

    def __init__(self):
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        made = function(*arguments, **(keywords or {}))
        for tensor in made if isinstance(made, (tuple, list)) else [made]:
            if isinstance(tensor, torch.Tensor):
                self.values = max(self.values, tensor.numel())
        return made


@pytest.mark.parametrize("family", ["base", "wavlm", "wavlm_large", "pruned"])
def test_some_queries_at_a_time_give_the_same_features(family, few_scores):
    encoder, wav = encoder_of(FAMILIES[family]), batch_of(LENGTHS)
    with torch.no_grad():
        whole = encoder(wav, LENGTHS).layers
        few_scores()
        assert difference(whole, encoder(wav, LENGTHS).layers) < 1e-5
    encoder(wav, LENGTHS).layers[-1].sum().backward()  # in training all at once, as before


def test_some_queries_at_a_time_with_a_mask(few_scores):
    """As on a GPU, where a batch attends as a whole."""
    encoder = encoder_of(FAMILIES["wavlm"])
    layer, counts = encoder.encoder.transformer.layers[0].attention, [200, 130, 7]
    packing, x = Packing.of(counts, torch.device("cpu")), torch.randn(sum(counts), 24)

    def attended():
        with torch.no_grad():
            return layer(x, [Span(packing, packing._key_mask(torch.float32), layer.rel_attn_embed(200))])

    whole = attended()
    few_scores()
    assert isinstance(layer.rel_attn_embed(200), torch.Tensor)  # with gradients
    with torch.no_grad():
        assert attention.queries_at_once(3, 4, 200, x.device) == attention.STEP
        assert isinstance(layer.rel_attn_embed(200), attention.BiasRows)
    torch.testing.assert_close(attended(), whole, atol=1e-6, rtol=0)


def test_rows_of_the_position_bias_by_hand():
    bias = attention.BiasRows(torch.arange(5.0)[None])  # distances -2 .. 2 of three frames
    assert bias[:, :].tolist() == [[[2, 3, 4], [1, 2, 3], [0, 1, 2]]]
    assert bias[[0], slice(1, 3)].tolist() == [[[1, 2, 3], [0, 1, 2]]]


@pytest.mark.parametrize("family", ["wavlm", "data2vec"])
def test_memory_grows_with_the_length_and_not_with_its_square(family, few_scores):
    few_scores()
    encoder, largest = encoder_of(replace(FAMILIES[family], conv_layers=((4, 10, 10), (4, 2, 2)))), {}
    with torch.no_grad():
        for frames in (1000, 2000):
            with Largest() as mode:
                encoder(torch.randn(1, 20 * frames))
            largest[frames] = mode.values
    assert largest[2000] < 2.2 * largest[1000] and largest[2000] < 2000**2
