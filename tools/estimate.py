"""How long training takes and how much memory it wants, by recipe or by row of the published tables.

    python tools/estimate.py detection/asvspoof5/ssl_mhfa [--upstream wavlm_base_plus wavlm_large]
    python tools/estimate.py --all                              # every row of every published table (egs/rows.txt)
    ... --device h100 | --measured gpu_check.json [--precision bfloat16] [--workers 16] [--loading gpu_check.json]
    python tools/estimate.py --measured gpu_check.json --as h100   # those rates as an entry of tools/rates.yaml

Without rates: the tables in the recipes' READMEs.

    hours   = crops an epoch x epochs x 2 x (multiply-adds forward + twice those that are trained) / throughput
    GiB     = weights, gradients and optimiser states in float32 (as the log says when training starts)
              + what autograd keeps of a crop x crops in a batch, in bfloat16 half of it
    scoring = seconds of audio that pass through the detector in a second

The throughput is assumed: 12 TFLOP/s in float32 and 100 TFLOP/s in bfloat16 (the default there), which is two thirds
and one third of what an A100 is sold for. Reading, augmenting and validating are left out.

With rates that were measured, on a device of tools/rates.yaml or by tools/gpu_check.sh on yours: `computing` divides
the same count by what whole steps of that kind (frozen, fully trained, evaluation) reached there with WavLM and MHFA,
which flatters back-ends of many small operations; `loading` is the processor time of a crop with the recipe's
augmentation, shared by its workers; `hours` is the larger of both, or `computing` where loading was not measured.
`--loading` takes the loading of another check, such as one on the CPU of the machine that will load
(tools/gpu_check.sh --device cpu --sections loader). Validating and scoring are left out.
"""

import argparse
import re
import shlex
import sys
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from torch.utils.flop_counter import FlopCounterMode

from tools.rates import KINDS, Rates, crop_ms, entry, named, of_check
from wedefense.config.frontend import adapters_in
from wedefense.config.loader import load_config
from wedefense.config.recipes import titles
from wedefense.data.layouts import read_layouts
from wedefense.frontend.features import LayerFeatures
from wedefense.frontend.names import CONFORMERS
from wedefense.frontend.ssl.architecture import Architecture
from wedefense.frontend.ssl.zoo import find_model
from wedefense.models.cost import encoder_multiply_adds, multiply_adds, parameters, training_bytes
from wedefense.models.detector import build_detector
from wedefense.utils.errors import InputError, did_you_mean
from wedefense.utils.tables import read_table

TOOLS = Path(__file__).parent
EGS = TOOLS.parent / "egs"
FLOAT32, BFLOAT16 = 12e12, 100e12
ASSUMED = Rates({}, {name: dict.fromkeys(KINDS, speed / 1e12) for name, speed in (("float32", FLOAT32),
                                                                                  ("bfloat16", BFLOAT16))}, {})
TRAINED_ON = {  # row of layouts.yaml or reader of tools/prepare, training set, classes, files; by the corpus's folder
    "partialspoof": ("partialspoof", "train", 2, "wav"), "asvspoof5": ("asvspoof5", "train", 2, "flac"),
    "asvspoof2019": ("asvspoof2019", "train", 2, "flac"), "spoofceleb": ("spoofceleb", "train", 2, "flac"),
    "voxceleb": ("voxceleb", "vox2_dev", 5994, "flac"), "superb": ("voxceleb", "vox1_dev", 1211, "wav"),
    "iemocap": ("iemocap", None, 4, "wav")}
MINI = 315, 2, "wav"  # utterances that egs/detection/mini makes for training
TITLES = ("config", "parameters", "trained", "G multiply-adds / s", "epochs", "hours, float32", "hours, bfloat16",
          "GiB, float32", "GiB, bfloat16", "scoring, bfloat16")
MEASURED_TITLES = ("config", "epochs", "M crops", "computing, h", "loading, h", "hours", "scoring, x real time")
ALL_TITLES = ("table", "row", "recipe", "steps", "M crops", "computing, h", "loading, h", "hours")


