"""What a file or a folder is that is no model: data, scores, results, a config, a recording. Without torch."""

import contextlib
import json
import os
import shlex
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path

import numpy as np

from wedefense.config.loader import load_config
from wedefense.config.tree import Leaf, read_tree
from wedefense.data.audio import BadAudio, probe
from wedefense.data.shards import shard_members
from wedefense.data.spans import kind_of, read_spans
from wedefense.experiment.folder import NAMES, ExperimentFolder, folder_of
from wedefense.experiment.records import read_history, read_results
from wedefense.metrics.catalogue import MAIN, METRICS, SUMMARY
from wedefense.metrics.keys import read_scores
from wedefense.report.model_card import DESCRIPTION
from wedefense.scoring.calibration import Calibration
from wedefense.utils.audio_kinds import is_audio, needs_ffmpeg
from wedefense.utils.errors import InputError
from wedefense.utils.file_parts import file_of
from wedefense.utils.json_file import read_json
from wedefense.utils.tables import count_text, each_line, first_few, plural, read_seconds, read_table

Rows = dict[str, str]
_LOOKED_AT = 100_000  # files of a folder
_TRIED = 1000          # recordings of a table, whether they are there
_LABELS, _AUDIO, _UNLABELLED = "utt2lab", "wav.scp", "without label"
_ADAPTER = "adapter_config.json"  # of a folder of PEFT, as `frontend.ssl.formats.peft` has it beside torch


def about(path: str, trust: bool = False) -> Rows | None:
    """Label -> value; None of what may be a model, which torch reads. `trust`: of a config that lies beside weights."""
    place = Path(path)
    return _folder(place) if place.is_dir() else _file(place, trust) if place.is_file() else None


def _command(*words: str | os.PathLike) -> str:
    """As a shell takes it."""
    return shlex.join(["wedefense", *map(str, words)])


def _folder(place: Path) -> Rows | None:
    if ExperimentFolder(place).is_trained or ExperimentFolder(place).has_public_form or (place / _ADAPTER).is_file():
        return None
    if ExperimentFolder(place).config.is_file() or any(place.glob(f"fold*/{NAMES.config}")):
        return experiment(ExperimentFolder(place))
    if (place / "benchmark.json").is_file():
        return {"benchmark": str(place)} | _benchmark(read_json(place / "benchmark.json"))
    if (place / _AUDIO).is_file() or (place / _LABELS).is_file():
        return _data(place)
    if any((place / name).is_file() for name in ("config.json", NAMES.shared, NAMES.public_form[0])):
        return None
    if (place / DESCRIPTION).is_file():
        return _exported(place, read_json(place / DESCRIPTION))
    if graphs := sorted(place.glob("*.onnx")):
        return _onnx(graphs[0])
    if inside := sorted(path.parent.name for path in place.glob(f"*/{NAMES.config}")):
        return {"experiments": first_few(inside, 12), "more": _command("info", place / inside[0])}
    sets = sorted(file.parent.name for file in place.glob(f"*/{_LABELS}"))
    if sets:
        return {"data of": first_few(sets, 12), "more": _command("info", place / sets[0])}
    kinds: Counter[str] = Counter()
    for _, _, files in os.walk(place):
        kinds.update(Path(name).suffix.lower().lstrip(".") for name in files)
        if kinds.total() > _LOOKED_AT:
            break
    heard = {kind: count for kind, count in kinds.items() if is_audio(f"x.{kind}")}
    if heard:
        more = f", and more: of the first {kinds.total():,} files" * (kinds.total() > _LOOKED_AT)
        return {"recordings": count_text(heard) + more, "score them": _command("score", "--model", "MODEL", place)}
    raise InputError(f"{place}: neither experiment, model, data, benchmark nor recordings lie in this folder; it holds "
                     f"{first_few(sorted(os.listdir(place))) or 'nothing'}")


def experiment(folder: ExperimentFolder) -> Rows:
    """How far it came."""
    folds = sorted(path.parent.name for path in folder.root.glob(f"fold*/{NAMES.config}"))
    shared = folder.shared.is_file() and not folder.history.is_file()  # it was trained elsewhere
    found = {} if shared else {"experiment": str(folder)}
    if folds:
        found["folds"] = first_few(folds, 12)
    history = read_history(folder) if folder.history.is_file() else None
    if folder.config.is_file() and not folds and not shared:
        asked = read_tree(folder.config).get("num_epochs")  # no more of it: a stranger's may name code
        done = history["rows"][-1]["epoch"] if history else 0
        found["epochs"] = str(done)
        if isinstance(asked, Leaf) and isinstance(asked.value, int):
            found["epochs"] += f" of {asked.value}" + "; stage 3 goes on" * (done < asked.value)
        if history and (best := history.get("best")):
            metric = METRICS[best["metric"].removeprefix("val_")]
            found["epochs"] += f" (best: {best['epoch']}, {metric.phrase(best['value'])} of dev)"
    if names := folder.scored_sets():
        found["scored"] = first_few(names, 8)
    if folder.results.is_file():
        found |= _results(read_results(folder))
    if folder.cut.config.is_file():
        found["pruned"] = f"{folder.cut}"
    if folder.report.is_file():
        found["report"] = str(folder.report)
    return found


