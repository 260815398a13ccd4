"""Readers of models in other forms and of what stands beside weights, and of what the stages leave for one another."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from tests.detect.published_files import aasist, fairseq, filled
from tests.frontend.nemo import write_nemo
from tests.frontend.ssl.files import save_hugging_face, save_s3prl, transformers_model
from tests.recipes.stages_here import Stages
from tests.recipes.tiny import tiny_whisper
from tests.security.campaign.reader import Reader, finite, main_of, numbers, read_results_file, scored
from wedefense import load_detector
from wedefense.bin import benchmark, check, config, history, info, locate
from wedefense.config.loader import load_config, save_config
from wedefense.frontend import load_frontend
from wedefense.utils.owner import LOCK, owned


def good_models(root: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_hugging_face(transformers_model("wavlm", False), root / "hf", normalize=False, safe=False)
        tiny_whisper(root / "whisper")
    save_s3prl(root / "s3prl.pt", "wavlm", False)
    content = torch.load(root / "s3prl.pt")
    torch.save(content, root / "s3prl.pt", _use_new_zipfile_serialization=False)
    published = filled(fairseq("ssl_model.model.") | aasist())
    torch.save(published, root / "published.pt", _use_new_zipfile_serialization=False)
    write_nemo(root / "x.nemo")
    (root / "foreign.yaml").write_text(
        "gpus: '[0]'\nmodel: ResNet34\nmodel_args: {feat_dim: 80, embed_dim: 16, pooling_func: TSTP}\n"
        "dataset_args: {fbank_args: {num_mel_bins: 80, frame_shift: 10, frame_length: 25, dither: 1.0}, spec_aug: "
        "False, resample_rate: 16000, speed_perturb: True, num_frms: 200}\nprojection_args: {project_type: "
        "arc_margin, scale: 32.0}\nmargin_scheduler: MarginScheduler\nmargin_update: {initial_margin: 0.0, "
        "final_margin: 0.2, increase_start_epoch: 20, fix_start_epoch: 40}\noptimizer: SGD\noptimizer_args: "
        "{momentum: 0.9, nesterov: True, weight_decay: 0.0001}\nscheduler_args: {initial_lr: 0.1, final_lr: 5.0e-5}\n")
    (root / "frames.json").write_text(json.dumps({"localization": {"rows": {"time": {
        "dev_threshold": 0.25, "eer_threshold": 0.5}}}}))
    (root / "frames").mkdir()
    (root / "frames/segments").write_text("a 0 0.1 bonafide\na 0.1 0.25 spoof\n")
    main_of(benchmark.main, *_BENCHMARK)(root)


def good_stages(root: Path) -> Stages:
    """An experiment whose every stage has its record."""
    stages = Stages(root, num_epochs=1, num_avg=1)
    stages.run(2)
    return stages


_BENCHMARK = ("--model", "{}/exp", "--sets", "{}/train", "--out", "{}/bench", "--bootstrap", "0", "--device", "cpu")


def _benchmark(folder: Path):
    """Of scores that are there: they may be read again, scored again or refused, and are the same."""
    main_of(benchmark.main, *_BENCHMARK)(folder)
    return read_results_file(folder / "bench/benchmark.json"), folder / "bench/systems/exp/train.json"


def _same_scores(found) -> bool:
    tree, path = found
    scores = read_results_file(path)["scores"].values()
    return numbers(tree) and len(scores) == 6 and finite([score for score in scores if not isinstance(score, str)])


def _hub_folder(folder: Path):
    return load_detector(folder / "shared")


def _frontend(name: str) -> Callable[[Path], object]:
    return lambda folder: load_frontend(str(folder / name))


def _round_trip(folder: Path):
    loaded = load_config(folder / "foreign.yaml")
    save_config(loaded, folder / "again.yaml")
    return loaded, load_config(folder / "again.yaml")


MODEL_READERS = {
    "HF config": Reader("hf/config.json", _frontend("hf")),
    "HF preprocessor": Reader("hf/preprocessor_config.json", _frontend("hf")),
    "HF weights": Reader("hf/pytorch_model.bin", _frontend("hf"), text=False),
    "whisper config": Reader("whisper/config.json", _frontend("whisper")),
    "whisper weights": Reader("whisper/model.safetensors", _frontend("whisper"), text=False),
    "s3prl weights": Reader("s3prl.pt", main_of(info.main, "{}/s3prl.pt"), text=False),
    "s3prl front-end": Reader("s3prl.pt", _frontend("s3prl.pt"), text=False),
    "published weights": Reader("published.pt", lambda f: load_detector(f / "published.pt"), scored, text=False),
    "nemo": Reader("x.nemo", lambda f: load_frontend(str(f / "x.nemo")), text=False),
    "foreign config": Reader("foreign.yaml", _round_trip, lambda pair: pair[0] == pair[1]),
    "hub config": Reader("shared/config.yaml", _hub_folder, scored),
    "hub labels": Reader("shared/label2id", _hub_folder, lambda model: not model.labels.has_bonafide or scored(model)),
    "hub shape": Reader("shared/frontend.json", _hub_folder, scored),
    "compared configs": Reader("conf/config.yaml", main_of(config.main, "--diff", "{}/conf/config.yaml", "{}/exp")),
    "explained config": Reader("conf/config.yaml", main_of(
        config.main, "--config", "{}/conf/config.yaml", "--explain", "dataset_args.num_frms")),
    "history plotted": Reader("exp/history.json", main_of(history.main, "{}/exp")),
    "info of an experiment": Reader("exp/label2id", main_of(info.main, "{}/exp")),
    "benchmark cache": Reader("bench/systems/exp/train.json", _benchmark, _same_scores),
    "benchmark labels": Reader("train/utt2lab", _benchmark, _same_scores),
    "benchmark recordings": Reader("train/wav.scp", _benchmark, _same_scores),
    "frame threshold": Reader("frames.json", main_of(
        locate.main, "--model", "{}/exp", "{}/a.wav", "--threshold", "{}/frames.json", "--device", "cpu")),
    "true spans": Reader("frames/segments", main_of(
        locate.main, "--model", "{}/exp", "{}/a.wav", "--segments", "{}/frames/segments", "--device", "cpu")),
}


def owner_of(folder: Path):
    """The folder is had, or its owner is named; of one on another machine as if it had been silent for long."""
    (folder / "owned").mkdir(exist_ok=True)
    with owned(folder / "owned"):
        return True


def good_lock(root: Path) -> bytes:
    root.mkdir(exist_ok=True)
    with owned(root):
        return (root / LOCK).read_bytes()


RECORDS = {  # of an experiment, and the stage before which they are asked
    "config.yaml": 7, "training.json": 7, "models/avg_model.json": 5, "embeddings/eval/source.json": 5,
    "posteriors/eval/logits.json": 6, "posteriors/eval/llr.json": 7, "label2id": 7, "history.json": 7,
    "embeddings/eval/embedding.scp": 5, "posteriors/eval/llr.txt": 7, "posteriors/eval/logits.scp": 6}


def asked_and_judged(stages: Stages, stage: int) -> dict:
    """`check` lets it pass, and stage 7 says what it said before."""
    settings = ["--exp_dir", str(stages.exp), "--data_type", stages.data_type]
    for key, name in (("train", "train"), ("val", "dev")):
        settings += [f"--{key}_data", stages.list(name), f"--{key}_label", str(stages.data / name / "utt2lab")]
    check.main(["--config", str(stages.config), "--stage", str(stage), "--data", str(stages.data), "--train_sets",
                "train", "--sets", "dev", "eval", *settings])
    stages.run(stage, check_first=False)
    return stages.found()

