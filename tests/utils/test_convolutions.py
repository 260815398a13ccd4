"""Convolutions under autocast are right on every processor, those with AMX among them."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from wedefense.frontend import features  # noqa: F401  as every model imports it
from wedefense.utils import convolutions
from wedefense.utils.precision import resolve

CPU = torch.device("cpu")
CASES = {  # wrong with AMX but for the last two
    "groups": ((2, 24, 21), (24, 6, 16), {"padding": 8, "groups": 4}),
    "long groups": ((2, 64, 149), (64, 4, 128), {"padding": 64, "groups": 16}),
    "a column": ((1, 16, 80, 1), (32, 16, 3, 3), {"padding": 1, "stride": 2}),
    "columns": ((4, 48, 80, 1), (48, 48, 3, 3), {"padding": 1, "stride": 2}),
    "same": ((2, 24, 21), (24, 6, 15), {"padding": "same", "groups": 4, "dilation": 2}),
    "images": ((2, 3, 9, 11), (6, 3, 3, 3), {"padding": "same"})}


def results(case, autocast):
    """What comes of it, and the gradients of x, weight and bias."""
    shape, size, options = CASES[case]
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(part, generator=generator).bfloat16().float().requires_grad_()
             for part in (shape, size, size[:1])]
    convolve = F.conv1d if len(shape) == 3 else F.conv2d
    with resolve("bfloat16" if autocast else "float32", CPU).autocast():
        y = convolve(*given, **options)
    y.backward(torch.randn(y.shape, generator=generator).to(y.dtype))
    assert y.dtype == (torch.bfloat16 if autocast else torch.float32)
    return [y.detach().float(), *(x.grad for x in given)]


@pytest.fixture
def with_amx(monkeypatch):
    """Convolutions as they are on a processor with AMX."""
    if convolutions.has_amx():
        yield convolutions.keep_from_amx()
    else:
        monkeypatch.setattr(convolutions, "has_amx", lambda: True)
        yield convolutions.keep_from_amx.__wrapped__()


def judge(case):
    for one, expected in zip(results(case, autocast=True), results(case, autocast=False), strict=True):
        assert (one - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_under_autocast_are_those_of_float32(case):
    judge(case)


@pytest.mark.parametrize("case", CASES)
def test_and_so_they_are_with_amx(with_amx, case):
    judge(case)


def test_only_the_results_are_rounded_with_amx(with_amx):
    x, conv = torch.randn(2, 4, 9), nn.Conv1d(4, 8, 3)
    with torch.autocast("cpu", torch.bfloat16):
        found = conv(x), conv(x.bfloat16()), F.conv1d(x.double(), conv.weight.double())
    assert torch.equal(found[0], conv(x).bfloat16()) and torch.equal(found[1], conv(x.bfloat16().float()).bfloat16())
    assert found[2].dtype == torch.float64 and conv(x).dtype == torch.float32


@pytest.mark.parametrize("model", ["wedefense.frontend.ssl.encoder", "wedefense.frontend.whisper",
                                   "wedefense.models.res2net", "wedefense.models.lcnn"])
def test_every_model_keeps_its_convolutions_from_amx(model):
    subprocess.run([sys.executable, "-c", "from wedefense.utils import convolutions\nasked = []\n"
                    f"convolutions.has_amx = lambda: asked.append(1)\nimport {model}\nassert asked"], check=True)


def test_nothing_is_said_of_it():
    said = subprocess.run([sys.executable, "-W", "always", "-c", "from wedefense.utils import convolutions\n"
                           "convolutions.has_amx = lambda: True\nassert convolutions.keep_from_amx() is not None"],
                          capture_output=True, text=True)
    assert (said.returncode, said.stderr) == (0, "")
