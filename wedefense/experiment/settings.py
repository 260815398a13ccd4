"""All that may have changed a number of an experiment, by dotted key: by what experiments differ, and over what seeds
are alike.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wedefense.experiment.record import flat, is_fingerprint
from wedefense.utils.errors import InputError, did_you_mean


def of_training(made: Mapping) -> dict[str, Any]:
    """Of what `provenance` tells; empty where no record tells of the training."""
    if "training" not in made:
        return {}
    return _in_short(made["training"]) | {"averaged": made.get("scored") or _averaged(made)}


def of_scoring(made: Mapping, name: str) -> dict[str, Any]:
    """How a set was scored, of what `provenance_of_sets` tells."""
    how = made.get("embeddings", {}).get(name, {})
    return {f"{what} of {name}": how.get(what) for what in ("eval_frms", "precision")}


def _averaged(made: Mapping) -> Any:
    """The epochs of the weights; where validation chose them or the end, they differ from seed to seed: the rule."""
    chosen = made.get("epochs_chosen") or ""
    if chosen and made["training"].get("early_stop_patience"):
        return f"{chosen} until it stopped"
    return f"{chosen} of {made.get('epochs_trained')}" if chosen.startswith("best") else made.get("epochs_averaged")


def _in_short(training: Mapping) -> dict[str, Any]:
    """Dotted key -> value; of content, whose fingerprints say nothing to anybody, one key for each list."""
    settings: dict[str, Any] = {}
    for key, value in flat(training).items():
        first, _, rest = key.partition(".")
        if rest and is_fingerprint(value):
            settings[first] = [*settings.get(first, []), value]
        else:
            settings[key] = value
    return settings


def is_one(key: str, of: Sequence[str]) -> bool:
    """Whether a dotted key is one of these, or ends in one.

    >>> is_one("scheduler_args.initial_lr", ["seed", "initial_lr"])
    True
    """
    return any(key == name or key.endswith(f".{name}") for name in of)


def is_content(value: Any) -> bool:
    return any(map(is_fingerprint, value if isinstance(value, list) else [value]))


def require_known(over: Sequence[str], keys: Iterable[str]) -> None:
    """Of an option `--over`."""
    known = {*keys, "seed"}
    for key in over:
        if not any(is_one(name, [key]) for name in known):
            raise InputError(f"--over {key}: no such setting{did_you_mean(key, known)}")
