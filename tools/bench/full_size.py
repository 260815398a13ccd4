"""The frozen row of PartialSpoof at full size, on synthetic audio: seconds for an epoch, hours of audio in a second.

    python tools/bench/full_size.py --device cuda [--epochs 2] [--share 0.1] [--minutes 5] [--num_workers 14]
    python tools/bench/full_size.py --device cpu --share 0.001 --model wavlm_tiny   # does it work?

Makes as many files as the corpus has (25,380 to train, 71,237 to score; `--validate`: 24,844 of dev too), checks and
lists them as stages 1 and 2 do, trains the recipe's config on random weights of its encoder, then averages and embeds.
Further options are keys of the config: --dataloader_args.batch_size 64. Training is in bfloat16 on a GPU; the recipe
itself says float32, as released: `--precision float32` computes that, several times as long.

Each figure is printed when it is known. `--minutes` bounds training and embedding each; epochs that ended by then
count.

The corpus's own durations are not in this repository: they are drawn log-normal with a mean of 3.45 s (the training
set decoded as int16 takes about 2.8 GB) and an assumed spread of 0.4 in the logarithm, between 0.6 and 20 s. Who has
the corpus gives its prepared folder, `--durations data`, whose <set>/utt2dur say them. Files are stretches of a few
noises and tones in FLAC (`--audio wav`: as the corpus comes), every one its own file.
"""

import argparse
import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import numpy as np
import soundfile

from wedefense.data.layouts import read_layouts
from wedefense.data.prepare import Entry, write_data_dir
from wedefense.experiment.folder import ExperimentFolder
from wedefense.utils.checks import PRECISIONS
from wedefense.utils.errors import InputError
from wedefense.utils.parallel_map import default_workers, parallel_map
from wedefense.utils.tables import read_table

RATE, SEED = 16_000, 5
MEAN, SPREAD, SHORTEST, LONGEST = 3.45, 0.4, 0.6, 20.0  # seconds; of the logarithm
SOURCES, SOURCE_SECONDS = 8, 60
STOPPED = "stopped: the time is over"
CONFIG = ROOT / "egs/detection/partialspoof/ssl_mhfa/conf/MHFA_wavlmplus.yaml"


def official() -> dict[str, int]:
    """Utterances of each set, as the row of the corpus says."""
    row = read_layouts(ROOT / "tools/layouts.yaml")["partialspoof"]
    return {name: a_set.count for name, a_set in row.sets.items()}


def durations(name: str, count: int, given: Path | None) -> np.ndarray:
    """(count,) seconds of a set: drawn, or those of the corpus (every so many of them for a share)."""
    if given is None:
        rng = np.random.default_rng([SEED, *name.encode()])
        drawn = rng.lognormal(np.log(MEAN) - SPREAD**2 / 2, SPREAD, count)
        return drawn.clip(SHORTEST, LONGEST)
    real = np.array([float(value) for value in read_table(given / name / "utt2dur").values()])
    return real[np.linspace(0, len(real) - 1, count).round().astype(int)]


def source(number: int) -> np.ndarray:
    """A minute of coloured noise that swells and ebbs like speech, or of tones with such noise, int16."""
    rng = np.random.default_rng([SEED, number])
    seconds = np.arange(SOURCE_SECONDS * RATE) / RATE
    wav = 0.3 * np.convolve(rng.standard_normal(len(seconds)), np.hanning(12) / 6, "same")
    if number % 2:
        pitch = 100 + 40 * number + 10 * np.sin(2 * np.pi * 0.7 * seconds)
        wav = 0.3 * wav + sum(np.sin(k * 2 * np.pi * np.cumsum(pitch) / RATE) / k for k in (1, 2, 3, 5))
    wav *= 0.2 * (1.1 + np.sin(2 * np.pi * 3 * seconds))
    return np.round(32767 * wav.clip(-1, 1)).astype(np.int16)


def write_part(part: tuple[list[Path], np.ndarray, int]) -> None:
    """Some of the files, a stretch of a source each."""
    paths, seconds, first = part
    sources = [source(number) for number in range(SOURCES)]
    for i, (path, length) in enumerate(zip(paths, seconds), first):
        samples, start = round(length * RATE), i * 7919 % ((SOURCE_SECONDS - int(LONGEST) - 1) * RATE)
        soundfile.write(path, sources[i % SOURCES][start:start + samples], RATE)


def make_set(folder: Path, name: str, count: int, arguments) -> float:
    """Audio, tables and list of a set; the hours of audio."""
    audio = folder / "audio" / name
    audio.mkdir(parents=True)
    lengths = durations(name, count, arguments.durations)
    paths = [audio / f"{name}_{i:07d}.{arguments.audio}" for i in range(count)]
    parts = [(paths[i:i + 500], lengths[i:i + 500], i) for i in range(0, count, 500)]
    parallel_map(write_part, parts, arguments.num_workers, f"making {name}", "part")
    entries = [Entry(path.stem, "bonafide" if i % 10 == 0 else "spoof", path) for i, path in enumerate(paths)]
    write_data_dir(folder / "data" / name, entries, arguments.num_workers, allow_problems=False)
    command(folder, "wedefense.bin.make_list", "--data_dir", str(folder / "data" / name),
            "--num_workers", str(arguments.num_workers))
    return float(lengths.sum()) / 3600


