"""What an experiment notes of its SSL front-end: the shape, so that it loads without the pretrained file."""

import json
import os
from pathlib import Path

from wedefense.config.tree import from_builtin
from wedefense.config.typed import build, to_builtin
from wedefense.frontend.conformer.architecture import ConformerArchitecture
from wedefense.frontend.ssl.architecture import Architecture
from wedefense.utils.errors import blamed_on
from wedefense.utils.files import atomic_write
from wedefense.utils.json_file import read_json

FILE = "frontend.json"


def record_architecture(folder: str | os.PathLike, architecture: Architecture | ConformerArchitecture) -> None:
    with atomic_write(Path(folder) / FILE, "w") as stream:
        json.dump(to_builtin(architecture), stream)


def recorded_architecture(folder: str | os.PathLike) -> Architecture | ConformerArchitecture | None:
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    content = read_json(path, "stage 3 writes it")
    with blamed_on(path, "shape of an encoder"):
        kind = ConformerArchitecture if content.get("family") == "conformer" else Architecture
        return build(kind, from_builtin(content, str(path)), source=str(path))


def architecture_of_weights(weights: Path) -> Architecture | ConformerArchitecture | None:
    """Of the experiment that weights lie in, or in a folder of which."""
    found = map(recorded_architecture, weights.absolute().parents[:2])
    return next((architecture for architecture in found if architecture is not None), None)
