"""What each stage makes its artefacts of: the one place that says which settings and which content count.

Settings that change no number (`FREE`: paths, workers, devices, logging, how fast something is computed) do not.
"""

import json
import os
from importlib.metadata import version
from inspect import getsourcefile
from pathlib import Path

from wedefense.config.augment import parse_steps, places_of
from wedefense.config.frontend import FRONTENDS, PretrainedOptions, adapters_in
from wedefense.config.heads import HEADS
from wedefense.config.models import BACKENDS
from wedefense.config.sampling import parse_levels, table_of
from wedefense.config.schema import Config
from wedefense.config.tree import Leaf, read_tree
from wedefense.config.typed import to_builtin
from wedefense.data.augment.recordings import open_recordings
from wedefense.data.fingerprint import of_list
from wedefense.data.manifest import OPTIONAL_TABLES
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.record import Step, read, require
from wedefense.frontend.ssl.zoo import find_model, is_for_downloads
from wedefense.utils.errors import InputError
from wedefense.utils.file_parts import file_of
from wedefense.utils.fingerprint import of_content, of_files, of_parts, of_pretrained, of_sources, of_weights
from wedefense.utils.tables import read_lines

FREE = {
    "exp_dir", "checkpoint", "gpus", "deterministic", "compile", "cuda_graphs", "feature_cache",
    "log_batch_interval", "loggers", "save_step_interval", "save_epoch_interval", "keep_last",
    "num_avg", "average",                          # of stage 4
    "precision", "enable_amp",                     # said once, as what they come to
    "train_data", "train_label", "val_data", "val_label", "reverb_data", "noise_data", "model_init",  # by content
    "dataloader_args.num_workers", "dataloader_args.pin_memory", "dataloader_args.prefetch_factor",
    "dataloader_args.drop_last", "dataset_args.cache", "dataset_args.cache_gib", "dataset_args.augment_on",
}
FREE_OF_FRONTENDS = {"download_dir", "gradient_checkpointing"}
# What the numbers of stages 4 and 5 are computed by. A change in them makes embeddings again; a training goes on
# (whoever mends code and resumes means to, and days of training are not thrown away for a comment), and its record
# says which code ran from which epoch on, as do report and card.
COMPUTING = ("config", "data", "frontend", "gpu", "models", "pruning", "utils", "scoring/embed.py", "scoring/stages.py",
             "experiment/arks.py")


def settings(config: Config) -> dict:
    """All of a config that can change a number of the training, nested as in YAML."""
    tree = _without(to_builtin(config), FREE)
    if not config.localization_args.wanted:
        del tree["localization_args"]
    data, chosen = tree["dataset_args"], config.dataset_args.frontend_section
    for section in [f"{name}_args" for name in FRONTENDS.names()] + ["frontend_args"]:
        if section != chosen:
            del data[section]
    data[chosen] = _without(data[chosen], FREE_OF_FRONTENDS)
    if isinstance(config.dataset_args.frontend_options, PretrainedOptions):
        data[chosen]["upstream_args"] |= _by_content(data[chosen]["upstream_args"])
        adapters = adapters_in(config.dataset_args.frontend_options)
        if not adapters.wanted:
            data[chosen].pop("adapters", None)
        elif adapters.path:
            data[chosen]["adapters"]["path"] = of_pretrained(adapters.path)
    return tree | {"precision": config.chosen_precision}


def _by_content(upstream: dict) -> dict:
    """What names a pretrained model: files and folders that are one by what they hold, and no folder of downloads."""
    name, path = upstream["name"], upstream["path_or_url"]
    if path and is_for_downloads(name, path):
        path = None  # what else is fetched into it says nothing of this model
    names_file = find_model(name) is None and os.path.exists(name)
    return {"name": of_pretrained(name) if names_file else name,
            "path_or_url": of_pretrained(path) if path and os.path.exists(path) else path}


def _without(tree: dict, dropped: set[str], prefix: str = "") -> dict:
    return {key: _without(value, dropped, f"{prefix}{key}.") if isinstance(value, dict) else value
            for key, value in tree.items() if f"{prefix}{key}" not in dropped}


def training(config: Config, ranks: int) -> Step:
    inputs = settings(config) | {"ranks": ranks} | trained_on(config)
    return Step("weights", 3, ExperimentFolder(config.exp_dir).training, inputs)