def command(folder: Path, module: str, *options: str, minutes: float = math.inf) -> str:
    """What a command of the toolkit said, as far as it came in so many minutes; full_size.log has it meanwhile."""
    log = folder / "full_size.log"
    with open(log, "ab") as stream:
        begin = stream.tell()
        process = subprocess.Popen([sys.executable, "-m", module, *options], cwd=ROOT, stdout=stream,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code = process.wait(None if minutes == math.inf else 60 * minutes)
        except subprocess.TimeoutExpired:
            code = None
        finally:  # loaders too
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    said = log.read_bytes()[begin:].decode(errors="replace")
    if code:
        raise InputError(f"{module} ended with exit code {code}:\n{said[-2000:]}")
    return said if code == 0 else f"{said}\n{STOPPED}"


def random_weights(name: str, path: Path) -> None:
    """An encoder nobody trained, in a file that `path_or_url` takes."""
    import torch

    from wedefense.frontend.ssl.encoder import Encoder
    from wedefense.frontend.ssl.zoo import find_model

    model = find_model(name)
    if model is None:
        raise InputError(f"--model {name}: unknown; name one of the native encoders, such as wavlm_base_plus")
    torch.manual_seed(SEED)
    torch.save(Encoder(model.architecture).state_dict(), path)


def settings_of(folder: Path, arguments, overrides: list[str]) -> list[str]:
    data = folder / "data"
    settings = ["--config", str(CONFIG), "--exp_dir", str(folder / "exp"), "--train_data", str(data / "train/raw.list"),
                "--train_label", str(data / "train/utt2lab"), "--num_epochs", str(arguments.epochs), "--num_avg", "1",
                "--gpus", "[0]", "--precision", arguments.precision,
                "--dataloader_args.num_workers", str(arguments.num_workers),
                "--dataset_args.ssl_args.upstream_args.name", arguments.model,
                "--dataset_args.ssl_args.upstream_args.path_or_url", str(folder / f"{arguments.model}.pt")]
    if arguments.validate:
        settings += ["--val_data", str(data / "dev/raw.list"), "--val_label", str(data / "dev/utt2lab")]
    return settings + overrides


def measure(folder: Path, arguments, overrides: list[str]) -> None:
    counts = official()
    chosen = [name for name in counts if name != "dev" or arguments.validate]
    started, hours = time.monotonic(), {}
    for name in chosen:
        hours[name] = make_set(folder, name, max(20, round(arguments.share * counts[name])), arguments)
    durations = "their own durations" if arguments.durations else f"log-normal durations, mean {MEAN} s"
    print(f"made in {time.monotonic() - started:.0f} s: "
          + ", ".join(f"{name} {value:.2f} h" for name, value in hours.items())
          + f" of {arguments.audio}, {durations}", flush=True)
    random_weights(arguments.model, folder / f"{arguments.model}.pt")
    settings = settings_of(folder, arguments, overrides)
    if train(folder, settings, arguments, hours["train"]):
        command(folder, "wedefense.bin.average", *settings)
        embed(folder, arguments, hours["eval"])


def train(folder: Path, settings: list[str], arguments, hours: float) -> bool:
    """Whether all epochs ended; prints how long each took."""
    started = time.monotonic()
    said = command(folder, "wedefense.bin.train", *settings, "--device", arguments.device, minutes=arguments.minutes)
    seconds, history = time.monotonic() - started, ExperimentFolder(folder / "exp").history
    rows = json.loads(history.read_text())["rows"] if history.exists() else []
    precision = re.search(r"precision: (.*)", said)
    outside = seconds - sum(row["seconds"] for row in rows)
    print(f"training{', ' + precision[1] if precision else ''}: {seconds:.1f} s, of which {outside:.1f} s outside the "
          f"epochs that ended; {hours:.2f} h of files an epoch{', then validation' if arguments.validate else ''}")
    for row in rows:
        print(f"  epoch {row['epoch']}: {row['seconds']} s, {hours / max(row['seconds'], 0.1):.4f} audio h / s")
    if STOPPED in said:
        last = re.split(r"[\r\n]+", said.removesuffix(STOPPED).strip())[-1]
        print(f"  stopped after {arguments.minutes:g} minutes, in epoch {len(rows) + 1}; "
              f"said last: {last[:160] or 'nothing'}")
    return STOPPED not in said


def embed(folder: Path, arguments, hours: float) -> None:
    started = time.monotonic()
    said = command(folder, "wedefense.bin.embed", "--exp_dir", str(folder / "exp"), "--device", arguments.device,
                   "--sets", "eval", "--data", str(folder / "data/eval/raw.list"), minutes=arguments.minutes)
    found = re.search(r"(\d+) embeddings in ([\d.]+) s", said)
    if found is None:
        print(f"embedding eval: stopped after {arguments.minutes:g} minutes")
        return
    print(f"embedding eval: {found[1]} files in {found[2]} s ({time.monotonic() - started:.1f} s with its start), "
          f"{hours / max(float(found[2]), 0.1):.4f} audio h / s")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--share", type=float, default=1.0, help="of each set's files")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--model", default="wavlm_base_plus")
    parser.add_argument("--audio", choices=("flac", "wav"), default="flac")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    parser.add_argument("--minutes", type=float, default=math.inf, help="that training and embedding may take, each")
    parser.add_argument("--validate", action="store_true", help="on dev after every epoch, as the recipe does")
    parser.add_argument("--durations", type=Path, help="the data folder of the corpus itself")
    parser.add_argument("--num_workers", type=int, default=default_workers(), help="to make, to check and to load")
    parser.add_argument("--folder", type=Path, help="a new folder that is kept (default: one that is removed)")
    arguments, overrides = parser.parse_known_args(argv)
    if not 0 < arguments.share <= 1 or arguments.epochs < 1:
        raise InputError("--share must be above 0 and at most 1, --epochs at least 1")
    if arguments.folder is not None and arguments.folder.exists():
        raise InputError(f"--folder {arguments.folder}: exists; give a new one")
    folder = arguments.folder.absolute() if arguments.folder else Path(tempfile.mkdtemp(prefix="full_size"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        measure(folder, arguments, overrides)
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
