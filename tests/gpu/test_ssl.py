"""The native encoder on a GPU: the CPU's features, exact batches in bfloat16; tools/gpu_check.sh shows its speed."""

from dataclasses import replace

import pytest
import torch

from tools.bench.ssl_encoders import architecture_of
from wedefense.frontend.ssl.architecture import full_blocks
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.utils.precision import Precision

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore"),
              pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

LENGTHS = torch.tensor([48000, 16000, 33333, 400])


def encoder_of(family, blocks=3):
    torch.manual_seed(0)
    return Encoder(replace(architecture_of(family, "base"), blocks=full_blocks(blocks, 12, 3072))).eval()


@pytest.fixture(autouse=True)
def full_float32():
    with Precision("float32", torch.device("cuda")).scope():
        yield


@pytest.mark.parametrize("family", ["wavlm", "wav2vec2", "data2vec"])
def test_features_are_those_of_the_cpu(family):
    encoder, wav = encoder_of(family), 0.1 * torch.randn(len(LENGTHS), int(LENGTHS.max()))
    with torch.no_grad():
        on_cpu = encoder(wav, LENGTHS)
        on_gpu = encoder.cuda()(wav.cuda(), LENGTHS)
        alone = encoder(wav[1:2, :16000].cuda())
    assert on_gpu.lengths.tolist() == on_cpu.lengths.tolist()
    for here, there, one in zip(on_cpu.layers, on_gpu.layers, alone.layers, strict=True):
        torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-3)
        torch.testing.assert_close(there[1:2, :one.shape[1]], one, rtol=0, atol=1e-4)


def test_gradients_and_padding_in_bfloat16():
    encoder, wav = encoder_of("wavlm").cuda().train(), 0.1 * torch.randn(len(LENGTHS), int(LENGTHS.max())).cuda()
    with torch.autocast("cuda", torch.bfloat16):
        encoder(wav, LENGTHS).layers[-1].float().sin().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())
    encoder.eval().bfloat16()
    with torch.no_grad():
        together, alone = encoder(wav, LENGTHS), encoder(wav[2:3, :33333])
    for layer, one in zip(together.layers, alone.layers, strict=True):
        assert (layer[2:3, :one.shape[1]] - one).abs().max() < 0.1


def test_compiled_blocks_give_the_same_features():
    encoder, wav = encoder_of("wavlm").cuda(), 0.1 * torch.randn(2, 32000).cuda()
    with torch.no_grad():
        plain = encoder(wav).layers
        for block in encoder.encoder.transformer.layers:
            block.compile()
        compiled = encoder(wav).layers
    for one, other in zip(plain, compiled, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)
