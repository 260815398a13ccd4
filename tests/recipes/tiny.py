"""Recipes at the size of a test: a checkout of its own, and options that make any config small."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EGS = ROOT / "egs"
CONFIGS = sorted(EGS.glob("*/*/*/conf/*.yaml"))
SCRIPTS = sorted(EGS.glob("*/*/*/run*.sh"))
TINY = ["--num_epochs", "1", "--num_avg", "1", "--save_epoch_interval", "1", "--gpus", "[0]", "--device", "cpu",
        "--num_workers", "1", "--dataloader_args.batch_size", "4", "--dataloader_args.num_workers", "0",
        "--dataset_args.num_frms", "20", "--dataset_args.eval_frms", "0", "--dataset_args.sample_num_per_epoch", "0",
        "--dataset_args.filter_args.min_num_frames", "5"]
SIZES = {"embed_dim": 8, "head_nb": 2, "compression_dim": 16, "m_channels": 4, "frame_length": 20}
WHISPER_BASE = {"model_type": "whisper", "d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8,
                "encoder_ffn_dim": 2048}
WHISPER_TINY = {**WHISPER_BASE, "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
PRUNED = ["--num_epochs", "2", "--sparsity_warmup_epochs", "1", "--initial_reg_lr", "0.2"]


def title(path: Path) -> str:
    return str(path.relative_to(EGS)).replace("/conf", "")


def architecture_of(config):
    """Of the published encoder that a config names; None for front-ends without one."""
    from wedefense.frontend.names import CONFORMERS
    from wedefense.frontend.ssl.zoo import find_model
    from wedefense.frontend.whisper import whisper_architecture

    if config.dataset_args.frontend == "whisper":
        assert config.dataset_args.frontend_options.upstream_args.name == "whisper_base"
        return whisper_architecture(WHISPER_BASE, "Whisper base")
    if config.dataset_args.frontend == "conformer":
        return CONFORMERS[config.dataset_args.frontend_options.upstream_args.name].architecture
    if config.dataset_args.frontend == "ssl":
        return find_model(config.dataset_args.frontend_options.upstream_args.name).architecture
    return None


def tiny_whisper(folder: Path) -> Path:
    """A checkpoint of Hugging Face's form with random weights."""
    import torch
    from transformers import WhisperConfig, WhisperModel

    torch.manual_seed(0)
    decoder = {name.replace("encoder", "decoder"): size for name, size in WHISPER_TINY.items() if "encoder" in name}
    WhisperModel(WhisperConfig(**WHISPER_TINY, **decoder, vocab_size=8, pad_token_id=0)).save_pretrained(folder)
    return folder


def tiny_options(config, whisper: Path | None = None, conformer: Path | None = None) -> list[str]:
    """Options under which a recipe runs `config` in seconds: a seeded encoder of three small blocks and of
    the same family, or this Whisper or Conformer."""
    options = list(TINY)
    known = {field.name for field in dataclasses.fields(config.model_args)}
    for name, value in SIZES.items():
        if name in known:
            options += [f"--model_args.{name}", str(value)]
    if "utt" in getattr(config.model_args, "multi_reso_active", ()):  # the encoder has too few features for all
        options += ["--model_args.num_scale", "3", "--model_args.multi_reso_active", "['2', '4', '8', utt]",
                    "--localization_args.resolutions", "[20, 40, 80]"]
    if config.dataset_args.frontend == "ssl":
        architecture = architecture_of(config)
        large = "_large" if architecture.norm_first and architecture.family == "wavlm" else ""
        options += ["--dataset_args.ssl_args.upstream_args.name", f"{architecture.family}{large}_tiny"]
    if config.dataset_args.frontend == "conformer":
        options += ["--dataset_args.conformer_args.upstream_args.name", str(conformer)]
    if config.dataset_args.frontend == "whisper":
        options += ["--dataset_args.whisper_args.upstream_args.name", str(whisper)]
    return options + (PRUNED if config.use_pruning_loss else [])


def copy_checkout(folder: Path) -> Path:
    """What recipes need, without what they wrote: neither sees what becomes of the other."""
    for name in ("tools", "conf", "wedefense", "egs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("data", "exp", "__pycache__")
                        if name == "egs" else shutil.ignore_patterns("__pycache__"))
    return folder


def environment() -> dict[str, str]:
    """This Python comes first, whatever environment is active."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "VIRTUAL_ENV": os.environ.get("VIRTUAL_ENV", "none"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def corpora(recipe: Path) -> list[str]:
    """The readers that a recipe's first stage calls; none where it has a local/prepare_data.sh."""
    found = re.search(r'^corpora=(?:"|\${corpora:-)?([\w ]+)', (recipe / "run.sh").read_text(), re.MULTILINE)
    return found.group(1).split() if found else []