def _data(place: Path) -> Rows:
    labels = read_table(place / _LABELS) if (place / _LABELS).is_file() else {}
    audio = read_table(place / _AUDIO) if (place / _AUDIO).is_file() else {}
    found = {"data": str(place), "utterances": f"{len(labels or audio):,}"}
    if labels:
        found["classes"] = _counted(labels.values())
    if (place / "utt2dur").is_file():
        seconds = np.array(list(read_seconds(place / "utt2dur").values()))
        if seconds.size:
            found["hours"] = f"{seconds.sum() / 3600:.3g}, of {seconds.min():.2f} to {seconds.max():.2f} s each"
    for table in sorted(place.glob("utt2*")):
        if table.name not in (_LABELS, "utt2dur", "utt2num_frames"):
            found[table.name.removeprefix("utt2")] = _counted(read_table(table).values())
    tried = list(audio.items())[:_TRIED]
    if gone := [name for name, file in tried if not file.endswith("|") and not os.path.exists(file_of(file))]:
        found["not there"] = f"recordings of {first_few(gone)}" + f"; of the first {_TRIED:,}" * (len(audio) > _TRIED)
    lists = [name for name in ("raw.list", "shard.list", "segments") if (place / name).is_file()]
    return found | ({"lists": ", ".join(lists)} if lists else {})


def _counted(values: Iterable[str] | Counter[str]) -> str:
    counts = Counter(values)
    return count_text(dict(counts.most_common())) if len(counts) <= 6 else f"{len(counts):,} values"


def _file(place: Path, trust: bool) -> Rows | None:
    suffix = place.suffix.lower().lstrip(".")
    if suffix in ("yaml", "yml"):
        return _config(place, trust)
    if suffix == "list":
        return _list(place)
    if suffix == "ts" and zipfile.is_zipfile(place):
        return {"TorchScript": str(place), "size": _size(place)}
    if is_audio(place):
        return _recording(place)
    other: dict[str, Callable[[Path], Rows]] = {"tar": _shard, "json": _json, "onnx": _onnx, "npz": _arrays,
                                                "npy": _labels_of_spans}
    if suffix in other:
        return other[suffix](place)
    with place.open("rb") as stream:
        start = stream.read(2048)
    return None if b"\0" in start or start[:1] == b"\x80" or start[:2] == b"PK" else _table(place)


def _config(place: Path, trust: bool) -> Rows:
    config = load_config(place, trust=trust or folder_of(place) is None, scoring=True)
    data = config.dataset_args
    return {"config": str(place), "front-end": " ".join(filter(None, (data.frontend, data.pretrained_name))),
            "back-end": str(config.model), "training": f"{config.chosen_mode}, {plural(config.num_epochs, 'epoch')}, "
            f"{config.optimizer}, seed {config.seed}", "experiment": str(config.exp_dir),
            "more": _command("config", "--config", place)}


def _list(place: Path) -> Rows:
    lines = filter(None, each_line(place))
    first = next(lines, None)
    if first and not first.startswith("{"):
        return {"list of shards": str(place), "shards": f"{1 + sum(1 for _ in lines):,}",
                "more": _command("info", first)}
    labels: Counter[str] = Counter()
    seconds = 0.0
    try:
        for item in map(json.loads, chain(filter(None, [first]), lines)):
            labels[str(item.get("lab") or _UNLABELLED)] += 1
            seconds += item.get("dur") or 0
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise InputError(f"{place}: neither a list of recordings (a JSON object a line) nor of shards; stage 2 makes "
                         "it again") from None
    return {"list of recordings": str(place), "utterances": f"{labels.total():,}", "classes": _counted(labels),
            "hours": f"{seconds / 3600:.3g}"}


def _shard(place: Path) -> Rows:
    members = shard_members(place)
    seconds = np.nansum(members.durations)
    return {"shard": str(place), "utterances": f"{len(members):,}", "size": _size(place),
            "classes": _counted(label or _UNLABELLED for label in members.labels)} | (
                {"hours": f"{seconds / 3600:.3g}"} if seconds else {})


def _size(place: Path) -> str:
    return f"{place.stat().st_size / 2**20:.3g} MiB"


def _recording(place: Path) -> Rows:
    if needs_ffmpeg(place):
        return {"recording": str(place), "read by": "ffmpeg, where it is installed"}
    try:
        info = probe(place)
    except BadAudio as error:
        raise InputError(f"{place}: {error}") from None
    return {"recording": str(place), "length": f"{info.seconds:.3f} s, {info.frames:,} samples",
            "rate": f"{info.rate} Hz", "channels": str(info.channels)}


