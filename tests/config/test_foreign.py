"""Configs of WeSpeaker and WeDefense, as people write them and as their training leaves them."""

from pathlib import Path

import pytest
import yaml

from wedefense.config.lacking import PARTS
from wedefense.config.loader import load_config, save_config
from wedefense.config.localization import LocalizationOptions
from wedefense.config.models import BACKENDS
from wedefense.utils.errors import InputError

README = Path(__file__).parents[2] / "README.md"


def speaker(**changes) -> dict:
    """A config in WeSpeaker's words."""
    config = {
        "exp_dir": "exp/ResNet34", "gpus": "[0,1]", "num_avg": 10, "enable_amp": False, "seed": 42, "num_epochs": 150,
        "save_epoch_interval": 5, "log_batch_interval": 100,
        "dataloader_args": {"batch_size": 256, "num_workers": 16, "pin_memory": False, "prefetch_factor": 8,
                            "drop_last": True},
        "dataset_args": {"sample_num_per_epoch": 0, "shuffle": True, "shuffle_args": {"shuffle_size": 2500},
                         "filter": True, "filter_args": {"min_num_frames": 100, "max_num_frames": 800},
                         "resample_rate": 16000, "speed_perturb": True, "num_frms": 200, "aug_prob": 0.6,
                         "fbank_args": {"num_mel_bins": 80, "frame_shift": 10, "frame_length": 25, "dither": 1.0},
                         "spec_aug": False,
                         "spec_aug_args": {"num_t_mask": 1, "num_f_mask": 1, "max_t": 10, "max_f": 8, "prob": 0.6}},
        "model": "ResNet34", "model_init": None,
        "model_args": {"feat_dim": 80, "embed_dim": 256, "pooling_func": "TSTP", "two_emb_layer": False},
        "projection_args": {"project_type": "arc_margin", "scale": 32.0, "easy_margin": False},
        "margin_scheduler": "MarginScheduler",
        "margin_update": {"initial_margin": 0.0, "final_margin": 0.2, "increase_start_epoch": 20,
                          "fix_start_epoch": 40, "update_margin": True, "increase_type": "exp"},
        "loss": "CrossEntropyLoss", "loss_args": {}, "optimizer": "SGD",
        "optimizer_args": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.0001},
        "scheduler": "ExponentialDecrease",
        "scheduler_args": {"initial_lr": 0.1, "final_lr": 5.0e-5, "warm_up_epoch": 6, "warm_from_zero": True},
        "noise_data": "data/musan/lmdb", "reverb_data": "data/rirs/lmdb",
    }
    return laid_over(config, changes)


def laid_over(config: dict, changes: dict) -> dict:
    for dotted, value in changes.items():
        section, keys = config, dotted.split("__")
        for key in keys[:-1]:
            section = section.setdefault(key, {})
        section[keys[-1]] = value
    return config


def spoofing(**changes) -> dict:
    """A config in WeDefense's words: MHFA over s3prl."""
    s3prl = {"upstream_args": {"name": "wavlm_base_plus"}, "download_dir": "./s3prl_hub", "multilayer_feature": True,
             "layerwise_feature": True, "layer": -1, "frozen": True, "frame_shift": 20, "frame_length": 20,
             }
    config = speaker(dataset_args__frontend="s3prl", dataset_args__s3prl_args=s3prl, dataset_args__cmvn=True,
                     dataset_args__cmvn_args={"norm_mean": True, "norm_var": False}, dataset_args__speed_perturb=False,
                     dataset_args__rawboost=False, model="SSL_BACKEND_MHFA",
                     projection_args__project_type="softmax", val_data="data/dev/raw.list")
    config["model_args"] = {"head_nb": 32, "embed_dim": 256, "compression_dim": 128, "nb_layer": 13,
                            "feature_grad_mult": 0.1}
    return laid_over(config, changes)


def wavlm_mhfa(**changes) -> dict:
    """A config of WavLM and MHFA as one model, from MHFA's authors."""
    config = speaker(dataset_args__frontend="wavlm", dataset_args__wavlm_args={"frame_shift": 10, "frame_length": 25},
                     dataset_args__num_frms=300, model="WavLM_MHFA")
    config["model_args"] = {"model_path": "/ssl/WavLM-Base+.pt", "head_nb": 64, "embed_dim": 256, "pooling": "MHFA",
                            "group": 1, "cnn_scale": 0.0, "layer_drop": 0.05, "feature_grad_mult": 0.0}
    return laid_over(config, changes)


def trained(config: dict, epoch_iter: int = 4128) -> dict:
    """What training adds to `exp_dir/config.yaml`, in the order of the toolkits' own code."""
    rate, epochs = config["scheduler_args"]["initial_lr"], config["num_epochs"]
    return laid_over(config, {
        "projection_args__embed_dim": config["model_args"]["embed_dim"], "projection_args__num_class": 5994,
        "projection_args__do_lm": False, "optimizer_args__lr": rate, "scheduler_args__num_epochs": epochs,
        "scheduler_args__epoch_iter": epoch_iter, "scheduler_args__scale_ratio": 8.0,
        "margin_update__epoch_iter": epoch_iter})


WHOLE = {"dataset_args__whole_utt": True, "dataset_args__sampler": "block_shuffle_by_length"}
PRUNING = {"dataset_args__frontend": "huggingface", "use_pruning_loss": True, "target_sparsity": 0.5,
           "sparsity_warmup_epochs": 7, "sparsity_schedule": "cosine", "min_sparsity": 0.0, "initial_reg_lr": 0.02,
           "dataset_args__huggingface_args": {"upstream_args": {
               "name": "wavlm_base", "path_or_url": "hf/wavlm_base.hf.pth",
               "pruning_units": "conv,head,attlayer,interm,ffnlayer"}, "frozen": False}}
