"""How much faster a pruned base-size encoder is, beside how much less it computes.

The encoder is cut to several sparsities with the units spread evenly (each layer keeps the same share of channels,
heads and feed-forward units), and timed against the whole one in one process, in turns.

    python tools/bench/pruning.py --threads 2 --seconds 3 --batch 4
"""

import argparse
import time

import torch

from wedefense.frontend.ssl.encoder import Encoder
from wedefense.frontend.ssl.zoo import find_model
from wedefense.pruning.gates import attach, gated_sites
from wedefense.pruning.settle import settle
from wedefense.pruning.size import Size
from wedefense.pruning.surgery import cut, without_gates

UNITS = ("conv", "head", "interm")


def evenly_cut(name: str, sparsity: float, units: tuple[str, ...]):
    """-> the whole encoder and the cut one."""
    torch.manual_seed(0)
    encoder = Encoder(find_model(name).architecture).eval()
    attach(encoder, units)
    with torch.no_grad():
        for site in gated_sites(encoder):
            share = torch.linspace(-3, 3, site.count)
            site.gate.log_alpha.copy_(share[torch.randperm(site.count)])
    settle(encoder, Size(encoder), sparsity)
    return without_gates(encoder), cut(encoder)


@torch.no_grad()
def least_times(encoders, wav, rounds: int) -> list[float]:
    """The least time of each, in turns, so that a busy moment hits all alike."""
    times = [[] for _ in encoders]
    for encoder in encoders:
        encoder(wav)
    for _ in range(rounds):
        for encoder, own in zip(encoders, times):
            if wav.is_cuda:
                torch.cuda.synchronize()
            start = time.perf_counter()
            encoder(wav)
            if wav.is_cuda:
                torch.cuda.synchronize()
            own.append(time.perf_counter() - start)
    return [min(own) for own in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="wavlm_base")
    parser.add_argument("--sparsities", default="0.3,0.5,0.7")
    parser.add_argument("--units", default=",".join(UNITS))
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    units = tuple(arguments.units.split(","))
    sparsities = [float(text) for text in arguments.sparsities.split(",")]
    pairs = [evenly_cut(arguments.model, sparsity, units) for sparsity in sparsities]
    encoders = [encoder.to(arguments.device) for encoder in (pairs[0][0], *(small for _, small in pairs))]
    wav = 0.1 * torch.randn(arguments.batch, int(16000 * arguments.seconds), device=arguments.device)
    times = least_times(encoders, wav, arguments.rounds)
    sizes = [Size(encoder).original for encoder in encoders]
    macs = [Size(encoder, "multiply-adds").original for encoder in encoders]
    print(f"{arguments.model}, {arguments.batch} x {arguments.seconds:g} s, {arguments.device}, "
          f"{torch.get_num_threads()} threads, float32")
    print(f"{'removed':>8} {'M params':>9} {'G multiply-adds':>16} {'work falls':>11} {'ms':>8} {'time falls':>11} "
          f"{'time fall / work fall':>22}")
    for size, work, seconds in zip(sizes, macs, times):
        row = f"{1 - size / sizes[0]:>8.1%} {size / 1e6:>9.2f} {work / 1e9:>16.2f}"
        less_work, less_time = 1 - work / macs[0], 1 - seconds / times[0]
        falls = (f"{less_work:.1%}", f"{less_time:.1%}", f"{less_time / less_work:.2f}") if less_work else ("",) * 3
        print(f"{row} {falls[0]:>11} {1e3 * seconds:>8.0f} {falls[1]:>11} {falls[2]:>22}")


if __name__ == "__main__":
    main()
