"""Seconds of the encoder beside its twin for export, with the same weights: what one encoder for both would cost.

    python tools/bench/twin.py --size base [--backward]

`plain` is `ExportableSSL`, the padded batch by PyTorch's own operations; `laid over` the same with the fast products of
`wedefense.frontend.ssl.products` in the place of its linear layers. The systems run in turns, and the ratio is the
median over the rounds, which other work on the machine disturbs little; by default processor time of one thread counts.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from tools.bench.ssl_encoders import LENGTHS, SIZES, architecture_of
from tools.bench.timing import seconds_of
from wedefense.config.frontend import SSLOptions
from wedefense.detect.export_modules import exportable_frontend
from wedefense.frontend.ssl.frontend import SSLFrontend
from wedefense.frontend.ssl.products import Derived, Linear


class RowsLinear(Linear):
    """The product of rows, for a padded batch."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, -2)).unflatten(0, x.shape[:-1])


def laid_over(module: nn.Module) -> nn.Module:
    """The same weights in modules whose linear layers multiply by the fastest product at hand."""
    module = copy.deepcopy(module, {id(parameter): parameter for parameter in module.parameters()})
    for part in module.modules():
        if type(part) is nn.Linear:
            part.__class__, part.kept = RowsLinear, Derived()
    return module


def runs_of(frontend: nn.Module, samples: list[int], backward: bool) -> dict[str, Callable[[], None]]:
    waves = [0.1 * torch.randn(count) for count in samples]
    batch, lengths = nn.utils.rnn.pad_sequence(waves, batch_first=True), torch.tensor(samples)
    plain = exportable_frontend(frontend)
    systems = {"encoder": (frontend, samples), "plain": (plain, lengths), "laid over": (laid_over(plain), lengths)}

    def finish(layers: list[Tensor]) -> None:
        if backward:
            sum(layer.sin().sum() for layer in layers).backward()

    return {name: lambda module=module, lengths=lengths: finish(module(batch, lengths).layers)
            for name, (module, lengths) in systems.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="wavlm", choices=["wavlm", "wav2vec2", "hubert", "data2vec"])
    parser.add_argument("--size", default="base", choices=list(SIZES))
    parser.add_argument("--lengths", nargs="+", default=["one", "mixed"], choices=list(LENGTHS))
    parser.add_argument("--backward", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", default="cpu", choices=["wall", "cpu"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    clock = {"wall": time.perf_counter, "cpu": time.process_time}[args.clock]
    frontend = SSLFrontend(SSLOptions(), architecture=architecture_of(args.family, args.size)).eval()
    for length in args.lengths:
        seconds: dict[str, list[float]] = {}
        runs = runs_of(frontend, LENGTHS[length], args.backward)
        for number in range(args.repeats + 1):
            for name, run in runs.items():
                with nullcontext() if args.backward else torch.inference_mode():
                    took = seconds_of(run, torch.device("cpu"), clock)
                if number:  # the first round warms up
                    seconds.setdefault(name, []).append(took)
        print(f"\n{args.family} {args.size}, {'forward + backward' if args.backward else 'forward'}, {length}")
        for name, values in seconds.items():
            ratio = statistics.median(value / own for value, own in zip(values, seconds["encoder"], strict=True))
            print(f"{name:<12}{statistics.median(values):9.3f} s{ratio:8.2f} x")


if __name__ == "__main__":
    main()