WRITTEN = {
    "speaker": speaker, "spoofing": spoofing, "WavLM_MHFA": wavlm_mhfa,
    "MSEp2sgrad": lambda: spoofing(loss="MSELoss", projection_args__project_type="MSEp2sgrad"),
    "TanhLinear": lambda: spoofing(projection_args__project_type="TanhLinear"),
    "by length": lambda: speaker(**WHOLE),
    "segments": lambda: spoofing(dataset_args__label_reso=0.02),
    "no workers": lambda: speaker(dataloader_args__num_workers=0, dataloader_args__prefetch_factor=None),
    "decibels": lambda: speaker(dataset_args__frontend="lfcc_torchaudio", dataset_args__lfcc_torchaudio_args={
        "n_fft": 512, "n_lfcc": 20, "frame_shift": 10, "frame_length": 20, "use_delta": True}, model_args__feat_dim=60),
    "pruning": lambda: spoofing(**PRUNING),
}


def load(folder: Path, config: dict):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return load_config(path)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_config_loads_and_so_does_what_training_made_of_it(tmp_path, name):
    written = load(tmp_path, WRITTEN[name]())
    changed = trained(WRITTEN[name]())
    if name == "pruning":
        changed |= {"reg_lr": 0.02, "original_ssl_num_params": 94381936}
    experiment = load(tmp_path, changed)
    for key in ("dataset_args", "model", "model_args", "optimizer_args", "scheduler_args", "loss", "initial_reg_lr"):
        assert getattr(experiment, key) == getattr(written, key), key
    save_config(experiment, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == experiment


def test_what_is_written_otherwise_means_the_same(tmp_path):
    config = load(tmp_path, wavlm_mhfa())
    data, encoder = config.dataset_args, config.dataset_args.ssl_args
    assert config.model == "SSL_BACKEND_MHFA" and config.model_args.head_nb == 64 and not data.cmvn
    assert config.model_args.compression_dim == 128 and encoder.frozen
    assert (encoder.upstream_args.name, encoder.upstream_args.path_or_url) == ("wavlm_base_plus", "/ssl/WavLM-Base+.pt")
    assert (encoder.layer_drop, encoder.normalize_waveform, encoder.final_norm) == (0.05, False, False)
    assert data.samples(data.num_frms) == (299 * 10 + 25) * 16        # as its loader cuts
    assert data.span(data.filter_args.min_num_frames) == 100 * 160 and data.span(data.filter_args.max_num_frames) == \
        800 * 160
    tuned = load(tmp_path, wavlm_mhfa(model_args__feature_grad_mult=0.1, model_args__model_path="WavLM-Large.pt"))
    assert not tuned.dataset_args.ssl_args.frozen and tuned.model_args.feature_grad_mult == 0.1
    assert tuned.dataset_args.ssl_args.upstream_args.name == "wavlm_large"
    squares = load(tmp_path, spoofing(loss="MSELoss", projection_args__project_type="MSEp2sgrad"))
    assert squares.loss == "CrossEntropyLoss" and squares.projection_args.project_type == "MSEp2sgrad"
    where = load(tmp_path, spoofing(dataset_args__label_reso=0.16, loss="MSELoss",
                                    projection_args__project_type="MSEp2sgrad")).localization_args
    assert where == LocalizationOptions((160,), loss="p2sgrad", utterance="min", utterance_weight=0.0)
    assert load(tmp_path, speaker(**WHOLE)).dataset_args.sampler == "block_shuffle_by_length"


@pytest.mark.parametrize("changes, told", [
    ({"optimizer_args__lr": 0.3}, "optimizer_args.lr: the learning rate is scheduler_args.initial_lr"),
    ({"loss": "MSELoss"}, "unknown loss 'MSELoss'"),
    ({"scheduler_args__epochs": 3}, "unknown key 'scheduler_args.epochs'"),
])
def test_what_contradicts_or_means_nothing_is_refused_all_the_same(tmp_path, changes, told):
    with pytest.raises(InputError, match=told):
        load(tmp_path, speaker(**changes))


def test_every_part_that_is_lacking_is_named_with_the_nearest(tmp_path):
    for part in PARTS:
        name = f"{part.start}_x" if part.key == "model" else part.start or "x"
        with pytest.raises(InputError) as caught:
            load(tmp_path, speaker(**{part.key.replace(".", "__"): name}))
        message = str(caught.value)
        assert "config.yaml:" in message and part.key in message and part.what in message, part
        assert f"the nearest is {part.nearest}" in message
        for word in part.nearest.split("model: ")[1:]:
            assert word.split()[0] in BACKENDS.names(), part
    with pytest.raises(InputError, match="unknown back-end 'ResNet3', did you mean 'ResNet34'"):
        load(tmp_path, speaker(model="ResNet3"))


def test_the_readme_says_what_loads_and_what_does_not():
    text = README.read_text(encoding="utf-8")
    section = text.split("## Configs and checkpoints of WeSpeaker and WeDefense")[1].split("\n## ")[0]
    assert f"{len(WRITTEN)} kinds" in section
    lacking = " ".join(section.split("What they have and this toolkit lacks")[1].split())
    short = [part.what.removeprefix("the back-end ").removeprefix("the front-end ") for part in PARTS]
    assert [what for what in short if what not in lacking] == []