def trained_on(config: Config) -> dict:
    """All content that goes into the weights: of lists, of recordings to augment with, of what they start from."""
    held = training_data(config) | {"model_init": config.model_init and of_weights(config.model_init)}
    for key, path in (("noise_data", config.noise_data), ("reverb_data", config.reverb_data)):
        held[key] = path and open_recordings(path, key).fingerprint()
    data = config.dataset_args
    mixed = [data.noise_args.data, data.reverb_args.data] if data.aug_prob else []
    for path in [*mixed, *places_of(parse_steps(data.augment))]:
        if path:
            held[f"recordings in {path}"] = open_recordings(path, "dataset_args").fingerprint()
    if config.train_data:
        for table in (table_of(level.column) for level in parse_levels(data.sampling)):
            held[table] = of_content(Path(config.train_data).parent / table)
    return held


def training_data(config: Config) -> dict:
    """What the lists of training and validation hold; spans only of a training that hears of them."""
    pairs = {"train_data": (config.train_data, config.train_label), "val_data": (config.val_data, config.val_label)}
    unheard = set() if config.localization_args.wanted else {"spans"}
    return {key: path and _without(of_list(path, config.data_type, labels), unheard)
            for key, (path, labels) in pairs.items()}


def averaging(folder: ExperimentFolder, epochs: list[int]) -> Step:
    paths = [folder.epoch(epoch) for epoch in epochs]
    return Step("averaged weights", 4, folder.averaging, {"epochs": {path.name: of_weights(path) for path in paths}},
                {"averaged": epochs})


def cutting(folder: ExperimentFolder, config: Config, weights: Path, unpruned: str | None) -> Step:
    inputs = {"weights": of_weights(weights), "unpruned": unpruned, "settings": of_settings(config),
              "code": of_sources("models", "frontend", "pruning", "train/cut.py")}
    averaged = read(folder.averaging) or {}
    return Step("pruned model", 4, folder.cut.cutting, inputs,
                {"cut_from": os.path.relpath(weights, folder.cut),
                 **{key: averaged.get(key) for key in ("averaged", "chosen")}})


def embedding(folder: ExperimentFolder, name: str, weights: Path, config: Config, data: str, data_type: str,
              skip_bad: bool, precision: str | None) -> Step:
    held = of_list(data, data_type)
    inputs = {"weights": of_weights(weights), "settings": of_settings(config),
              "eval_frms": config.dataset_args.eval_frms, "skip_bad": skip_bad, "precision": precision,
              "utterances": held["utterances"], "audio": held["audio"],
              "code": of_code(config), "torch": version("torch")}
    return Step(f"embeddings of '{name}'", 4, folder.embeddings(name).source, inputs,
                {"list": os.path.abspath(data), "data_type": data_type})


def of_code(config: Config) -> str:
    """Of what computes embeddings, with the files of parts from outside of the package."""
    outside = sorted({getsourcefile(part) or "" for part in parts_from_outside(config)})
    return of_parts([of_sources(*COMPUTING), *map(of_content, outside)]) if outside else of_sources(*COMPUTING)


def parts_from_outside(config: Config) -> list[type]:
    named = ((FRONTENDS, config.dataset_args.frontend), (BACKENDS, config.model),
             (HEADS, config.projection_args.project_type))
    return [table.load(name) for table, name in named if name not in table.names()]


def of_settings(config: Config) -> str:
    """In a few letters, without what is an option of scoring, and where an encoder lay whose weights are here now."""
    tree = settings(config)
    data = tree["dataset_args"]
    del data["eval_frms"]
    own = data[config.dataset_args.frontend_section]
    own.get("upstream_args", {}).pop("path_or_url", None)
    own.get("adapters", {}).pop("path", None)
    return of_parts([json.dumps(tree, sort_keys=True)])


def logits(folder: ExperimentFolder, name: str, weights: Path) -> Step:
    """Of embeddings that the same weights made."""
    source = folder.embeddings(name).source
    own = of_weights(weights)
    require(source, f"embeddings of '{name}'", 4, {"weights": own})
    return Step(f"logits of '{name}'", 5, folder.posteriors(name).source,
                {"embeddings": of_content(source), "weights": own, "code": of_sources("models")})


