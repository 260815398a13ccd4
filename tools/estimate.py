"""How long training takes and how much memory it wants: the tables in the recipes' READMEs. An estimate, not measured.

    python tools/estimate.py detection/asvspoof5/ssl_mhfa [--upstream wavlm_base_plus wavlm_large]

    hours   = crops an epoch x epochs x 2 x (multiply-adds forward + twice those that are trained) / throughput
    GiB     = weights, gradients and optimiser states in float32 (as the log says when training starts)
              + what autograd keeps of a crop x crops in a batch, in bfloat16 half of it
    scoring = seconds of audio that pass through the detector in a second

The throughput is an assumption: 12 TFLOP/s in float32 and 100 TFLOP/s in bfloat16 (the default there), which is two
thirds and one third of what an A100 is sold for. Reading, augmenting and validating are left out.
"""

import argparse
import importlib.util
from pathlib import Path

import torch

from wedefense.config.loader import load_config
from wedefense.frontend.ssl.names import find_model
from wedefense.models.cost import encoder_multiply_adds, multiply_adds, parameters, training_bytes
from wedefense.models.detector import build_detector

TOOLS = Path(__file__).parent
FLOAT32, BFLOAT16 = 12e12, 100e12
TRAINED_ON = {  # reader of tools/prepare, its training set, classes; by the folder of the recipe's corpus
    "partialspoof": ("partialspoof", "train", 2), "asvspoof5": ("asvspoof5", "train", 2),
    "asvspoof2019": ("asvspoof2019", "train", 2), "spoofceleb": ("spoofceleb", "train", 2),
    "voxceleb": ("voxceleb", "vox2_dev", 5994), "superb": ("voxceleb", "vox1_dev", 1211),
    "iemocap": ("iemocap", None, 4)}
TITLES = ("config", "parameters", "trained", "G multiply-adds / s", "epochs", "hours, float32", "hours, bfloat16",
          "GiB, float32", "GiB, bfloat16", "scoring, bfloat16")


def training_set(config: Path) -> tuple[int, int]:
    """Utterances and classes."""
    corpus = config.parents[2].name
    if corpus == "voxceleb" and config.name.startswith("superb"):
        corpus = "superb"
    reader, name, classes = TRAINED_ON[corpus]
    spec = importlib.util.spec_from_file_location(reader, TOOLS / "prepare" / f"{reader}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if name is None:  # four of five sessions, four fifths of them
        return sum(module.OFFICIAL.values()) * 16 // 25, classes
    return module.OFFICIAL[name], classes


def kept_bytes(detector: torch.nn.Module, samples: int) -> int:
    """What autograd keeps of one crop for the backward pass, in float32; the parameters are not counted."""
    own = {p.untyped_storage().data_ptr() for p in detector.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    detector.train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        logits = detector(torch.randn(2, samples), torch.full((2,), samples), torch.zeros(2, dtype=torch.int64))
    del logits
    return sum(kept.values()) // 2


def estimate(path: Path, upstream: str | None = None) -> tuple[str, ...]:
    """A row of the table."""
    utterances, classes = training_set(path)
    config = load_config(path, [] if upstream is None else ["--dataset_args.ssl_args.upstream_args.name", upstream])
    data = config.dataset_args
    ssl = data.frontend == "ssl"
    if data.speed_perturb:
        classes *= 3
    architecture = find_model(data.frontend_args.upstream_args.name).architecture if ssl else None
    torch.manual_seed(0)
    detector = build_detector(config, classes, architecture)
    samples = data.samples(data.num_frms)
    forward = multiply_adds(detector, samples / data.resample_rate)
    frozen = ssl and not any(p.requires_grad for p in detector.frontend.parameters())
    backward = 2 * (forward - (encoder_multiply_adds(detector.frontend.upstream, samples) if frozen else 0))
    crops = (data.sample_num_per_epoch or utterances) * config.num_epochs
    states = training_bytes(detector, config.optimizer)
    kept = kept_bytes(detector, samples) * config.dataloader_args.batch_size
    per_second = forward * data.resample_rate / samples
    hours = [2 * crops * (forward + backward) / speed / 3600 for speed in (FLOAT32, BFLOAT16)]
    return (path.stem + (f" {upstream}" if upstream else ""), f"{parameters(detector) / 1e6:.1f} M",
            f"{parameters(detector, trained_only=True) / 1e6:.1f} M", f"{per_second / 1e9:.2f}", str(config.num_epochs),
            *(f"{value:.2g}" if value < 10 else f"{value:.0f}" for value in hours),
            *(f"{(states + kept * share) / 2**30:.1f}" for share in (1, 0.5)), f"{BFLOAT16 / per_second / 2:,.0f}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", help="a folder below egs")
    parser.add_argument("--config", nargs="+", help="these of its configs alone, by their names without .yaml")
    parser.add_argument("--upstream", nargs="+", default=[None], help="each config with each of these")
    arguments = parser.parse_args(argv)
    paths = sorted((TOOLS.parent / "egs" / arguments.recipe / "conf").glob("*.yaml"))
    rows = [TITLES, ("---",) * len(TITLES)]
    rows += [estimate(path, upstream) for path in paths if not arguments.config or path.stem in arguments.config
             for upstream in arguments.upstream]
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)
    return 0


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
