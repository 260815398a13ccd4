"""A few files in the layout of a corpus, and what must be read from them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile


@dataclass(frozen=True)
class Tree:
    """`audio`: paths; `tables`: path -> text; `read`: set -> key -> "label attack speaker language", `.`: none."""

    audio: tuple[str, ...]
    read: dict[str, dict[str, str]]
    tables: dict[str, str] = field(default_factory=dict)

    def make(self, root: Path) -> None:
        for number, name in enumerate(self.audio):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            wav = 0.1 * np.random.default_rng(number).standard_normal(1600)
            soundfile.write(path, wav, 16000, format="MP3" if path.suffix == ".mp3" else None)
        for name, text in self.tables.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
