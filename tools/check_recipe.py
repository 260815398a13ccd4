"""Does a recipe's config run? Two steps, a validation, a save and a resume, with random weights and made-up audio.

    python tools/check_recipe.py egs/detection/partialspoof/ssl_mhfa/conf/*.yaml              # at full size
    python tools/check_recipe.py --width small --ranks 2 egs/*/*/*/conf/*.yaml                # of every recipe, on CPUs
    python tools/check_recipe.py --batch 0 CONFIG [--dataloader_args.num_workers 8 ...]       # the config's own batch

No pretrained file, no corpus and no network are needed: the encoder is built from what is known of its architecture,
with the dropouts, layer drop and norms that it has. `--width small` makes it narrow and shallow and crops short,
nothing else. Prints a line for each config as soon as it is through: parameters, trained ones, loss, seconds for a
step, the most memory that a rank took, sizes of its files. Exit code 1 where one failed; `--json FILE` has it all, also
of a check that was stopped.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import numpy as np
import soundfile

from wedefense.config.loader import load_config
from wedefense.metrics.catalogue import DETECTION, METRICS
from wedefense.utils.files import atomic_write

RATE = 16_000
SMALL = {"embed_dim": 16, "head_nb": 4, "compression_dim": 16, "m_channels": 4, "bottleneck_dim": 8, "hid_dim": 16,
         "stats_dim": 24}
SMALL_FRAMES = {10.0: 60, 20.0: 40}  # by frame shift
WHISPER = {"tiny": (384, 4, 6, 1536), "base": (512, 6, 8, 2048), "small": (768, 12, 12, 3072),
           "medium": (1024, 24, 16, 4096), "large": (1280, 32, 20, 5120)}  # width, blocks, heads, hidden units
STEPS, SPEAKERS, DEV = 2, 4, 4


@dataclass
class Result:
    config: str
    ranks: int
    device: str = ""
    error: str = ""
    parameters: int = 0
    trained: int = 0
    loss: float = 0.0
    seconds: float = 0.0      # of a step, the first of each epoch left out where there are others
    memory: int = 0           # bytes, the most of a rank
    last: int = 0             # bytes of last.ckpt
    weights: int = 0          # bytes of an epoch's weights

    def line(self) -> str:
        if self.error:
            return f"{self.config:<70} {self.ranks} FAILED {self.error}"
        return (f"{self.config:<70} {self.ranks} {self.parameters / 1e6:9.3f} {self.trained / 1e6:9.3f} "
                f"{self.loss:8.4f} {self.seconds:8.3f} {self.memory / 2**30:7.2f} {self.weights / 2**20:9.2f} "
                f"{self.last / 2**20:9.2f}")


HEADING = (f"{'config':<70} r {'M param':>9} {'trained':>9} {'loss':>8} {'s/step':>8} {'GiB':>7} {'MiB epoch':>9} "
           f"{'MiB last':>9}")


def architecture_of(config, small: bool):
    """What the encoder that a config names looks like; None for front-ends without one."""
    from wedefense.config.frontend import FRONTENDS
    from wedefense.frontend.names import CONFORMERS
    from wedefense.frontend.ssl.zoo import find_model, narrow
    from wedefense.frontend.whisper import whisper_architecture
    from wedefense.utils.errors import InputError

    data = config.dataset_args
    if FRONTENDS.row(data.frontend).self_contained:
        return None
    name = data.frontend_options.upstream_args.name
    if data.frontend == "whisper":
        size = name.split("_")[1]
        width, blocks, heads, hidden = WHISPER[size]
        found = whisper_architecture({"model_type": "whisper", "d_model": width, "encoder_layers": blocks,
                                      "encoder_attention_heads": heads, "encoder_ffn_dim": hidden,
                                      "num_mel_bins": 128 if name.endswith("v3") else 80}, name)
    elif (model := CONFORMERS.get(name)) is not None:
        narrow_one = {"num_blocks": 3, "dim": 64, "heads": 4, "ff_dim": 128, "shortening_channels": 16}
        return replace(model.architecture, **narrow_one) if small else model.architecture
    elif (model := find_model(name)) is not None:
        found = model.architecture
    else:
        raise InputError(f"nothing is known of the architecture of '{name}'; name an encoder that `wedefense info` "
                         "lists")
    return narrow(found) if small else found


def sized(config, arguments) -> list[str]:
    """Options that make a config one of this check."""
    options = ["--num_epochs", "1", "--num_avg", "1", "--save_epoch_interval", "1", "--validate_interval", "1",
               "--dataset_args.cache", "none", "--compile", "False",
               "--dataset_args.filter", "False", "--early_stop_patience", "0", "--log_batch_interval", "1"]
    if arguments.batch:
        options += ["--dataloader_args.batch_size", str(arguments.batch), "--dataloader_args.num_workers", "0",
                    "--feature_cache", "0"]
    if arguments.width == "small":
        data, known = config.dataset_args, vars(config.model_args)
        frames = min(data.num_frms, SMALL_FRAMES.get(data.frontend_options.frame_shift, 40))
        options += ["--dataset_args.num_frms", str(frames), "--dataset_args.eval_frms", "0"]
        options += [word for name, size in SMALL.items() if known.get(name, -1) > size
                    for word in (f"--model_args.{name}", str(size))]
        if config.target_params or config.target_macs:
            options += ["--target_params", "null", "--target_macs", "null", "--target_sparsity", "0.5"]
    return options + arguments.overrides


def classes(config) -> list[str]:
    weight = config.loss_args.weight
    if isinstance(weight, dict):
        return list(weight)
    spoofing = METRICS[config.monitor].of == DETECTION or config.localization_args.wanted
    return ["bonafide", "spoof"] if spoofing else [f"c{i}" for i in range(SPEAKERS)]


def make_audio(folder: Path, config, ranks: int) -> dict[str, str]:
    """Training and development lists, noises and rooms for a config, as options."""
    data, names = config.dataset_args, classes(config)
    seconds = 2.0 if data.whole_utt else data.samples(data.num_frms) / RATE + 0.2
    count = STEPS * config.accum_grad * ranks * config.dataloader_args.batch_size
    rng, options = np.random.default_rng(5), {"dataset_args.sample_num_per_epoch": str(count)}
    for name, utterances in (("train", max(count, 2 * len(names))), ("dev", max(DEV, len(names)))):
        (folder / name).mkdir(parents=True)
        lines = []
        for number in range(utterances):
            path = folder / name / f"{name}{number}.wav"
            soundfile.write(path, 0.1 * rng.standard_normal(int(RATE * seconds * (1 + 0.1 * (number % 3)))), RATE)
            told = {"key": path.stem, "wav": str(path), "lab": names[number % len(names)],
                    "dur": soundfile.info(path).duration}
            if config.localization_args.wanted:  # the middle of a spoof is fake
                edges = [0.0, told["dur"] / 3, told["dur"] * 2 / 3, told["dur"]]
                kinds = ["bonafide", names[number % len(names)], "bonafide"]
                told["spans"] = [list(span) for span in zip(edges, edges[1:], kinds)]
            lines.append(json.dumps(told))
        (folder / name / "raw.list").write_text("\n".join(lines) + "\n")
        options["train_data" if name == "train" else "val_data"] = str(folder / name / "raw.list")
    for key, kinds in (("noise_data", ("noise", "music", "speech")), ("reverb_data", ("room",))):
        (folder / key).mkdir()
        for kind in kinds:
            wav = rng.standard_normal(RATE) * np.exp(-np.arange(RATE) / (300 if kind == "room" else 1e9))
            soundfile.write(folder / key / f"{kind}-free-{kind}-0.wav", 0.1 * wav, RATE)
        options[key] = str(folder / key)
    return options


class Memory:
    """The most that this process has held since it was made: on a GPU of its memory, else of the machine's."""

    def __init__(self, device):
        import torch

        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif Path("/proc/self/clear_refs").exists():
            Path("/proc/self/clear_refs").write_text("5")

    def most(self) -> int:
        import resource

        import torch

        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        status = Path("/proc/self/status")
        lines = status.read_text().splitlines() if status.exists() else []
        found = [line.split()[1] for line in lines if line.startswith("VmHWM")]
        return 1024 * int(found[0] if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def check(path: str, world, arguments, folder: Path) -> Result:
    """Train an epoch of two steps, go on from what was saved for another."""
    from wedefense.experiment.folder import ExperimentFolder
    from wedefense.train.run import build_trainer
    from wedefense.utils.distributed import barrier, gather

    result, memory = Result(path, world.size, str(world.device)), Memory(world.device)
    first = load_config(path, sized(load_config(path, arguments.overrides), arguments))
    if world.is_main:
        audio = make_audio(folder, first, world.size)
        (folder / "exp/models").mkdir(parents=True)
        (folder / "options.json").write_text(json.dumps(audio))
    barrier()
    given = json.loads((folder / "options.json").read_text()) | {"exp_dir": str(folder / "exp")}
    given |= {"gpus": json.dumps(list(range(world.size)))}
    options = [word for key, value in given.items() for word in (f"--{key}", value)]
    options = sized(load_config(path, arguments.overrides), arguments) + options
    for epochs in (1, 2):  # the second goes on from the first
        config = load_config(path, [*options, "--num_epochs", str(epochs)])
        trainer = build_trainer(config, world, architecture_of(config, arguments.width == "small"))
        assert trainer.steps_per_epoch == STEPS, f"{trainer.steps_per_epoch} steps an epoch"
        trainer.fit()
        assert trainer.epoch == epochs and len(trainer.history) == epochs, "nothing was resumed"
    rows, into = trainer.history, ExperimentFolder(folder / "exp")
    assert all(np.isfinite(value) for row in rows for value in row.values()), rows
    parameters = list(trainer.module.parameters())
    result.parameters = sum(p.numel() for p in parameters)
    result.trained = sum(p.numel() for p in parameters if p.requires_grad)
    result.loss, result.seconds = rows[-1]["train_loss"], rows[-1]["seconds"] / STEPS
    result.last, result.weights = into.last.stat().st_size, into.epoch(2).stat().st_size
    result.memory = max(gather(memory.most()))  # at last: what passes on rank 0 has passed on all
    return result


def child(arguments) -> None:
    """On each rank: one config after another; rank 0 writes what came of each."""
    from wedefense.utils import distributed
    from wedefense.utils.log import setup_logging

    world = distributed.start(tuple(range(arguments.ranks)), arguments.device)
    setup_logging(None, 1)
    for path in arguments.configs:
        folder = Path(arguments.work) / str(arguments.configs.index(path))
        try:
            result = check(path, world, arguments, folder)
        except Exception as error:
            if os.environ.get("CHECK_RECIPE_TRACEBACK"):
                traceback.print_exc()
            lines = str(error).splitlines() or [""]
            result = Result(path, world.size, error=f"{type(error).__name__}: {lines[0]}")
        if world.is_main or result.error:
            with open(arguments.child, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(vars(result)) + "\n")
        if result.error and world.size > 1:  # the others wait for this rank; who started them starts anew
            os._exit(3)
        distributed.barrier()  # no rank is at the next before this one is told: what is told is in order
    distributed.stop()


class Told:
    """What came of the configs so far, in their order: a line and an entry of `--json` for each as it comes."""

    def __init__(self, arguments):
        self.results: list[Result] = []
        self._count, self._file = len(arguments.configs), arguments.json
        self._write()
        print(" " * len(self._number()), HEADING, flush=True)

    def add(self, result: Result) -> None:
        self.results.append(result)
        self._write()
        print(self._number(), result.line(), flush=True)

    def _write(self) -> None:
        if self._file:
            with atomic_write(self._file, "w") as stream:
                stream.write(json.dumps([vars(result) for result in self.results], indent=1) + "\n")

    def _number(self) -> str:
        return f"{len(self.results):{len(str(self._count))}}/{self._count}"


def written(path: Path) -> list[Result]:
    """What the ranks have told; of a config that failed on one of them, its error."""
    found: dict[str, Result] = {}
    for line in path.read_text().splitlines(keepends=True) if path.exists() else []:
        if line.endswith("\n"):  # else it is being written
            result = Result(**json.loads(line))
            if result.config not in found or not found[result.config].error:
                found[result.config] = result
    return list(found.values())


def run(arguments, told: Told) -> None:
    """Every config, in as few processes as fail."""
    while left := arguments.configs[len(told.results):]:
        before = len(told.results)
        with tempfile.TemporaryDirectory(dir=arguments.work) as work, tempfile.TemporaryFile("w+") as said:
            path = Path(work) / "results"
            command = [sys.executable]
            if arguments.ranks > 1:
                launcher = Path(__file__).with_name("launch.py")
                command += [str(launcher), "--standalone", "--nproc_per_node", str(arguments.ranks)]
            command += [str(Path(__file__).resolve()), *left, "--child", str(path), "--work", work, "--ranks",
                        str(arguments.ranks), "--width", arguments.width, "--device", arguments.device, "--batch",
                        str(arguments.batch), *arguments.overrides]
            environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // arguments.ranks)), **os.environ}
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
            try:
                while process.poll() is None:
                    time.sleep(0.1)
                    for result in written(path)[len(told.results) - before:len(left) - 1]:  # the last may still fail,
                        told.add(result)                                                    # as the process ends
            finally:
                process.terminate()
                process.wait()
            found = written(path)
            if not found or process.returncode and not any(result.error for result in found):
                said.seek(0)
                last = (said.read().strip().splitlines() or ["no word"])[-1]
                lost = min(len(found), len(left) - 1)
                error = f"ended with {process.returncode}: {last}"
                found[lost:] = [Result(left[lost], arguments.ranks, error=error)]
            for result in found[len(told.results) - before:]:
                told.add(result)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="+")
    parser.add_argument("--width", choices=["full", "small"], default="full")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--batch", type=int, default=2, help="utterances of a rank's batch; 0: as the config says")
    parser.add_argument("--json", metavar="FILE", help="write the results there")
    parser.add_argument("--work", help="folder for what is made meanwhile (default: the system's)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments, arguments_of_config = parser.parse_known_args(argv)
    arguments.overrides, arguments.configs = arguments_of_config, list(dict.fromkeys(arguments.configs))
    if arguments.child:
        child(arguments)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    told = Told(arguments)
    try:
        run(arguments, told)
    except KeyboardInterrupt:
        print(f"stopped after {len(told.results)} of {len(arguments.configs)} configs")
        raise
    failed = sum(bool(result.error) for result in told.results)
    print(f"{len(told.results) - failed} of {len(told.results)} configs pass on {arguments.ranks} "
          f"rank{'s' if arguments.ranks > 1 else ''} at {arguments.width} width")
    return 1 if failed else 0


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
