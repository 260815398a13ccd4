"""Seconds, ratios and share of the machine's matrix peak: our encoder and its peers with the same random weights.

Every system runs in turn, several rounds, and medians are printed: other work on the machine then meets all alike.
`one`: 4 x 3 s in a batch. `mixed`: 8 utterances of 3 to 10 s, ours as one exact batch, the peers one file at a time
(in a padded batch their features are wrong). On a CPU with AMX, convolutions under autocast are in float32, the peers'
too, who lose by it (`wedefense/utils/convolutions.py`). With `--clock cpu` and one thread the processor time counts,
which a busy machine disturbs little.
"""

import argparse
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from tools.bench.ssl_peers import peers_of
from tools.bench.timing import matrix_peak, precision, seconds_of
from wedefense.frontend.ssl.architecture import Architecture, full_blocks
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.models.cost import encoder_multiply_adds

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
    """Multiplications and additions of the encoder's products, each utterance by itself, as the network is written
    down (see `wedefense.models.cost`): no padding, no norms, no activations, no softmax."""
    with torch.device("meta"):
        encoder = Encoder(a)
    return 2.0 * sum(count * encoder_multiply_adds(encoder, length) for length, count in Counter(samples).items())


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


def rounds(runs: dict[str, Callable], repeats: int, device: torch.device, clock, kind: str, backward: bool) -> dict:
    """Seconds per system, each a list with a value per round."""
    seconds = {name: [] for name in runs}
    for number in range(repeats + 1):
        for name, run in runs.items():
            with nullcontext() if backward else torch.inference_mode(), precision(kind, device) as forward, forward():
                took = seconds_of(run, device, clock)
            if number:  # the first round warms up
                seconds[name].append(took)
    return seconds


def measure(args, length: str, kind: str, reference: dict[str, float]) -> None:
    device = torch.device(args.device)
    architecture = architecture_of(args.family, args.size)
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[args.clock]
    encoder = Encoder(architecture)
    peers = [peer.hold_weights_of(encoder) for peer in peers_of(architecture, args.against)]
    models = {"ours": encoder} | {peer.name: peer.model for peer in peers}
    half = kind == "bfloat16_weights"
    for model in models.values():
        model.train(args.backward).to(args.device, torch.bfloat16 if half else torch.float32)
    waves = [0.1 * torch.randn(samples, device=args.device) for samples in LENGTHS[length]]
    if half:
        waves = [wav.bfloat16() for wav in waves]
    computed = "float32" if half else kind
    runs = runs_of(encoder, peers, waves, args.backward)
    seconds = rounds(runs, args.repeats, device, clock, computed, args.backward)
    with precision(computed, device):
        peak = matrix_peak(torch.bfloat16 if kind.startswith("bfloat16") else torch.float32, device, clock)
    report(args, length, kind, seconds, operations(architecture, LENGTHS[length]), reference, peak)


def report(args, length, kind, seconds, work, reference, peak) -> None:
    work *= 3 if args.backward else 1
    print(f"\n{args.family} {args.size}, {'forward + backward' if args.backward else 'forward'}, {length}, {kind}: "
          f"{work / 1e9:.0f} GFLOP, peak {peak / 1e9:.0f} GFLOP/s")
    print(f"{'system':<14}{'seconds':>9}{'least':>9}{'ours is':>9}{'of peak':>9}")
    for name, values in seconds.items():
        ratio = statistics.median(value / ours for value, ours in zip(values, seconds["ours"], strict=True))
        middle = statistics.median(values)
        print(f"{name:<14}{middle:9.3f}{min(values):9.3f}{ratio:8.2f}x{work / middle / peak:9.0%}")
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    if kind == "float32":
        reference[length] = middle.get("s3prl")
    elif reference.get(length):
        print(f"ours against s3prl in float32: {reference[length] / middle['ours']:.2f}x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="wavlm", choices=["wavlm", "wav2vec2", "hubert", "data2vec"])
    parser.add_argument("--size", default="base", choices=list(SIZES))
    parser.add_argument("--lengths", nargs="+", default=["one", "mixed"], choices=list(LENGTHS))
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"],
                        choices=["float32", "tf32", "bfloat16", "bfloat16_weights"], help="bfloat16: by autocast")
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
        for kind in args.precision:
            measure(args, length, kind, reference)
