"""Every reader: a good file of its kind, what reads it, and what holds of all that it takes."""

import io
import json
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from unittest.mock import patch

import numpy as np
import soundfile
import torch
from safetensors.torch import save_file

from tests.corpus import make_list, write_config
from tests.detect.experiments import SSL, make_experiment, make_pruned
from tests.security.campaign.label_readers import LABEL_READERS, good_labels
from tests.security.campaign.model_readers import MODEL_READERS, good_models
from tests.security.campaign.reader import Reader, finite, main_of, numbers, read_results_file, scored
from wedefense import load_detector
from wedefense.bin import (
    average,
    calibrate,
    classify,
    compare,
    config,
    embed,
    evaluate,
    export,
    fuse,
    info,
    llr,
    logits,
    results,
    score,
    score_trials,
    table,
)
from wedefense.bin import (
    make_list as make_list_command,
)
from wedefense.config.loader import load_config, save_config
from wedefense.data.audio import BadAudio, open_audio, probe, read_span
from wedefense.data.labels import Labels
from wedefense.data.loader import eval_loader
from wedefense.data.manifest import read_data_dir
from wedefense.data.spans import Span, read_spans, write_spans
from wedefense.detect.share import write_folder
from wedefense.experiment import checkpoint
from wedefense.experiment.arks import read_scp, write_ark
from wedefense.experiment.load import load_experiment
from wedefense.experiment.records import layer_weights, read_config, read_history, read_results
from wedefense.frontend import load_frontend
from wedefense.frontend.ssl.formats.recorded import record_architecture
from wedefense.frontend.ssl.zoo import MODELS
from wedefense.metrics.catalogue import OF_CLASSES
from wedefense.metrics.segments import read_frame_scores, read_seglab
from wedefense.report.model_card import write_card
from wedefense.scoring.calibration import Calibration
from wedefense.utils.errors import InputError
from wedefense.utils.safe_load import load_torch
from wedefense.utils.tables import write_table


