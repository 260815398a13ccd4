"""The corpus on disk, in the layout of PartialSpoof: audio, protocols, segment labels, and what made them."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import soundfile

from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write

from .make import utterance
from .plan import SETS, Item, frame_labels
from .voice import RATE

MARKER = "mini_corpus.json"
RESOLUTIONS = ("0.01", "0.02", "0.04", "0.08", "0.16", "0.32", "0.64")  # seconds


def settings(seed: int, scale: float) -> dict:
    """What decides about every sample: the seed, the size and the generator's own code."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return {"seed": seed, "scale": scale, "generator": digest.hexdigest()}


def claim(folder: Path, made_with: dict) -> None:
    """Make the folder ours: what other settings made is removed, what we did not make is left alone."""
    marker = folder / MARKER
    if marker.exists():
        if _marker(marker) == made_with:
            return
        for name in (*SETS, "protocols", "segment_labels"):
            shutil.rmtree(folder / name, ignore_errors=True)
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: holds something that this program did not make; give a new folder with --out")
    with atomic_write(marker, "w") as stream:
        json.dump(made_with, stream, indent=1)


def _marker(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def wav_path(folder: Path, item: Item) -> Path:
    return folder / item.set / "con_wav" / f"{item.key}.wav"


def write_utterance(item: Item, folder: Path, seed: int) -> None:
    samples = np.round(utterance(item, seed) * 32767).astype(np.int16)
    with atomic_write(wav_path(folder, item)) as stream:
        soundfile.write(stream, samples, RATE, format="WAV", subtype="PCM_16")


def tables(folder: Path) -> list[Path]:
    """Everything beside the audio."""
    return [protocol_path(folder, name) for name in SETS] + [
        label_path(folder, name, resolution) for name in SETS for resolution in RESOLUTIONS]


def protocol_path(folder: Path, name: str) -> Path:
    return folder / "protocols" / "PartialSpoof_LA_cm_protocols" / f"PartialSpoof.LA.cm.{name}.trl.txt"


def label_path(folder: Path, name: str, resolution: str) -> Path:
    return folder / "segment_labels" / f"{name}_seglab_{resolution}.npy"


def write_tables(folder: Path, items: list[Item], seed: int) -> None:
    """Protocols, and for each resolution a dict from utterances to arrays of '1' (bona fide) and '0'."""
    for name in SETS:
        members = sorted((item for item in items if item.set == name), key=lambda item: (item.speaker, item.key))
        with atomic_write(protocol_path(folder, name), "w") as stream:
            stream.writelines(f"{item.speaker} {item.key} - {item.tag} {item.label}\n" for item in members)
        spans = {}
        for item in members:
            tracks = item.tracks(seed)
            spans[item.key] = tracks.samples, item.fake(tracks, seed)
        for resolution in RESOLUTIONS:
            labels = {key: frame_labels(*span, float(resolution)) for key, span in spans.items()}
            with atomic_write(label_path(folder, name, resolution)) as stream:
                np.save(stream, np.array(labels, dtype=object), allow_pickle=True)