@dataclass(frozen=True)
class Work:
    """One training, in numbers."""

    crops: int            # all epochs together
    forward: int          # multiply-adds of a crop
    backward: int
    frozen: bool          # the front-end is
    seconds: float        # of a crop
    workers: int
    data: object          # dataset_args
    suffix: str           # of the corpus's files

    def computing(self, rates: Rates, precision: str) -> float:
        """Hours."""
        speed = rates.speed(precision, "frozen" if self.frozen else "full")
        return 2 * self.crops * (self.forward + self.backward) / speed / 3600

    def loading(self, rates: Rates, workers: int | None) -> float | None:
        """Hours; None where it was not measured."""
        ms = crop_ms(rates, self.data, self.suffix)
        return None if ms is None else self.crops * ms / 1e3 / max(1, workers or self.workers) / 3600

    def scoring(self, rates: Rates, precision: str) -> float:
        """Seconds of audio in a second."""
        return rates.speed(precision, "evaluation") / (2 * self.forward / self.seconds)


def training_set(config: Path) -> tuple[int, int, str]:
    """Utterances, classes and the kind of files; of one's own recordings as stage 1 found them."""
    recipe = config.parents[1]
    corpus = recipe.relative_to(EGS).parts[1]
    if corpus == "mini":
        return MINI
    if corpus not in TRAINED_ON:
        if not (recipe / "data/train/wav.scp").is_file():
            raise InputError(f"{recipe / 'data/train/wav.scp'}: no such file; stage 1 of the recipe writes it, from "
                             "which the size of the training set is told")
        files = list(read_table(recipe / "data/train/wav.scp").values())
        return len(files), len(set(read_table(recipe / "data/train/utt2lab").values())), Path(files[0]).suffix[1:]
    if corpus == "voxceleb" and config.name.startswith("superb"):
        corpus = "superb"
    reader, name, classes, suffix = TRAINED_ON[corpus]
    row = read_layouts(TOOLS / "layouts.yaml").get(reader)
    if row:
        return row.sets[name].count, classes, suffix
    spec = spec_from_file_location(reader, TOOLS / "prepare" / f"{reader}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if name is None:  # four of five sessions, four fifths of them
        return sum(module.OFFICIAL.values()) * 16 // 25, classes, suffix
    return module.OFFICIAL[name], classes, suffix


def kept_bytes(detector: torch.nn.Module, samples: int) -> int:
    """What autograd keeps of one crop for the backward pass, in float32; the parameters are not counted."""
    own = {p.untyped_storage().data_ptr() for p in detector.parameters()}
    kept = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # an output that its own node keeps would keep the node

    detector.train()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        outputs = detector(torch.randn(2, samples), torch.full((2,), samples), torch.zeros(2, dtype=torch.int64))
    del outputs
    return sum(kept.values()) // 2


def described(path: Path, overrides: tuple[str, ...]):
    """The config, and the classes and architecture that its detector is built with."""
    config = load_config(path, list(overrides))
    data = config.dataset_args
    classes = training_set(path)[1] * (3 if data.speed_perturb else 1)
    find = {"ssl": find_model, "conformer": CONFORMERS.get}.get(data.frontend)
    return config, classes, find(data.frontend_options.upstream_args.name).architecture if find else None


def work_of(path: Path, config, detector: torch.nn.Module, forward: int) -> Work:
    data, (utterances, _, suffix) = config.dataset_args, training_set(path)
    samples = data.samples(data.num_frms)
    frozen = data.frontend in ("ssl", "conformer") and not any(
        p.requires_grad for p in detector.frontend.upstream.parameters())
    # through an encoder with adapters gradients pass, and few of weights are wanted
    spared = 2 if frozen else 1 if adapters_in(data.frontend_options).wanted else 0
    backward = 2 * forward - spared * (of_encoder(detector.frontend, samples) if spared else 0)
    crops = (data.sample_num_per_epoch or utterances) * config.num_epochs
    return Work(crops, forward, backward, frozen, samples / data.resample_rate, config.dataloader_args.num_workers,
                data, suffix)


def of_encoder(frontend, samples: int) -> int:
    """Multiply-adds of a frozen encoder."""
    if isinstance(frontend.architecture, Architecture):
        return encoder_multiply_adds(frontend.upstream, samples)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        frontend(torch.randn(1, samples), [samples])
    return counter.get_total_flops() // 2


@cache
def counted(path: Path, overrides: tuple[str, ...]) -> Work:
    """Without memory for the encoder, which is counted by its architecture."""
    config, classes, architecture = described(path, overrides)
    samples = config.dataset_args.samples(config.dataset_args.num_frms)
    torch.manual_seed(0)
    if not isinstance(architecture, Architecture):
        detector = build_detector(config, classes, architecture)
        return work_of(path, config, detector, multiply_adds(detector, samples / config.dataset_args.resample_rate))
    with torch.device("meta"):
        detector = build_detector(config, classes, architecture)
    frontend, rest = detector.frontend, [part.to_empty(device="cpu").eval() for part in
                                         (detector.backend, detector.projection)]
    whole = -(-samples // architecture.stride)
    frames = whole if frontend.s3prl_frames else samples // architecture.stride - 1
    features = LayerFeatures([torch.randn(1, frames, frontend.feat_dim) for _ in range(frontend.num_layers)],
                             torch.tensor([frames]))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        rest[1](rest[0](features))
    forward = encoder_multiply_adds(frontend.upstream, samples) + counter.get_total_flops() // 2
    return work_of(path, config, detector, forward)


def upstream_option(upstream: str | None) -> tuple[str, ...]:
    return () if upstream is None else ("--dataset_args.ssl_args.upstream_args.name", upstream)


def short(value: float) -> str:
    if 0 < value < 0.01:
        return "< 0.01"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def assumed_row(path: Path, upstream: str | None) -> tuple[str, ...]:
    """Of the tables in the recipes' READMEs."""
    config, classes, architecture = described(path, upstream_option(upstream))
    data = config.dataset_args
    torch.manual_seed(0)
    detector = build_detector(config, classes, architecture)
    samples = data.samples(data.num_frms)
    work = work_of(path, config, detector, multiply_adds(detector, samples / data.resample_rate))
    states = training_bytes(detector, config.optimizer)
    kept = kept_bytes(detector, samples) * config.dataloader_args.batch_size
    per_second = work.forward / work.seconds
    hours = [2 * work.crops * (work.forward + work.backward) / speed / 3600 for speed in (FLOAT32, BFLOAT16)]
    return (path.stem + (f" {upstream}" if upstream else ""), f"{parameters(detector) / 1e6:.1f} M",
            f"{parameters(detector, trained_only=True) / 1e6:.1f} M", f"{per_second / 1e9:.2f}", str(config.num_epochs),
            *map(short, hours), *(f"{(states + kept * share) / 2**30:.1f}" for share in (1, 0.5)),
            f"{BFLOAT16 / per_second / 2:,.0f}")


def hours_of(works: list[Work], rates: Rates, precision: str, workers: int | None) -> tuple[str, str, str]:
    """Computing, loading, and the larger of both for each training, summed."""
    computing = [work.computing(rates, precision) for work in works]
    loading = [work.loading(rates, workers) for work in works]
    larger = [max(time, read or 0) for time, read in zip(computing, loading, strict=True)]
    return short(sum(computing)), "-" if None in loading else short(sum(loading)), short(sum(larger))


def measured_row(path: Path, upstream: str | None, rates: Rates, precision: str,
                 workers: int | None) -> tuple[str, ...]:
    work = counted(path, upstream_option(upstream))
    return (path.stem + (f" {upstream}" if upstream else ""), str(load_config(path).num_epochs),
            f"{work.crops / 1e6:.2f}", *hours_of([work], rates, precision, workers),
            f"{work.scoring(rates, precision):,.0f}")


def published_rows() -> dict[tuple[str, str], list[tuple[str, str, str]]]:
    """(table, row) -> its trainings, each (recipe, experiment, command), as egs/rows.txt lists them."""
    rows = {}
    for line in (EGS / "rows.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            table, row, recipe, experiment, command = line.split("|")
            rows.setdefault((table, row), []).append((recipe, experiment, command))
    return rows


def trainings(recipe: str, command: str) -> list[Work]:
    """What a command of a recipe trains: the config of run.sh or the ft_config of run_ft.sh, once for each fold."""
    script, *words = shlex.split(command)
    options = dict(zip((word.removeprefix("--") for word in words[::2]), words[1::2], strict=True))
    if "model" in options:  # scored, not trained
        return []
    of_script = re.search(r'^options="([^"]+)"', (TOOLS / "recipe.sh").read_text(), re.MULTILINE)[1].split()
    overrides = upstream_option(options.get("upstream"))
    for name in [name for name in options if name not in of_script]:
        overrides += (f"--{name}", options[name])
    path = EGS / recipe / options["ft_config" if script == "run_ft.sh" else "config"]
    folds = re.search(r'^.*\bfolds="([\d ]+)"', (EGS / recipe / script).read_text(), re.MULTILINE)
    return [counted(path, overrides)] * (len(folds[1].split()) if folds else 1)


def all_rows(rates: Rates, precision: str, workers: int | None):
    """A row of the output for each row of a published table, and one for everything, each experiment once."""
    once = {}
    for (table, row), steps in published_rows().items():
        works = []
        for recipe, experiment, command in steps:
            once[recipe, experiment] = trainings(recipe, command)
            works += once[recipe, experiment]
        yield (table, row, steps[0][0], str(len(steps)), f"{sum(work.crops for work in works) / 1e6:.2f}",
               *hours_of(works, rates, precision, workers))
    works = [work for trained in once.values() for work in trained]
    yield ("all", "each experiment once", "", str(len(once)), f"{sum(work.crops for work in works) / 1e6:.1f}",
           *hours_of(works, rates, precision, workers))


def rows_of(arguments, rates: Rates | None):
    options = (arguments.precision, arguments.workers)
    if arguments.all:
        yield ALL_TITLES
        yield ("---",) * len(ALL_TITLES)
        yield from all_rows(rates or ASSUMED, *options)
        return
    titles = TITLES if rates is None else MEASURED_TITLES
    yield from (titles, ("---",) * len(titles))
    for path in sorted((EGS / arguments.recipe / "conf").glob("*.yaml")):
        if not arguments.config or path.stem in arguments.config:
            encoders = arguments.upstream if load_config(path).dataset_args.frontend == "ssl" else [None]
            for upstream in encoders:
                yield assumed_row(path, upstream) if rates is None else measured_row(path, upstream, rates, *options)


def _below_egs(text: str) -> str:
    """As typed in any folder: egs/detection/mini/ is detection/mini."""
    return re.sub(r"^(.*/)?egs/", "", text.rstrip("/"))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", type=_below_egs, default="", help="a folder below egs")
    parser.add_argument("--all", action="store_true", help="every row of every published table")
    parser.add_argument("--config", nargs="+", help="these of its configs alone, by their names without .yaml")
    parser.add_argument("--upstream", nargs="+", default=[None], help="each config of frontend: ssl with each of these")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--device", help="by the rates of this device in tools/rates.yaml")
    source.add_argument("--measured", type=Path, metavar="FILE", help="by the rates of this gpu_check.json")
    parser.add_argument("--as", dest="name", help="print the rates of --measured as the entry of a device")
    parser.add_argument("--loading", type=Path, metavar="FILE", help="what a crop costs to load, by this check")
    parser.add_argument("--precision", choices=("bfloat16", "tf32", "float32"), default="bfloat16")
    parser.add_argument("--workers", type=int, help="loading processes (default: each config's num_workers)")
    arguments = parser.parse_args(argv)
    rates = named(arguments.device) if arguments.device else None
    rates = of_check(arguments.measured) if arguments.measured else rates
    if arguments.loading:
        if rates is None:
            raise InputError("--loading: give rates of computing too, --device or --measured")
        rates = replace(rates, cpu_ms=of_check(arguments.loading).cpu_ms)
    if arguments.name:
        if arguments.measured is None:
            raise InputError("--as: give the check too, --measured gpu_check.json")
        print(entry(arguments.name, rates), end="")
        return 0
    if not arguments.all and arguments.recipe not in titles():
        raise InputError(f"'{arguments.recipe}': no recipe of egs{did_you_mean(arguments.recipe, titles())}, or give "
                         "--all")
    if arguments.all or rates is not None:
        print(f"{'Assumed' if rates is None else f'Measured ({rates})'}, {arguments.precision}:\n")
        if not (rates or ASSUMED).cpu_ms:
            print("Loading was not measured: hours are those of computing. Give --loading, see --help.\n")
    for row in rows_of(arguments, rates):
        print(f"| {' | '.join(row)} |", flush=True)
    return 0


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