def good(root: Path) -> Path:
    """One of everything, made once."""
    rng = np.random.default_rng(0)
    make_experiment(root, **SSL)
    make_pruned(root / "pruned", root / "exp")
    make_list(root, "train", utterances=6, seconds=0.2)
    write_folder(load_detector(root / "exp"), root / "shared")
    exp = root / "exp"
    weights = torch.load(exp / "models/avg_model.pt")
    torch.save(weights, exp / "models/model_1.pt")
    torch.save(weights, root / "legacy.pt", _use_new_zipfile_serialization=False)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, root / "weights.safetensors")
    names = [f"{'eval' if n < 40 else 'dev'}_{n % 40:02d}" for n in range(80)]
    for part in ("dev", "eval"):
        own = [name for name in names if name.startswith(part)]
        labels = {name: "spoof" if n % 2 else "bonafide" for n, name in enumerate(own)}
        (root / "data" / part).mkdir(parents=True)
        write_table(root / "data" / part / "utt2lab", labels)
        write_table(root / "data" / part / "utt2attack", {name: f"A{n % 3}" for n, name in enumerate(own)})
        vectors = [(name, rng.normal(size=16).astype(np.float32)) for name in own]
        folder = exp / "embeddings" / part
        entries = write_ark(folder / "embedding_0.ark", vectors)  # beside their table, so that copies read their own
        write_table(folder / "embedding.scp", {key: Path(entry).name for key, entry in entries.items()})
        folder = exp / "posteriors" / part
        values = [(name, np.array([1.0, -1.0]) * (1 - 2 * (n % 2)) + rng.normal(size=2)) for n, name in enumerate(own)]
        write_table(folder / "logits.scp", write_ark(folder / "logits.ark", values))
        write_table(folder / "llr.txt", {name: f"{v[0] - v[1]:.6g}" for name, v in values})
        if part == "dev":
            write_table(root / "quality", {name: f"{rng.uniform(1, 5):.3f}" for name, _ in values})
        write_table(root / f"{part}.scores", {name: f"{v[0] - v[1]:.6g}" for name, v in values})
    kinds = ["bonafide target", "bonafide nontarget", "spoof spoof"] * 8
    (root / "sasv.keys").write_text("".join(f"spk t{n} {kind}\n" for n, kind in enumerate(kinds)))
    (root / "sasv.scores").write_text("".join(
        f"spk t{n} {' '.join(f'{value:.4f}' for value in rng.normal(size=3))}\n" for n in range(len(kinds))))
    (root / "csv.scores").write_text("filename,cm-score,more\n" + "".join(
        f"{name},{rng.normal():.4f},z\n" for name in names if name.startswith("eval")))
    (root / "classes.scores").write_text("utt angry sad\n" + "".join(
        f"u{n} {rng.normal():.3f} {rng.normal():.3f}\n" for n in range(8)))
    (root / "classes.keys").write_text("".join(f"u{n} {'angry' if n % 2 else 'sad'}\n" for n in range(8)))
    (root / "frames.txt").write_text("".join(f"u{n} " + " ".join(f"{v:.3f}" for v in rng.normal(size=16)) + "\n"
                                             for n in range(4)))
    write_spans(root / "clip.TextGrid", {"clip": [Span(0, 0.5, "bonafide"), Span(0.7, 1.0, 'a "fake"')]})
    np.save(root / "dev_seglab_0.16.npy", {f"u{n}": np.array(["1", "0"]) for n in range(4)}, allow_pickle=True)
    (root / "trials").write_text("".join(f"{n % 2} eval_{n:02d} eval_{n + 1:02d}\n" for n in range(20)))
    Calibration((1.0,), 0.1, prior=0.5, n_bonafide=20, n_spoof=20, sketch=("ab" * 8,), doubts=("a doubt",)).save(
        root / "calibration.json")
    shutil.copy(root / "calibration.json", exp / "calibration.json")
    (root / "fold").mkdir()
    (root / "fold/results.json").write_text(json.dumps({"sets": {"eval": {name: 0.5 for name in OF_CLASSES}}}))
    (exp / "history.json").write_text(json.dumps({"rows": [
        {"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.9, "val_eer": 0.1, "seconds": 2.0}],
        "best": {"epoch": 1, "metric": "val_eer", "value": 0.1}}))
    results.main(["--exp_dir", str(exp), "--data", str(root / "data"), "--sets", "dev", "eval", "--bootstrap", "0"])
    (root / "conf").mkdir()
    write_config(root / "conf")
    for kind in ("WAV", "FLAC", "OGG", "AIFF", "AU", "W64", "CAF"):
        content = io.BytesIO()
        soundfile.write(content, 0.1 * rng.normal(size=4000), 16000, format=kind)
        (root / f"a.{kind.lower()}").write_bytes(content.getvalue())
    embed.main(["--exp_dir", str(exp), "--sets", "train", "--data", str(root / "train/raw.list"), "--device", "cpu"])
    for main in (logits.main, llr.main):
        main(["--exp_dir", str(exp), "--sets", "train"])
    make_list_command.main(["--data_dir", str(root / "train"), "--data_type", "shard", "--num_utts_per_shard", "3"])
    shards = sorted(path.name for path in (root / "train/shards").glob("*.tar"))
    (root / "train/shard.list").write_text("".join(f"shards/{name}\n" for name in shards))
    record_architecture(root / "exp", MODELS["wavlm_tiny"].architecture)
    good_labels(root)
    good_models(root)
    return root


def _same_weights(folder: Path):
    """Weights that were taken from a zip are those that were written: its checksums hold every byte."""
    return checkpoint.load_model(folder / "exp/models/avg_model.pt"), load_torch(folder / "exp/models/model_1.pt")


def _equal(pair) -> bool:
    one, other = pair
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _round_trip(folder: Path):
    loaded = load_config(folder / "conf/config.yaml")
    save_config(loaded, folder / "again.yaml")
    return loaded, load_config(folder / "again.yaml")


def _batches(folder: Path, kind: str):
    from wedefense.config.data import DataLoaderOptions, DatasetOptions

    loader = eval_loader(folder / f"train/{kind}.list", kind, DatasetOptions(), DataLoaderOptions(num_workers=0),
                         {"bonafide": 0, "spoof": 1}, skip_bad=False)
    return [batch.wav for batch in loader]


def _audio(name: str):
    def read(folder: Path):
        try:
            info_ = probe(folder / name)
            with open_audio(folder / name) as sound:
                return info_, read_span(sound, Fraction(1))
        except BadAudio as error:
            raise InputError(f"{name}: {error}") from None

    return Reader(name, read, lambda found: finite(found[1]) and 0 < found[0].frames == len(found[1]), text=False)


def _evaluate(name: str, *more: str, keys: str = "{}/data/eval/utt2lab") -> Callable[[Path], object]:
    def read(folder: Path):
        evaluate.main([text.replace("{}", str(folder)) for text in (
            "--scores", f"{{}}/{name}", "--keys", keys, "--json", "{}/out.json", *more)])
        return read_results_file(folder / "out.json")

    return read


def _judged(*sets: str) -> Callable[[Path], object]:
    """Stage 7, without its pictures."""
    judge = _without_report(results.main, "--exp_dir", "{}/exp", "--data", "{}/data", "--bootstrap", "0", "--sets",
                            *sets)

    def read(folder: Path):
        judge(folder)
        return read_results_file(folder / "exp/results.json")["sets"]

    return read


def _without_report(main: Callable, *arguments: str) -> Callable[[Path], object]:
    def read(folder: Path):
        with patch("wedefense.report.write.write_report"), patch("wedefense.report.write.write_class_report"):
            return main_of(main, *arguments)(folder)

    return read


READERS = {
    "wav.scp": Reader("train/wav.scp", lambda f: read_data_dir(f / "train")),
    "utt2lab": Reader("train/utt2lab", main_of(make_list_command.main, "--data_dir", "{}/train", "--force",
                                       "--num_workers", "1")),
    "raw.list": Reader("train/raw.list", lambda f: _batches(f, "raw"), lambda found: all(map(finite, found))),
    "shard.list": Reader("train/shard.list", lambda f: _batches(f, "shard"), lambda found: all(map(finite, found))),
    "tar": Reader("train/shards/shards_000000.tar", lambda f: _batches(f, "shard"),
                  lambda found: all(map(finite, found)), text=False),
    "tar index": Reader("train/shards/shards_000000.tar.idx", lambda f: _batches(f, "shard"),
                        lambda found: all(map(finite, found))),
    "scores": Reader("eval.scores", _evaluate("eval.scores"), numbers),
    "keys": Reader("data/eval/utt2lab", _evaluate("eval.scores"), numbers),
    "meta": Reader("data/eval/utt2attack", _evaluate("eval.scores", "--meta", "{}/data/eval/utt2attack"), numbers),
    "CSV": Reader("csv.scores", _evaluate("csv.scores"), numbers),
    "classes": Reader("classes.scores", _evaluate("classes.scores", "--classes", keys="{}/classes.keys"), numbers),
    "class keys": Reader("classes.keys", _evaluate("classes.scores", "--classes", keys="{}/classes.keys"), numbers),
    "frames": Reader("frames.txt", lambda f: read_frame_scores(f / "frames.txt"),
                     lambda found: all(map(finite, found.values()))),
    "frames evaluated": Reader("frames.txt", _evaluate("frames.txt", "--segments", "0.02",
                                                       keys="{}/dev_seglab_0.16.npy"), numbers),
    "TextGrid": Reader("clip.TextGrid", lambda f: read_spans(f / "clip.TextGrid"),
                       lambda found: all(finite(span[:2]) for spans in found.values() for span in spans)),
    "seglab": Reader("dev_seglab_0.16.npy", lambda f: read_seglab(f / "dev_seglab_0.16.npy"), text=False),
    "SASV scores": Reader("sasv.scores", _evaluate("sasv.scores", "--sasv", keys="{}/sasv.keys"), numbers),
    "SASV keys": Reader("sasv.keys", _evaluate("sasv.scores", "--sasv", keys="{}/sasv.keys"), numbers),
    "groups": Reader("data/eval/utt2attack", _evaluate("eval.scores", "--bootstrap", "10", "--groups",
                                                       "{}/data/eval/utt2attack"), numbers),
    "quality": Reader("quality", main_of(
        calibrate.main, "--dev_scores", "{}/dev.scores", "--dev_keys", "{}/data/dev/utt2lab", "--dev_quality",
        "{}/quality", "--model", "{}/m")),
    "results": Reader("data/eval/utt2attack", _judged("eval"), numbers),
    "compare": Reader("csv.scores", main_of(compare.main, "{}/eval.scores", "{}/csv.scores", "--keys",
                                          "{}/data/eval/utt2lab", "--resamples", "20")),
    "calibrate": Reader("dev.scores", main_of(calibrate.main, "--dev_scores", "{}/dev.scores", "--dev_keys",
                                            "{}/data/dev/utt2lab", "--scores", "{}/eval.scores", "--out", "{}/o")),
    "fuse": Reader("dev.scores", main_of(fuse.main, "--dev_scores", "{}/dev.scores", "{}/dev.scores", "--dev_keys",
                                       "{}/data/dev/utt2lab", "--model", "{}/m")),
    "calibration": Reader("calibration.json", lambda f: Calibration.load(f / "calibration.json"),
                          lambda found: finite((*found.scales, found.bias, *found.apply(np.zeros(2))))),
    "calibration applied": Reader("calibration.json", main_of(calibrate.main, "--model", "{}/calibration.json",
                                                            "--scores", "{}/eval.scores", "--out", "{}/o")),
    "config": Reader("conf/config.yaml", _round_trip, lambda pair: pair[0] == pair[1]),
    "config printed": Reader("conf/config.yaml", main_of(config.main, "--config", "{}/conf/config.yaml")),
    "label2id": Reader("exp/label2id", lambda f: Labels.load(f / "exp/label2id"),
                       lambda found: finite(found.log_priors) and len(set(found.names)) == len(found.names)),
    "model config": Reader("exp/config.yaml", lambda f: load_detector(f / "exp"), scored, share=0.3),
    "model labels": Reader("exp/label2id", lambda f: load_detector(f / "exp"),
                           lambda model: not model.labels.has_bonafide or scored(model), share=0.3),
    "model calibration": Reader("exp/calibration.json", lambda f: load_detector(f / "exp"), scored, share=0.3),
    "shape": Reader("exp/frontend.json", lambda f: load_detector(f / "exp"), scored, share=0.5),
    "weights": Reader("exp/models/avg_model.pt", _same_weights, _equal, text=False),
    "weights loaded": Reader("exp/models/avg_model.pt", lambda f: load_experiment(f / "exp"), text=False, share=0.3),
    "older weights": Reader("legacy.pt", lambda f: checkpoint.load(f / "legacy.pt"), text=False),
    "safetensors": Reader("shared/model.safetensors", lambda f: load_detector(f / "shared"), scored, text=False,
                          share=0.3),
    "pruned": Reader("pruned/pytorch_model.bin", lambda f: load_detector(f / "pruned"), scored, text=False, share=0.3),
    "pretrained": Reader("pruned/pytorch_model.bin", lambda f: load_frontend(str(f / "pruned/pytorch_model.bin")),
                         text=False),
    "info": Reader("legacy.pt", main_of(info.main, "{}/legacy.pt"), text=False),
    "layer weights": Reader("exp/models/avg_model.pt", lambda f: layer_weights(f / "exp"), text=False),
    "embeddings": Reader("exp/embeddings/train/embedding.scp", main_of(logits.main, "--exp_dir", "{}/exp", "--sets",
                                                                     "train"), share=0.3),
    "embedding ark": Reader("exp/embeddings/dev/embedding_0.ark",
                            lambda f: read_scp(f / "exp/embeddings/dev/embedding.scp"),
                            lambda found: finite(found[1]), text=False),
    "logits": Reader("exp/posteriors/train/logits.scp", main_of(llr.main, "--exp_dir", "{}/exp", "--sets", "train")),
    "LLRs": Reader("exp/posteriors/eval/llr.txt", _judged("dev", "eval"), numbers),
    "labels of a set": Reader("data/dev/utt2lab", _judged("dev", "eval"), numbers),
    "history": Reader("exp/history.json", lambda f: read_history(f / "exp")),
    "history averaged": Reader("exp/history.json", main_of(
        average.main, "--config", "{}/exp/config.yaml", "--exp_dir", "{}/exp", "--average", "best")),
    "experiment config": Reader("exp/config.yaml", lambda f: read_config(f / "exp")),
    "results read": Reader("exp/results.json", lambda f: read_results(f / "exp")),
    "card": Reader("exp/results.json", lambda f: write_card(f / "exp")),
    "card of a config": Reader("exp/config.yaml", lambda f: write_card(f / "exp")),
    "table": Reader("exp/results.json", main_of(table.main, "--table", "asvspoof5_leaderboard", "--row",
                                              "HP single system", "--exp_dir", "{}/exp")),
    "classify": Reader("fold/results.json", _without_report(classify.main, "--exp_dir", "{}/x", "--average", "{}/fold",
                                                  "{}/fold")),
    "trials": Reader("trials", _without_report(score_trials.main, "--exp_dir", "{}/exp", "--sets", "eval", "--trials",
                                               "{}/trials")),
    "recordings": Reader("train/wav.scp", main_of(score.main, "--model", "{}/exp", "{}/train/wav.scp"), share=0.2),
    "hub folder": Reader("shared/config.yaml", main_of(export.main, "{}/shared", "--format", "hub", "--out", "{}/hub"),
                         share=0.1),
    **{f"audio {kind}": _audio(f"a.{kind}") for kind in ("wav", "flac", "ogg", "aiff", "au", "w64", "caf")},
    **LABEL_READERS, **MODEL_READERS,
}