def _json(place: Path) -> Rows:
    tree = read_json(place)
    try:
        return _known_json(place, tree)
    except (AttributeError, LookupError, TypeError, ValueError):  # of another make, with the keys of ours
        return {"JSON": str(place), "keys": first_few(list(tree), 12)}


def _known_json(place: Path, tree: dict) -> Rows:
    if "rows" in tree and "epoch" in tree["rows"][-1]:
        return {"history": str(place), "epochs": str(tree["rows"][-1]["epoch"]),
                "more": _command("history", place.parent)}
    if "sets" in tree:
        return {"results": str(place)} | _results(tree)
    if tree and all(isinstance(each, dict) and "sets" in each for each in tree.values()):
        return {"benchmark": str(place)} | _benchmark(tree)
    if "scales" in tree and "bias" in tree:
        return {"calibration": str(place), "formula": Calibration.load(place).told()}
    if MAIN in tree:
        return {"evaluation": str(place)} | {METRICS[key].title: METRICS[key].number(tree[key]) for key in SUMMARY
                                             if key in tree}
    return {"JSON": str(place), "keys": first_few(list(tree), 12)}


def _results(tree: Mapping) -> Rows:
    return {name: ", ".join(METRICS[key].phrase(result[key]) for key in SUMMARY if key in result)
            for name, result in tree["sets"].items() if MAIN in result}


def _benchmark(tree: Mapping) -> Rows:
    return {name: ", ".join(f"{a_set} {METRICS[MAIN].number(found[MAIN])} %" if MAIN in found else a_set
                            for a_set, found in result["sets"].items()) for name, result in tree.items()}


def _exported(place: Path, tree: Mapping) -> Rows:
    try:
        files = [f"{file['name']} ({_size(place / file['name'])})" for file in tree["files"]
                 if (place / file["name"]).is_file()]
        return {"exported": str(place), "files": ", ".join(files), "takes": ", ".join(tree["inputs"]),
                "gives": ", ".join(tree["outputs"]), "audio": f"{tree['sample_rate']} Hz",
                "calibration": str(tree["calibration"] or "none")}
    except (LookupError, TypeError, ValueError):
        raise InputError(f"{place / DESCRIPTION}: not as `wedefense export` writes it; export again") from None


def _onnx(place: Path) -> Rows:
    found = {"ONNX": str(place), "size": _size(place)}
    try:
        import onnxruntime
    except ImportError:
        return found | {"more": "with onnxruntime installed"}
    try:
        session = onnxruntime.InferenceSession(str(place), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError(f"{place}: onnxruntime cannot read it ({str(error).splitlines()[0]})") from None
    for title, ends in (("takes", session.get_inputs()), ("gives", session.get_outputs())):
        found[title] = ", ".join(f"{end.name} {end.type} {tuple(end.shape)}" for end in ends)
    told = session.get_modelmeta().custom_metadata_map
    return found | {key: value for key, value in told.items() if len(value) < 200}


def _arrays(place: Path) -> Rows:
    try:
        with np.load(place, allow_pickle=False) as arrays:
            return {"arrays": str(place)} | {
                name: f"{arrays[name].shape} {arrays[name].dtype}" for name in arrays.files[:12]}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{place}: no arrays of NumPy ({error})") from None


def _table(place: Path) -> Rows:
    """Of scores or of anything else: two columns or, under a header, more."""
    try:
        names, scores = read_scores(place)
    except InputError:
        with contextlib.suppress(InputError):
            return _labels_of_spans(place)
        return _names_and_values(place)
    return {"scores": str(place), "rows": f"{len(names):,}", "first": first_few(names),
            "from": f"{scores.min():.4g} to {scores.max():.4g}, median {np.median(scores):.4g}",
            "evaluate them": _command("evaluate", "--scores", place, "--keys", _LABELS)}


def _labels_of_spans(place: Path) -> Rows:
    kind = kind_of(place)
    spans = read_spans(place, kind)
    every = [span for found in spans.values() for span in found]
    return {"label file": str(place), "kind": kind, "utterances": f"{len(spans):,}", "spans": f"{len(every):,}",
            "classes": _counted(span.label for span in every),
            "more": _command("segments", place, "--durations", "utt2dur")}


def _names_and_values(place: Path) -> Rows:
    try:
        table = read_table(place)
    except InputError as error:
        raise InputError(f"{error}; a file of no kind that is known here: it is no model, recording, list, result, "
                         "config nor table of lines NAME VALUE") from None
    return {"table": str(place), "rows": f"{len(table):,}", "values": _counted(table.values()),
            "first": first_few(list(table))}
