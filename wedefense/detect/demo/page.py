"""The page of `wedefense demo`, by gradio: a file or the microphone in, what each model says of it out."""

import importlib
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from pathlib import Path
from types import ModuleType
from typing import Any

from wedefense.detect.demo.answer import LONGEST, Answers
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.loading import load_detector
from wedefense.metrics.detection import DetectionCosts
from wedefense.report.render import palette
from wedefense.utils.distributed import start
from wedefense.utils.errors import InputError

MOST_MODELS = 2
_KEPT = 3600            # seconds that an upload stays on the disk
_LARGEST = 1024**3      # bytes of one
_INTRODUCTION = ("Is it bona fide or fake? Give a recording of speech, or record some. It stays on the machine that "
                 "serves this page, and is deleted there within two hours.")


def library() -> ModuleType:
    """gradio, which is told to report nothing to anyone."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module("gradio")
    except ImportError as error:
        raise InputError(f"the demo needs the package {error.name}: pip install 'wedefense[demo]'") from None


def page(answers: Answers) -> Any:
    """A `gradio.Blocks`."""
    gr = library()
    with gr.Blocks(title="WeDefense", analytics_enabled=False, delete_cache=(_KEPT, _KEPT)) as blocks:
        gr.Markdown(f"# WeDefense\n{_INTRODUCTION}")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                audio = gr.Audio(sources=["upload", "microphone"], type="filepath", label="Recording", buttons=[])
            with gr.Column(scale=2, min_width=260):
                prior = gr.Slider(0.001, 0.999, DetectionCosts.p_spoof, step=0.001, label="Share of spoofs",
                                  info="before listening; it moves the threshold")
                smooth = gr.Slider(0, 1, 0, step=0.05, label="Smoothing",
                                   info="seconds over which the median score decides what is fake")
                button = gr.Button("Listen", variant="primary")
        notice = gr.HTML(elem_classes="notice")
        with gr.Row():
            parts = []
            for _ in answers.models:
                with gr.Column(min_width=320):
                    parts.append(gr.HTML())
        shown = [notice, *parts]
        button.click(answers, [audio, prior, smooth], shown, api_name="listen", concurrency_limit=1)
        # what was said of another recording
        audio.input(lambda: [""] * len(shown), None, shown, api_visibility="private", queue=False)
    return blocks


def demo(models: str | Sequence[str] | Mapping[str, str], *, host: str | None = None, port: int | None = None,
         share: bool = False, longest: float = LONGEST, device: str = "auto") -> None:
    """Serve the page until it is interrupted.

    `models`: one or two, whatever `load_detector` takes; a mapping gives them names for the page. `host` and `port`:
    else $GRADIO_SERVER_NAME and $GRADIO_SERVER_PORT, or 127.0.0.1 and the first free port from 7860 on. `share`: also
    by a public link of gradio's. `longest`: seconds of a recording. `device`: auto, cpu or cuda.

    >>> wedefense.demo("exp/mhfa")    # doctest: +SKIP
    """
    library()
    named = models if isinstance(models, Mapping) else named_models([models] if isinstance(models, str) else models)
    _require_few(len(named))
    where = start(device=device).device
    detectors = {name: load_detector(path).to(where) for name, path in named.items()}
    opened_page(detectors, host, port, share, longest, quiet=False).block_thread()  # gradio prints where


def named_models(paths: Sequence[str]) -> dict[str, str]:
    """What the page calls each: the name as given, or the end of a path, which tells nothing of the machine."""
    _require_few(len(paths))
    found = {"/".join(Path(path).parts[-2:]) if os.path.exists(path) else path: path for path in paths}
    if len(found) < len(paths):
        raise InputError(f"{', '.join(paths)}: both are called {next(iter(found))}; give two models, or copy one to a "
                         "folder of another name")
    return found


def _require_few(count: int) -> None:
    if not 0 < count <= MOST_MODELS:
        raise InputError(f"the page shows one model, or {MOST_MODELS} side by side; {count} are given")


def opened_page(models: Mapping[str, LoadedDetector], host: str | None, port: int | None, share: bool,
                longest: float, quiet: bool = True) -> Any:
    """The page, being served from now on by threads of their own."""
    gr = library()
    for model in models.values():
        model.require_bonafide()
    blocks = page(Answers(models, longest))
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    style = (resources("wedefense.detect.demo") / "page.css").read_text(encoding="utf-8")
    colours = f":root{{{palette(dark=False)}}}\n.dark{{{palette(dark=True)}}}\n"
    try:
        blocks.launch(server_name=host, server_port=port, share=share, prevent_thread_lock=True, quiet=quiet,
                      footer_links=[], ssr_mode=False, max_file_size=_LARGEST, theme=theme, css=colours + style)
    except OSError:
        raise InputError(f"the page cannot be served at {host or 'this host'}, port {port or 'any'}: taken, or no "
                         "address of this machine; give another --port or --host") from None
    return blocks
