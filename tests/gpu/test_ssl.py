"""The native encoder on a GPU: the CPU's features, exact batches in bfloat16, and the speed that was promised."""

import time
from dataclasses import replace

import pytest
import torch

from tools.bench.ssl_encoders import architecture_of
from tools.bench.ssl_peers import of_s3prl
from wedefense.frontend.ssl.architecture import full_blocks
from wedefense.frontend.ssl.encoder import Encoder

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore"),
              pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

LENGTHS = torch.tensor([48000, 16000, 33333, 400])
SHORT = [8000 + 1000 * (7 * i % 25) for i in range(64)]  # 0.5 to 2 s


def encoder_of(family, blocks=3):
    torch.manual_seed(0)
    return Encoder(replace(architecture_of(family, "base"), blocks=full_blocks(blocks, 12, 3072))).eval()


@pytest.fixture(autouse=True)
def full_float32():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


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


def seconds(run, repeats=5):
    times = []
    for _ in range(repeats + 2):
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times[2:])[repeats // 2]


def test_compiled_blocks_give_the_same_features():
    encoder, wav = encoder_of("wavlm").cuda(), 0.1 * torch.randn(2, 32000).cuda()
    with torch.no_grad():
        plain = encoder(wav).layers
        for block in encoder.encoder.transformer.layers:
            block.compile()
        compiled = encoder(wav).layers
    for one, other in zip(plain, compiled, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)


def test_speed_against_s3prl_and_one_file_at_a_time():
    architecture = architecture_of("wavlm", "base")
    encoder = Encoder(architecture)
    peer = of_s3prl(architecture).hold_weights_of(encoder)
    encoder, model = encoder.cuda().eval(), peer.model.cuda().eval()
    wav = 0.1 * torch.randn(32, 48000).cuda()
    waves = [0.1 * torch.randn(1, samples).cuda() for samples in SHORT]
    batch = torch.nn.utils.rnn.pad_sequence([one[0] for one in waves], batch_first=True)
    lengths = SHORT
    with torch.inference_mode():
        theirs = seconds(lambda: peer.layers(wav))
        one_by_one = seconds(lambda: [peer.layers(one) for one in waves])
        encoder, model = encoder.bfloat16(), model
        ours = seconds(lambda: encoder(wav))
        batched = seconds(lambda: encoder(batch, lengths))
    assert theirs / ours >= 3, (theirs, ours)
    assert one_by_one / batched >= 5, (one_by_one, batched)
