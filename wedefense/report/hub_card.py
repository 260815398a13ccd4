"""The README.md of a shared folder: the card, and before it what hubs read of a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from wedefense.config.schema import Config
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.provenance import are_of_average
from wedefense.experiment.records import read_config
from wedefense.frontend.names import CONFORMERS, WHISPERS
from wedefense.frontend.ssl.zoo import find_model
from wedefense.metrics.catalogue import METRICS, SUMMARY
from wedefense.report.model_card import RUNS, card_text, exported_usage, other_code
from wedefense.scoring.results import overview
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write
from wedefense.utils.hub import parse_name
from wedefense.utils.json_file import read_json

README, TASK = "README.md", "audio-classification"


@dataclass(frozen=True)
class About:
    """What nobody but its author knows of a model."""

    license: str = ""               # an identifier of the hub's list, such as cc-by-4.0; none: it is called unknown
    datasets: tuple[str, ...] = ()  # it was trained on: ids of the hub, or names


def write_hub_card(folder: ExperimentFolder, exp_dir: ExperimentFolder, lines: Sequence[str], about: About,
                   hub_id: str = "", remark: str = "") -> Path:
    """`exp_dir`: of the results. `hub_id`: where the folder is to go, for what is shown of its use."""
    front = yaml.safe_dump(front_matter(exp_dir, about, hub_id), sort_keys=False, allow_unicode=True, width=120)
    usage = [_USAGE.replace("{model}", hub_id or "FOLDER"), other_code(read_config(exp_dir))]
    if any((folder.root / name).is_file() for name in RUNS):
        usage.append(exported_usage(folder).replace("## How to use", "### Without this package"))
    path = folder.root / README
    with atomic_write(path, "w") as stream:
        stream.write(f"---\n{front}---\n\n{card_text(folder, exp_dir, lines, remark, usage)}")
    return path


_USAGE = """
## How to use

Recordings of any rate, length and number of channels will do.

```bash
pip install 'wedefense[hub]'
wedefense score --model {model} recording.wav
```

```python
import wedefense
model = wedefense.load_detector("{model}")    # of a revision: revision="main"
print(model.score("recording.wav").meaning)
```
"""


def front_matter(exp_dir: ExperimentFolder, about: About, hub_id: str = "") -> dict:
    """The keys that hubs know; one of which nothing is known is left out."""
    config = read_config(exp_dir)
    found: dict = {"library_name": "wedefense", "pipeline_tag": TASK, "license": about.license or "unknown",
                   "tags": ["audio-deepfake-detection", "anti-spoofing"]}
    if config is not None and (base := base_model(config)):
        found["base_model"] = base
    if about.datasets:
        found["datasets"] = list(about.datasets)
    results = _results(exp_dir)
    if results:
        found["metrics"] = list(dict.fromkeys(metric["type"] for result in results for metric in result["metrics"]))
        name = hub_id.split("/")[-1] or Path(exp_dir.root.absolute()).name
        found["model-index"] = [{"name": name, "results": results}]
    return found


def base_model(config: Config) -> str | None:
    """The hub's id of the encoder that the training began with."""
    data = config.dataset_args
    if not data.pretrained_name:
        return None
    upstream = data.frontend_options.upstream_args
    for name in filter(None, (upstream.path_or_url, upstream.name)):
        key = name.lower().replace("-", "_")
        row = find_model(name)
        known = row.hub_id if row else WHISPERS.get(key) or (CONFORMERS[name].hub_id if name in CONFORMERS else None)
        named = parse_name(name)
        if known is None and named is not None and not named.file and not Path(name).suffix:
            known = named.hub_id
        if known is not None:
            return known
    return None


def _results(exp_dir: ExperimentFolder) -> list[dict]:
    """A row for each set, raw and calibrated, with the interval of each metric that has one."""
    path = exp_dir.results
    if not path.is_file():
        return []
    try:
        results = read_json(path)
        if not are_of_average(results, exp_dir):
            return []
        return [{"task": {"type": TASK, "name": "fake speech detection"},
                 "dataset": {"type": label.split()[0], "name": label}, "metrics": _metrics(result)}
                for label, result in overview(results)]
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: not the results that stage 7 writes ({error!r}); run it again") from None


def _metrics(result: dict) -> list[dict]:
    found = []
    for key in SUMMARY:
        if key in result:
            metric = METRICS[key]
            row = {"type": key, "name": metric.heading, "value": float(metric.number(result[key]))}
            confidence = result.get("confidence", {})
            if key in confidence:
                lowest, highest = (float(metric.number(limit)) for limit in confidence[key])
                row["args"] = {"interval": [lowest, highest], "level": confidence["level"]}
            found.append(row)
    return found
