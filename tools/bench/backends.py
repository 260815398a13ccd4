"""MHFA that streams the layer mix against the same equations on a stacked tensor: seconds and peak memory.

    python tools/bench/backends.py [--layers 13 --batch 128 --frames 150 --dim 768 --repeats 5 --device cpu]

Each figure comes from a process of its own: the best of the repeats. Peak memory is what forward and backward
need beyond the layers and, with a trainable front-end, the gradients accumulated in them.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import torch
from torch import Tensor

from wedefense.config.models import MHFAOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.models.mhfa import MHFA

GIB = 2**30


def stacked(model: MHFA, features: LayerFeatures) -> Tensor:
    """Equation 1 as it is written: all layers in one (batch, dim, frames, layers) tensor."""
    x = torch.stack(features.layers, dim=-1).transpose(1, 2)
    keys = (x * model.weights_k.softmax(dim=0)).sum(dim=-1).transpose(1, 2)
    values = (x * model.weights_v.softmax(dim=0)).sum(dim=-1).transpose(1, 2)
    attention = model.att_head(model.cmp_linear_k(keys)).softmax(dim=1)             # (batch, frames, heads)
    pooled = (model.cmp_linear_v(values)[:, :, None] * attention[..., None]).sum(1)  # (batch, heads, compression)
    return model.pooling_fc(pooled.flatten(1))


def measure(args) -> dict:
    torch.manual_seed(0)
    model = MHFA(MHFAOptions(head_nb=32), args.dim, args.layers).to(args.device)
    layers = [torch.randn(args.batch, args.frames, args.dim, device=args.device) for _ in range(args.layers)]
    for layer in layers:
        if args.trainable:
            layer.requires_grad_().grad = torch.zeros_like(layer)
    features = LayerFeatures(layers, torch.full((args.batch,), args.frames, device=args.device))
    forward = model if args.form == "streamed" else (lambda x: stacked(model, x))
    before = _peak(args.device)
    seconds = []
    for _ in range(args.repeats + 1):
        started = time.perf_counter()
        forward(features).square().mean().backward()
        if args.device != "cpu":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return {"seconds": min(seconds[1:]), "gib": (_peak(args.device) - before) / GIB}


def _peak(device: str) -> int:
    """Bytes: the highest so far."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return torch.cuda.max_memory_allocated()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"layers": 13, "batch": 128, "frames": 150, "dim": 768, "repeats": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--form", choices=("streamed", "stacked"), help="measure one form and print JSON")
    parser.add_argument("--trainable", action="store_true", help="with --form: the layers take gradients")
    args = parser.parse_args()
    if args.form:
        print(json.dumps(measure(args)))
        return
    print(f"{args.layers} layers x {args.batch} x {args.frames} x {args.dim}, forward + backward, {args.device}, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'front-end':<11}{'form':<10}{'seconds':>9}{'peak GiB':>10}")
    sizes = [f"--{name}={getattr(args, name)}" for name in ("layers", "batch", "frames", "dim", "repeats", "device")]
    for front_end in ("frozen", "trainable"):
        for form in ("stacked", "streamed"):
            extra = ["--trainable"] if front_end == "trainable" else []
            command = [sys.executable, __file__, *sizes, "--form", form, *extra]
            result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"{front_end:<11}{form:<10}{result['seconds']:>9.3f}{result['gib']:>10.3f}", flush=True)


if __name__ == "__main__":
    main()
