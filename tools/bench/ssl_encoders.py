"""Seconds, ratios and share of the machine's matrix peak: our encoder and its peers with the same random weights.

Every system runs in turn, several rounds, and medians are printed: other work on the machine then meets all alike.
`one`: 4 x 3 s in a batch. `mixed`: 8 utterances of 3 to 10 s, ours as one exact batch, the peers one file at a time
(in a padded batch their features are wrong). With `--clock cpu` and one thread the processor time counts, which a
busy machine disturbs little.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from tools.bench.ssl_peers import peers_of
from wedefense.frontend.ssl.architecture import Architecture, full_blocks
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.frontend.ssl.products import Linear

LARGE = dict(blocks=full_blocks(24, 16, 4096), dim=1024, total_heads=16, extractor_norm="layer_norm", norm_first=True,
             normalize_waveform=True)
SIZES = {"base": dict(blocks=full_blocks(12, 12, 3072)), "large": LARGE,
         "tiny": dict(blocks=full_blocks(2, 2, 64), dim=32, total_heads=2, conv_layers=((16, 10, 5), *((16, 3, 2),) * 4,
                                                                                      *((16, 2, 2),) * 2))}
LENGTHS = {"one": [48000] * 4, "mixed": [48000, 64000, 80000, 96000, 112000, 128000, 144000, 160000]}


def architecture_of(family: str, size: str) -> Architecture:
    own = {"wavlm": dict(rel_buckets=320), "data2vec": dict(pos_conv_depth=5, pos_conv_kernel=95, norm_first=False,
                                                            extractor_norm="layer_norm", normalize_waveform=True)}
    options = SIZES[size] | own.get(family, {})
    bias = size == "large" and family in ("wav2vec2", "hubert")
    return Architecture(family=family, conv_bias=bias, **options)


def operations(a: Architecture, samples: list[int]) -> float:
    """Multiplications and additions of the products, each utterance by itself, as the network is written down."""
    total = 0.0
    for count in samples:
        inputs = 1
        for channels, kernel, stride in a.conv_layers:
            count = (count - kernel) // stride + 1
            total += count * channels * inputs * kernel
            inputs = channels
        total += count * inputs * a.dim + count * a.dim * a.dim // a.pos_conv_groups * a.pos_conv_kernel
        for block in a.blocks:
            inner = len(block.heads) * a.head_dim
            total += count * (4 * a.dim * inner + 2 * a.dim * block.ff_dim + 2 * count * inner)
    return 2 * total


def matrix_peak(dtype: torch.dtype, device: str, clock: Callable[[], float]) -> float:
    """Operations per second of a large product, by the fastest library there is."""
    layer, x = Linear(2048, 2048).to(device, dtype), torch.randn(2048, 2048, device=device).to(dtype)
    with torch.no_grad():
        return 2 * 2048**3 / min(timed(lambda: layer(x), device, clock) for _ in range(8))


def timed(run: Callable[[], object], device: str, clock: Callable[[], float]) -> float:
    start = clock()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start


def runs_of(encoder: Encoder, peers: list, waves: list[Tensor], backward: bool) -> dict[str, Callable[[], None]]:
    lengths = torch.tensor([len(wav) for wav in waves])
    batch = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)
    same = len(set(lengths.tolist())) == 1

    def finish(layers: list[Tensor]) -> None:
        if backward:
            sum(layer.float().sin().sum() for layer in layers).backward()

    def run_peer(peer) -> None:
        for wav in ([batch] if same else [wav[None] for wav in waves]):
            finish(peer.layers(wav))

    runs = {"ours": lambda: finish(encoder(batch, lengths).layers)}
    return runs | {peer.name: lambda peer=peer: run_peer(peer) for peer in peers}


def rounds(runs: dict[str, Callable], repeats: int, device: str, clock, amp: dict[str, bool], backward: bool) -> dict:
    """Seconds per system, each a list with a value per round."""
    seconds = {name: [] for name in runs}
    for number in range(repeats + 1):
        for name, run in runs.items():
            context = torch.autocast(device, torch.bfloat16) if amp[name] else nullcontext()
            with context, nullcontext() if backward else torch.inference_mode():
                took = timed(run, device, clock)
            if number:  # the first round warms up
                seconds[name].append(took)
    return seconds


def measure(args, length: str, precision: str, reference: dict[str, float]) -> None:
    architecture = architecture_of(args.family, args.size)
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[args.clock]
    encoder = Encoder(architecture)
    peers = [peer.hold_weights_of(encoder) for peer in peers_of(architecture) if peer.name in args.against]
    models = {"ours": encoder} | {peer.name: peer.model for peer in peers}
    half = precision == "bfloat16_weights"
    for model in models.values():
        model.train(args.backward).to(args.device, torch.bfloat16 if half else torch.float32)
    waves = [0.1 * torch.randn(samples, device=args.device) for samples in LENGTHS[length]]
    if half:
        waves = [wav.bfloat16() for wav in waves]
    amp = dict.fromkeys(models, precision == "bfloat16")
    seconds = rounds(runs_of(encoder, peers, waves, args.backward), args.repeats, args.device, clock, amp, args.backward)
    report(args, length, precision, seconds, operations(architecture, LENGTHS[length]), reference, clock)


def report(args, length, precision, seconds, work, reference, clock) -> None:
    work *= 3 if args.backward else 1
    peak = matrix_peak(torch.float32 if precision == "float32" else torch.bfloat16, args.device, clock)
    print(f"\n{args.family} {args.size}, {'forward + backward' if args.backward else 'forward'}, {length}, {precision}: "
          f"{work / 1e9:.0f} GFLOP, peak {peak / 1e9:.0f} GFLOP/s")
    print(f"{'system':<14}{'seconds':>9}{'least':>9}{'ours is':>9}{'of peak':>9}")
    for name, values in seconds.items():
        ratio = statistics.median(value / ours for value, ours in zip(values, seconds["ours"], strict=True))
        middle = statistics.median(values)
        print(f"{name:<14}{middle:9.3f}{min(values):9.3f}{ratio:8.2f}x{work / middle / peak:9.0%}")
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    if precision == "float32":
        reference[length] = middle.get("s3prl")
    elif reference.get(length):
        print(f"ours against s3prl in float32: {reference[length] / middle['ours']:.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="wavlm", choices=["wavlm", "wav2vec2", "hubert", "data2vec"])
    parser.add_argument("--size", default="base", choices=list(SIZES))
    parser.add_argument("--lengths", nargs="+", default=["one", "mixed"], choices=list(LENGTHS))
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"],
                        choices=["float32", "bfloat16", "bfloat16_weights"], help="bfloat16: by autocast")
    parser.add_argument("--against", nargs="*", default=["s3prl", "torchaudio", "transformers"])
    parser.add_argument("--backward", action="store_true", help="training mode, forward and backward")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", default="wall", choices=["wall", "cpu"])
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {args.device}, {args.threads} threads, {args.clock} time")
    reference = {}
    for length in args.lengths:
        for precision in args.precision:
            measure(args, length, precision, reference)
