"""The model card: what a user of a model who was not there when it was trained needs to know. No torch here."""

import os
from collections.abc import Sequence
from pathlib import Path

from wedefense import __version__
from wedefense.config.components import from_elsewhere
from wedefense.config.frontend import adapters_in
from wedefense.config.schema import Config
from wedefense.config.typed import to_builtin
from wedefense.data.labels import Labels
from wedefense.experiment.folder import NAMES, ExperimentFolder
from wedefense.experiment.provenance import are_of_average, provenance, sentence
from wedefense.experiment.records import read_config
from wedefense.metrics.catalogue import METRICS, POINTS
from wedefense.scoring.results import headings, interval_name, intervals, overview, rates
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.json_file import read_json
from wedefense.utils.tables import first_few


def write_card(folder: str | os.PathLike, exp_dir: str | os.PathLike | None = None, lines: Sequence[str] = (),
               remark: str = "", exported: bool = False) -> Path:
    """The card in `folder` about the model of an experiment (the folder itself, if none is given).

    `lines` describe files beside the card, `exported` says that they run without this package; what an experiment
    does not have, the card says it does not know.
    """
    folder = ExperimentFolder(folder)
    exp_dir = ExperimentFolder(exp_dir or folder)
    usage = [exported_usage(folder)] if exported else [_USAGE, other_code(read_config(exp_dir))]
    with atomic_write(folder.card, "w") as stream:
        stream.write(card_text(folder, exp_dir, lines, remark, usage))
    return folder.card


def card_text(folder: ExperimentFolder, exp_dir: ExperimentFolder, lines: Sequence[str], remark: str,
              usage: Sequence[str]) -> str:
    config = read_config(exp_dir)
    parts = [f"# {_title(config)}\n", f"Made by WeDefense {__version__}. {_task(exp_dir)}"]
    if remark:
        parts.append(f"\n{remark[0].upper()}{remark[1:]}.")
    if not lines and folder.average.is_file():
        lines = [f"`{NAMES.average}`: {folder.average.stat().st_size / 1e6:.1f} MB, the average that stage 4 made"]
    if lines:
        parts += ["\n## Files\n", *(f"- {line}" for line in lines)]
    parts += [*usage, _data(exp_dir, config), _settings(config, sentence(provenance(exp_dir))) + _pruned(exp_dir),
              _metrics(exp_dir), _LIMITS]
    return "\n".join(parts) + "\n"


def exported_usage(folder: ExperimentFolder) -> str:
    """How the exported files in a folder are run, which need nothing of this package."""
    runs = "\n".join(text for name, text in RUNS.items() if (folder.root / name).is_file())
    return _EXPORTED_USAGE.replace("{run}", runs)


def other_code(config: Config | None) -> str:
    """What else a user needs, if anything: parts that come with neither this package nor the folder."""
    parts = [] if config is None else [f"{part} of {package}" if package else part
                                       for part, package in from_elsewhere(config)]
    return _OTHER_CODE.format(parts=", ".join(dict.fromkeys(parts))) if parts else ""


def _title(config: Config | None) -> str:
    if config is None:
        return "A detector"
    return f"{_frontend(config)} + {config.model}"


def _frontend(config: Config) -> str:
    data = config.dataset_args
    return f"{data.pretrained_name} ({data.frontend})" if data.pretrained_name else data.frontend


def _task(exp_dir: ExperimentFolder) -> str:
    labels = _labels(exp_dir)
    if labels is None or labels.has_bonafide:
        return "It tells real speech (bona fide) from fake (spoof); a higher score means more bona fide."
    return f"Its classes are {len(labels.names)} labels ({first_few(labels.names)}); its embeddings are what is used."


def _labels(exp_dir: ExperimentFolder) -> Labels | None:
    return Labels.load(exp_dir.labels) if exp_dir.labels.is_file() else None


_EXPORTED_USAGE = """
## How to use

`export.json` says what goes in and comes out: `wav` (batch, samples) float32 in [-1, 1] at its `sample_rate`, mono,
padded to the longest; `lengths` (batch,) int64; out come `llr`, `embedding`, `logits` and, where frames have scores,
these.

```python
import numpy as np, soundfile
wav, rate = soundfile.read("recording.wav", dtype="float32")    # mono, at the sample_rate of export.json
wav, lengths = wav[None], np.array([len(wav)])
{run}
print("spoof" if llr[0] < -0.642 else "bona fide")              # where 5 % are spoofs and accepting one costs 10
```
"""

DESCRIPTION = "export.json"  # of exported files
RUNS = {
    "model.onnx": """
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
llr, embedding, logits, *frames = session.run(None, {"wav": wav, "lengths": lengths})""",
    "model.ts": """
import torch
llr, embedding, logits, *frames = torch.jit.load("model.ts")(torch.from_numpy(wav), torch.from_numpy(lengths))""",
}

_USAGE = """
## How to use

FOLDER is this folder, or the hub id it was uploaded to. Recordings of any rate, length and number of channels will do.

```bash
wedefense score --model FOLDER recording.wav
wedefense export FOLDER --format hub --out shared    # the model alone, in a folder to upload as it is
```

```python
import wedefense
model = wedefense.load_detector("FOLDER")
print(model.score("recording.wav").meaning)
```
"""