def llrs(folder: ExperimentFolder, name: str) -> Step:
    source = folder.posteriors(name).source
    require(source, f"logits of '{name}'", 5, {"embeddings": of_content(folder.embeddings(name).source)})
    return Step(f"log-likelihood ratios of '{name}'", 6, folder.posteriors(name).llr_source,
                {"logits": of_content(source), "labels": of_content(folder.labels),
                 "code": of_sources("scoring/llr.py", "data/labels.py", "utils/bonafide.py")})


def require_embeddings(folder: ExperimentFolder, name: str) -> None:
    """An error where embeddings of a set are not whole, or of weights that are no more; those from elsewhere pass."""
    if (source := folder.embeddings(name).source).is_file():
        require(source, f"embeddings of '{name}'", 4, {})
        scored_weights(folder, name)


def require_logits(folder: ExperimentFolder, name: str) -> None:
    """The same of its logits, which are those of the embeddings that are here."""
    if folder.posteriors(name).source.is_file():
        llrs(folder, name)
        scored_weights(folder, name)


def require_llrs(folder: ExperimentFolder, name: str) -> None:
    """The same of its log-likelihood ratios; what a stage left that was interrupted lacks one of both records."""
    posteriors = folder.posteriors(name)
    if posteriors.source.is_file() or posteriors.llr_source.is_file():
        llrs(folder, name).require()
        scored_weights(folder, name)


def scored_weights(folder: ExperimentFolder, name: str) -> Path | None:
    """The file whose weights scored a set: the average, or an epoch that somebody chose; None where no record tells.

    An error where the average is another by now, so that nothing here is what was scored.
    """
    found, average = read(folder.embeddings(name).source), newest(folder).average
    if found is None or not average.is_file():
        return None
    for path in (average, *map(folder.epoch, folder.epochs())):
        if of_weights(path) == found["inputs"].get("weights"):
            return path
    raise InputError(f"{folder.embeddings(name).root}: the scores of '{name}' are of other weights than {average} "
                     "holds now; go back to --stage 4")


def listing(folder: str | os.PathLike, data_type: str, per_shard: int, allow_problems: bool) -> Step:
    """The list of a data folder, and its shards: of its tables, and of the audio that they name."""
    folder = Path(folder)
    tables = {name: of_content(folder / name) for name in ("wav.scp", "utt2lab", "segments", *OPTIONAL_TABLES)}
    inputs = tables | {"audio": of_parts(of_files(_wavs(folder))), "allow_problems": allow_problems}
    if data_type == "shard":
        inputs["num_utts_per_shard"] = per_shard
    return Step(f"list {folder / data_type}.list", 2, folder / f"{data_type}.source.json", inputs)


def require_list(path: str | os.PathLike, data_type: str) -> None:
    """An error where what a list was made of has changed; where that is gone, or another tool made it, the list is all
    there is.
    """
    folder = Path(path).parent
    found = read(folder / f"{data_type}.source.json")
    if found and (folder / "wav.scp").is_file() and Path(path).is_file():
        inputs = found["inputs"]
        now = listing(folder, data_type, inputs.get("num_utts_per_shard", 0), inputs["allow_problems"])
        if any(os.path.exists(file_of(wav)) for wav in _wavs(folder)):
            now.require()


def _wavs(folder: Path) -> list[str]:
    """Of `wav.scp`, whatever else stage 2 will say about it."""
    lines = read_lines(folder / "wav.scp") if (folder / "wav.scp").is_file() else []
    return [fields[1].strip() for line in lines if len(fields := line.split(maxsplit=1)) == 2]


def newest(folder: ExperimentFolder) -> ExperimentFolder:
    """The cut model of a pruned training, else the experiment itself; a cut of other weights is an error."""
    cut = folder.cut
    if not cut.config.is_file():
        return folder
    pruned = read_tree(folder.config).get("use_pruning_loss") if folder.config.is_file() else None
    if isinstance(pruned, Leaf) and pruned.value is False:  # trained anew without; this is what was cut before
        return folder
    found = read(cut.cutting)
    if found is None:
        return cut
    source = Path(os.path.normpath(cut.root / found["cut_from"]))
    if source.is_file() and of_weights(source) != found["inputs"]["weights"]:
        raise InputError(f"{cut}: was cut from other weights than {source} holds now; go back to --stage 4")
    return cut
