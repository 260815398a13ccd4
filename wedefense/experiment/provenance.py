"""What made the weights of an experiment, from their records: for results, reports and cards, none of which quote a
command line.
"""

import os
from collections import Counter
from pathlib import Path

from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.lineage import newest, scored_weights
from wedefense.experiment.record import read
from wedefense.experiment.resume import known_history
from wedefense.utils.files import portable_path
from wedefense.utils.fingerprint import of_content, of_weights
from wedefense.utils.tables import read_table


def provenance(exp_dir: str | os.PathLike) -> dict:
    """Settings and content that the weights were trained with, epochs, code; empty where no record tells."""
    folder = ExperimentFolder(exp_dir)
    training, history = read(folder.training), known_history(folder)
    averaging = read(folder.averaging) or read(folder.cutting)
    made: dict = {}
    if training is not None:
        made |= {"training": training["inputs"], "code": training.get("code", [])}
        made |= {key: training[key] for key in ("started_from", "trained_on") if key in training}
    if history is not None:
        made["epochs_trained"] = history["rows"][-1]["epoch"]
    if averaging is not None:  # chosen: "best 3", which older records do not tell
        made |= {f"epochs_{key}": averaging[key] for key in ("averaged", "chosen") if averaging.get(key)}
    if folder.average.is_file():
        made["weights"] = of_weights(folder.average)
    return made


def provenance_of_sets(exp_dir: str | os.PathLike, names: list[str]) -> dict:
    """And how each of these sets was scored."""
    folder, scores = ExperimentFolder(exp_dir), {}
    embeddings = {name: found["inputs"] for name in names if (found := read(folder.embeddings(name).source))}
    for name in names:
        if folder.posteriors(name).llr.is_file():
            scores[name] = of_content(folder.posteriors(name).llr)
    made, average = provenance(folder), newest(folder).average
    scored = {path for name in embeddings if (path := scored_weights(folder, name))}
    if scored - {average}:  # epochs that somebody chose; the average is not what the results tell of
        for key in ("epochs_averaged", "epochs_chosen"):
            made.pop(key, None)
        made["scored"] = sorted(path.name for path in scored)
    return made | {"embeddings": embeddings, "scores": scores}


def are_of_average(results: dict, folder: ExperimentFolder) -> bool:
    """Whether results tell of the averaged weights that lie in the experiment now; assumed where nothing says it."""
    made = results.get("made_by", {})
    return not (made.get("scored") or folder.average.is_file() and made.get("weights", of_weights(folder.average))
                != of_weights(folder.average))


def sentence(made: dict) -> str:
    """`epochs 6, 7, 8 of 8 averaged, seed 42, WeDefense 0.1.0`; what is not known is not said."""
    training, parts = made.get("training", {}), []
    if "epochs_trained" in made:
        parts.append(f"trained for {made['epochs_trained']} of {training.get('num_epochs', '?')} epochs")
    if "started_from" in made:
        parts.append(f"from the weights of {portable_path(made['started_from'])}")
    if "epochs_averaged" in made:
        epochs = made["epochs_averaged"]
        parts.append(f"average of epoch{'s' * (len(epochs) > 1)} {', '.join(map(str, epochs))}")
    if "scored" in made:
        parts.append(f"weights of {', '.join(made['scored'])}")
    if "seed" in training:
        parts.append(f"seed {training['seed']}")
    code = made.get("code", [])
    if code:
        parts.append("WeDefense " + ", then ".join(
            state["version"] + (f" from epoch {state['from_epoch']}" if state["from_epoch"] > 1 else "")
            for state in code))
    return ", ".join(parts)


def left_out(exp_dir: str | os.PathLike, labels: str | os.PathLike, name: str) -> dict | None:
    """What stage 4 could not read of a set: how many of how many by class, and why; None if nothing."""
    path = ExperimentFolder(exp_dir).embeddings(name).left_out
    if not path.is_file():
        return None
    reasons = read_table(path)
    table = read_table(labels) if Path(labels).is_file() else {}
    return {"count": len(reasons), "by_class": dict(Counter(table.get(key, "without a label") for key in reasons)),
            "of": dict(Counter(table.values())), "reasons": reasons}


def left_out_text(found: dict) -> str:
    """`left out, since they could not be read: 14 of 128 spoof, 0 of 64 bonafide (first: ...)`"""
    classes = sorted({*found["of"], *found["by_class"]})
    counts = ", ".join(f"{found['by_class'].get(label, 0)} of {found['of'].get(label, 0)} {label}" for label in classes)
    key, reason = next(iter(found["reasons"].items()))
    return f"these results leave out what could not be read: {counts} (first: {key}: {reason})"
