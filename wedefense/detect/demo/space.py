"""A folder that a hub runs as a Space: the page of `wedefense demo` for one detector."""

import importlib.metadata
import json
import os
from pathlib import Path

import yaml

from wedefense import __version__
from wedefense.detect import published
from wedefense.detect.demo.page import named_models
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.share import About, share
from wedefense.experiment.folder import ExperimentFolder
from wedefense.report.hub_card import README
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.hub import parse_name

APP, REQUIREMENTS, MODEL = "app.py", "requirements.txt", "model"
_GRADIO, _PYTHON = "6.31.0", "3.11"  # where none is installed here; what a Space runs
_OF_FOLDER = '''from pathlib import Path

import wedefense

wedefense.demo({{{name}: str(Path(__file__).parent / "{model}")}})
'''
_OF_NAME = '''import wedefense

wedefense.demo({{{name}: {name}}})
'''
_TEXT = """
# {title}

A page that takes a recording, from a file or the microphone, and shows what the detector {which} says of it:
the score in words, the decision, where it is fake, and where the detector looks.{licence}

It runs anywhere: `pip install -r {requirements}`, then `python {app}`.
"""


def write_space(model: LoadedDetector, source: str, out: str | os.PathLike, about: About, package: str = "",
                revision: str | None = None) -> tuple[list[str], Path]:
    """`app.py`, what it needs and a README with what hubs read of a Space; a line for each, and the README's path.

    A detector that is here goes along as a shared folder; `source`, if it is a hub id or a published name, is fetched
    by the Space itself. `package`: the URL that pip installs this package from, instead of an index.
    """
    model.require_bonafide()
    folder = Path(out)
    if ExperimentFolder(folder).models.exists():
        raise InputError(f"{out}: an experiment lies here; choose another folder for the Space")
    here = Path(source).expanduser().exists()
    (name, _), = named_models([source]).items()
    if not here and revision:
        name = f"{source}@{revision}"
    lines = share(model, folder / MODEL, about)[0] if here else []
    folder.mkdir(parents=True, exist_ok=True)
    app = (_OF_FOLDER if here else _OF_NAME).format(name=json.dumps(name, ensure_ascii=False), model=MODEL)
    needed = f"wedefense[demo] @ {package}" if package else f"wedefense[demo]=={__version__}"
    for file, text in ((APP, app), (REQUIREMENTS, f"{needed}\n"), (README, _readme(name, source, here, about))):
        with atomic_write(folder / file, "w") as stream:
            stream.write(text)
    return [*lines, f"`{APP}`, `{REQUIREMENTS}` ({needed})"], folder / README


def _readme(name: str, source: str, here: bool, about: About) -> str:
    title, known = f"WeDefense {Path(name).name}", None if here else published.find(source)
    front = {"title": title, "emoji": "🎧", "colorFrom": "blue", "colorTo": "red", "sdk": "gradio",
             "sdk_version": _gradio(), "python_version": _PYTHON, "app_file": APP, "pinned": False,
             "short_description": "Is a recording of speech bona fide or fake?"}
    if about.license:
        front["license"] = about.license
    of_hub = None if here or known else parse_name(source)
    if hub_id := known.hub_id if known else of_hub and of_hub.hub_id:
        front["models"] = [hub_id]
    which = f"in `{MODEL}/`, whose card has its results," if here else f"`{name}`"
    text = _TEXT.format(title=title, which=which, requirements=REQUIREMENTS, app=APP,
                        licence=f"\nLicence of its weights: {known.licence}." if known else "")
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n{text}"


def _gradio() -> str:
    """The version that the page was looked at with here."""
    try:
        return importlib.metadata.version("gradio")
    except importlib.metadata.PackageNotFoundError:
        return _GRADIO