_OTHER_CODE = """It has parts that lie neither in WeDefense nor in this folder: {parts}.
Install the package that has them, or name their folder in PYTHONPATH. What no installed package declares is loaded with
`--trust` alone, in Python `trust=True`: read that code first.
"""


def _data(exp_dir: ExperimentFolder, config: Config | None) -> str:
    labels = _labels(exp_dir)
    lines = ["## Data\n"]
    if labels is not None:
        counts = ", ".join(f"{name} {count:,}" for name, count in list(zip(labels.names, labels.counts))[:5])
        rest = f" and {len(labels.names) - 5} more classes" if len(labels.names) > 5 else ""
        lines.append(f"Trained on {sum(labels.counts):,} utterances: {counts}{rest}.")
    else:
        lines.append("What it was trained on is not recorded here.")
    named = {} if config is None else {"train_data": config.train_data, "val_data": config.val_data}
    lists = [f"{key} `{'/'.join(Path(path).parts[-2:])}`" for key, path in named.items() if path]
    return "\n".join(lines + [f"Lists: {', '.join(lists)}." if lists else "", ""])


def _settings(config: Config | None, trained: str) -> str:
    """`trained`: epochs, seed and code, by the records of the weights."""
    if config is None:
        return ""
    data, rates = config.dataset_args, to_builtin(config.scheduler_args)
    seconds = "whole utterances" if data.whole_utt else f"crops of {data.num_frms} frames"
    augmented = [name for name, wanted in (("rawboost", data.rawboost), ("codec_aug", data.codec_aug),
                                           ("speed_perturb", data.speed_perturb),
                                           ("noise or reverberation", data.aug_prob)) if wanted]
    augmented += [str(step["type"]) for step in data.augment]
    rate = f", learning rate {rates['initial_lr']} to {rates['final_lr']}" if "final_lr" in rates else ""
    adapters = adapters_in(data.frontend_options)
    frontend = f"{_frontend(config)} with {adapters.in_words()}" if adapters.wanted else _frontend(config)
    return (f"## Training\n\nFront-end {frontend} at {data.resample_rate} Hz, back-end {config.model}, head "
            f"{config.projection_args.project_type}; {seconds}; augmentation: {', '.join(augmented) or 'none'}.\n"
            f"{config.optimizer}{rate} over {config.num_epochs} epochs{trained and '; '}{trained}. "
            f"`{NAMES.config}` has every setting.\n")


def _pruned(exp_dir: ExperimentFolder) -> str:
    path = exp_dir.pruning
    if not path.is_file():
        return ""
    try:
        size = read_json(path)["parameters"]
        return (f"Pruned: its encoder keeps {size['after']:,} of {size['before']:,} parameters "
                f"({100 * size['after'] / size['before']:.1f} %).\n")
    except (LookupError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise InputError(f"{path}: not what pruning writes ({error!r}); run stage 4 again") from None


def _metrics(exp_dir: ExperimentFolder) -> str:
    path = exp_dir.results
    if not path.is_file():
        return f"## Results\n\nNot evaluated: no {NAMES.results} beside the model (stage 7 writes it).\n"
    try:
        results = read_json(path)
        if not are_of_average(results, exp_dir):
            return (f"## Results\n\nNot evaluated: {NAMES.results} tells of other weights than {NAMES.average} (stages "
                    "4 to 7 score these).\n")
        rows = overview(results)
        return "\n".join(["## Results\n", *_rate_table(rows), "", results["calibration"] + ".", "",
                          "## Operating points\n", *_points(rows), *_doubts(results), ""])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not the results that stage 7 writes ({error!r}); run it again") from None


def _rate_table(rows: list[tuple[str, dict]]) -> list[str]:
    table = [_line(["set", "bona fide", "spoof", *headings()]), _line(["---"] * (3 + len(headings())))]
    for name, result in rows:
        table.append(_line([name, str(result["n_bonafide"]), str(result["n_spoof"]), *rates(result)]))
        if "confidence" in result:
            table.append(_line([interval_name(result), "", "", *intervals(result)]))
    return table


def _points(rows: list[tuple[str, dict]]) -> list[str]:
    """Thresholds and what they cost."""
    table = [_line(["set", "threshold", "chosen for", "cost or error"]), _line(["---"] * 4)]
    for name, result in rows:
        costs = result["costs"]
        costs_text = f"prior of a spoof {costs['p_spoof']:g}, costs {costs['c_miss']:g} and {costs['c_fa']:g}"
        for key, point in reversed(POINTS.items()):
            table.append(_line([name, f"{result[f'{key}_threshold']:.4f}", point.why.format(costs=costs_text),
                                METRICS[key].phrase(result[key])]))
    return table


def _doubts(results: dict) -> list[str]:
    found = [(name, doubt) for name, result in results["sets"].items() for doubt in result["doubts"]]
    found += [("the calibration", doubt) for doubt in results.get("calibration_doubts", [])]
    return [f"\nNote on {name}: {doubt}." for name, doubt in found]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


_LIMITS = """## Limits

- Scores hold for speech like the data above. Synthesis methods, languages, codecs, noise and recording chains that
  training did not have may be judged wrongly, in both directions and with confidence; test on data of your own.
- Calibration holds for the conditions of the set it was fitted on. Without it only the order of scores means something.
- A recording is scored as a whole: a short fake part in long real speech can go unseen. Look at the windows of a score.
- A score is evidence, not proof; do not let it alone decide about a person.
"""
