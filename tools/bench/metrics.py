"""How long an evaluation of 680,000 trials takes: the whole process, and 1,000 bootstrap resamples.

    python tools/bench/metrics.py [--trials 680000] [--resamples 1000]
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def write_trials(folder: Path, trials: int) -> None:
    """Scores and keys in the layout of ASVspoof 5, keys in another order than the scores."""
    rng = np.random.default_rng(0)
    is_bonafide = rng.random(trials) < 0.2
    scores = np.where(is_bonafide, 2.0, -2.0) + 2 * rng.standard_normal(trials)
    names = [f"E_{i:010d}" for i in rng.permutation(trials)]
    order = rng.permutation(trials).tolist()
    labels = np.where(is_bonafide, "bonafide", "spoof").tolist()
    tables = {
        "scores.tsv": (zip(names, map(repr, scores.tolist())), "filename\tcm-score\n"),
        "keys.tsv": (((names[i], labels[i]) for i in order), "filename\tcm-label\n"),
        "utt2attack": (((names[i], "-" if is_bonafide[i] else f"A{17 + i % 16}") for i in order), ""),
        "utt2spk": (((names[i], f"E_{i % 700:04d}") for i in order), ""),
    }
    for name, (rows, header) in tables.items():
        (folder / name).write_text(header + "".join(f"{key}\t{value}\n" for key, value in rows))


def timed(folder: Path, *options: str) -> tuple[float, float]:
    """(wall, CPU) seconds of one `wedefense evaluate`."""
    command = [sys.executable, "-m", "wedefense.bin.evaluate", "--scores", str(folder / "scores.tsv"),
               "--keys", str(folder / "keys.tsv"), "--json", str(folder / "out.json"), *options]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=680_000)
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_trials(folder, options.trials)
        by_attack = ("--meta", str(folder / "utt2attack"))
        by_speaker = ("--groups", str(folder / "utt2spk"))
        resampled = ("--bootstrap", str(options.resamples))
        for title, arguments in (("evaluate", ()), ("evaluate, by attack", by_attack),
                                 (f"evaluate, {options.resamples} resamples of trials", resampled),
                                 (f"evaluate, {options.resamples} resamples of speakers", resampled + by_speaker)):
            wall, cpu = timed(folder, *arguments)
            print(f"{options.trials} trials, {title}: {wall:.2f} s ({cpu:.2f} s of CPU)")


if __name__ == "__main__":
    main()
