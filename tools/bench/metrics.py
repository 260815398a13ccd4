"""How long an evaluation of 680,000 trials takes: the whole process, and 1,000 bootstrap resamples.

    python tools/bench/metrics.py [--trials 680000] [--resamples 1000]
"""

import argparse
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
    labels = [("spoof", "bonafide")[b] for b in is_bonafide]
    tables = {
        "scores.tsv": (zip(names, map(repr, scores.tolist())), "filename\tcm-score\n"),
        "keys.tsv": (((names[i], labels[i]) for i in order), "filename\tcm-label\n"),
        "utt2attack": (((names[i], "-" if is_bonafide[i] else f"A{17 + i % 16}") for i in order), ""),
        "utt2spk": (((names[i], f"E_{i % 700:04d}") for i in order), ""),
    }
    for name, (rows, header) in tables.items():
        (folder / name).write_text(header + "".join(f"{key}\t{value}\n" for key, value in rows))


def timed(folder: Path, *options: str) -> float:
    command = [sys.executable, "-m", "wedefense.bin.evaluate", "--scores", str(folder / "scores.tsv"),
               "--keys", str(folder / "keys.tsv"), "--json", str(folder / "out.json"), *options]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


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
            print(f"{options.trials} trials, {title}: {timed(folder, *arguments):.2f} s")


if __name__ == "__main__":
    main()
