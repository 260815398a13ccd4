"""A tiny corpus for tests: tones with and without a buzz, a few seconds in all."""

import json
from pathlib import Path

import numpy as np
import soundfile
import yaml

RATE = 16000


def make_list(folder: Path, name: str = "train", utterances: int = 24, seconds: float = 0.5, seed: int = 0) -> Path:
    """`folder/<name>/raw.list` and `utt2lab`, half bona fide (noisy tones), half spoof (with a buzz)."""
    rng = np.random.default_rng([seed, len(name)])
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    lines, labels = [], []
    for number in range(utterances):
        samples = int(RATE * seconds * rng.uniform(0.8, 1.6))
        time = np.arange(samples) / RATE
        wav = 0.1 * np.sin(2 * np.pi * rng.uniform(100, 300) * time) + 0.02 * rng.standard_normal(samples)
        label = "spoof" if number % 2 else "bonafide"
        if label == "spoof":
            wav += 0.03 * np.sign(np.sin(2 * np.pi * 1000 * time))
        key = f"{name}_{number:04d}"
        path = target / f"{key}.wav"
        soundfile.write(path, wav, RATE)
        lines.append({"key": key, "wav": str(path), "lab": label, "dur": samples / RATE})
        labels.append(f"{key} {label}\n")
    (target / "raw.list").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (target / "wav.scp").write_text("".join(f"{line['key']} {line['wav']}\n" for line in lines))
    (target / "utt2lab").write_text("".join(labels))
    return target / "raw.list"


def make_partial(folder: Path, name: str = "train", utterances: int = 24, seed: int = 0) -> Path:
    """The same, whose spoofs buzz from somewhere to somewhere else, as `segments` and the list say."""
    path = make_list(folder, name, 0)
    rng, records = np.random.default_rng([seed, len(name)]), []
    for number in range(utterances):
        samples, key = int(RATE * rng.uniform(0.4, 0.8)), f"{name}_{number:04d}"
        time, edges = np.arange(samples) / RATE, [0.0, samples / RATE]
        wav = 0.1 * np.sin(2 * np.pi * rng.uniform(100, 300) * time) + 0.02 * rng.standard_normal(samples)
        if number % 2:
            edges[1:1] = np.sort(rng.uniform(0.05, edges[1] - 0.05, 2)).round(3).tolist()
            within = (time >= edges[1]) & (time < edges[2])
            wav += 0.05 * within * np.sign(np.sin(2 * np.pi * 1000 * time))
        soundfile.write(path.parent / f"{key}.wav", wav, RATE)
        spans = [[start, end, ("bonafide", "spoof")[i % 2]] for i, (start, end) in enumerate(zip(edges, edges[1:]))]
        records.append({"key": key, "wav": str(path.parent / f"{key}.wav"), "lab": ("bonafide", "spoof")[number % 2],
                        "dur": edges[-1], "spans": spans})
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    for table, column in (("wav.scp", "wav"), ("utt2lab", "lab")):
        (path.parent / table).write_text("".join(f"{record['key']} {record[column]}\n" for record in records))
    (path.parent / "segments").write_text("".join(f"{record['key']} {start} {end} {label}\n" for record in records
                                                  for start, end, label in record["spans"]))
    return path


def write_config(folder: Path, **changes) -> Path:
    """A config that trains in seconds: fbank, mean pooling, a linear head."""
    config = {
        "exp_dir": str(folder / "exp"), "gpus": [0], "num_avg": 2, "seed": 7, "num_epochs": 4,
        "log_batch_interval": 2,
        "dataloader_args": {"batch_size": 4, "num_workers": 1, "prefetch_factor": 2},
        "dataset_args": {"num_frms": 40, "frontend": "fbank", "fbank_args": {"num_mel_bins": 20, "dither": 1.0}},
        "model": "SSL_BACKEND_MEAN", "model_args": {"embed_dim": 16},
        "projection_args": {"project_type": "linear"},
        "optimizer": "AdamW", "scheduler_args": {"initial_lr": 0.01, "final_lr": 0.001, "warm_up_epoch": 0},
    }
    for dotted, value in changes.items():
        section, keys = config, dotted.split("__")
        for key in keys[:-1]:
            section = section.setdefault(key, {})
        section[keys[-1]] = value
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path
