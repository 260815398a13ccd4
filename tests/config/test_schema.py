from pathlib import Path

import pytest

from wedefense.config.explain import explain
from wedefense.config.loader import load_config, save_config
from wedefense.utils.errors import InputError

ROOT = Path(__file__).parents[2]

# As the WeDefense recipes write it, key for key.
WEDEFENSE = """
exp_dir: exp/MHFA
gpus: "[0,1]"
num_avg: 2
enable_amp: False # whether enable automatic mixed precision training
seed: 42
num_epochs: 20
save_epoch_interval: 1
log_batch_interval: 100
dataloader_args:
  batch_size: 128
  num_workers: 6
  pin_memory: False
  prefetch_factor: 8
  drop_last: True
dataset_args:
  sample_num_per_epoch: 0
  shuffle: True
  shuffle_args:
    shuffle_size: 2500
  filter: True
  filter_args:
    min_num_frames: 50
    max_num_frames: 400
  resample_rate: 16000
  speed_perturb: False
  num_frms: 150
  aug_prob: 0
  frontend: "s3prl"
  s3prl_args:
    upstream_args:
      name: "wavlm_base_plus"
    download_dir: ./s3prl_hub
    multilayer_feature: True
    layerwise_feature: True
    layer: -1
    frozen: True
    frame_shift: 20
    frame_length: 20
  cmvn: True
  cmvn_args:
    norm_mean: True
    norm_var: False
  spec_aug: False
  spec_aug_args:
    num_t_mask: 1
    num_f_mask: 1
    max_t: 10
    max_f: 8
    prob: 0.6
model: SSL_BACKEND_MHFA
model_init: null
model_args:
  feat_dim: -1
  head_nb: 32
  embed_dim: 256
  compression_dim: 128
  feature_grad_mult: 0.1
  nb_layer: 13
projection_args:
  project_type: "softmax"
  scale: 32.0
  easy_margin: False
margin_scheduler: MarginScheduler
margin_update:
  initial_margin: 0.0
  final_margin: 0.0
  increase_start_epoch: 20
  fix_start_epoch: 40
  update_margin: True
  increase_type: "exp"
loss: CrossEntropyLoss
loss_args: {}
optimizer: SGD
optimizer_args:
  momentum: 0.9
  nesterov: True
  weight_decay: 1e-4
scheduler: ExponentialDecrease
scheduler_args:
  initial_lr: 0.1
  final_lr: 5e-4
  warm_up_epoch: 2
  warm_from_zero: True
early_stop_patience: 5
validate_interval: 5
"""


def write(tmp_path, text=WEDEFENSE):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_a_wedefense_config_loads_unchanged(tmp_path):
    config = load_config(write(tmp_path))
    assert config.gpus == (0, 1) and config.optimizer_args == {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}
    assert config.dataset_args.s3prl_args.upstream_args.name == "wavlm_base_plus"
    assert config.dataset_args.s3prl_args.frozen and config.model_args.head_nb == 32
    assert config.dataset_args.samples(config.dataset_args.num_frms) == 48000
    assert config.scheduler_args.final_lr == 5e-4


def test_the_resolved_config_loads_back_to_an_equal_one(tmp_path):
    config = load_config(write(tmp_path), ["--num_epochs", "3", "--dataloader_args.batch_size=64", "--gpus", "[1]"])
    assert (config.num_epochs, config.dataloader_args.batch_size, config.gpus) == (3, 64, (1,))
    save_config(config, tmp_path / "resolved.yaml")
    assert load_config(tmp_path / "resolved.yaml") == config


@pytest.mark.parametrize("old, new, message", [
    ("num_frms: 150", "num_frm: 150", "c.yaml:27: unknown key 'dataset_args.num_frm', did you mean 'num_frms'?"),
    ("model: SSL_BACKEND_MHFA", "model: SSL_BACKEND_MFHA",
     "unknown back-end 'SSL_BACKEND_MFHA', did you mean 'SSL_BACKEND_MHFA'?"),
    ('project_type: "softmax"', "project_type: softmacks",
     "projection_args.project_type: unknown projection 'softmacks', did you mean 'softmax'?"),
    ("momentum: 0.9", "momentun: 0.9", "optimizer_args.momentun: SGD has no such option, did you mean 'momentum'?"),
    ("optimizer: SGD", "optimizer: SDG", "optimizer: unknown optimizer 'SDG', did you mean 'SGD'?"),
    ("seed: 42", "seed: many", "c.yaml:6: seed: must be a whole number, got 'many'"),
    ("head_nb: 32", "head_nb: 0", "model_args.head_nb: must be greater than 0, got 0"),
    ("frontend: \"s3prl\"", "frontend: wavlm_base", "is `frontend: ssl` with `ssl_args: {upstream_args: {name"),
    ("frontend: \"s3prl\"", "frontend: s4prl", "dataset_args.frontend: unknown front-end 's4prl', did you mean"),
    ("increase_type: \"exp\"", "increase_type: cubic", "margin_update.increase_type: must be one of exp, linear"),
])
def test_mistakes_are_named_with_their_cure(tmp_path, old, new, message):
    assert old in WEDEFENSE
    with pytest.raises(InputError) as error:
        load_config(write(tmp_path, WEDEFENSE.replace(old, new)))
    assert message in str(error.value)


@pytest.mark.parametrize("lines, chosen", [
    ("", "auto"), ("precision: tf32", "tf32"), ("enable_amp: True", "bfloat16"), ("enable_amp: False", "float32"),
    ("enable_amp: null", "auto"), ("enable_amp: False\nprecision: float32", "float32"),
    ("enable_amp: True\nprecision: auto", "bfloat16")])
def test_precision_has_an_old_name(tmp_path, lines, chosen):
    config = load_config(write(tmp_path, lines))
    assert config.chosen_precision == chosen
    save_config(config, tmp_path / "resolved.yaml")
    assert load_config(tmp_path / "resolved.yaml").chosen_precision == chosen


def test_old_and_new_name_of_precision_must_agree(tmp_path):
    with pytest.raises(InputError) as error:
        load_config(write(tmp_path, "seed: 1\nenable_amp: True"), ["--precision", "tf32"])
    assert "c.yaml:2: enable_amp: True is the old way to say precision: bfloat16" in str(error.value)
    assert load_config(write(tmp_path, "enable_amp: True"), ["--precision", "tf32", "--enable_amp", "null"]
                       ).chosen_precision == "tf32"
    with pytest.raises(InputError, match="precision: must be one of .* did you mean 'bfloat16'"):
        load_config(write(tmp_path, "precision: bfloat"))


def test_an_override_of_a_component_drops_the_options_of_the_old_one(tmp_path):
    config = load_config(write(tmp_path), ["--optimizer", "AdamW", "--optimizer_args.weight_decay", "1e-7",
                                           "--model", "XVEC"])
    assert config.optimizer_args == {"weight_decay": 1e-7} and config.model_args.embed_dim == 512


@pytest.mark.parametrize("arguments, message", [
    (["num_epochs", "3"], "expected --key value"), (["--num_epochs"], "has no value"),
    (["--num_epoch", "3"], "command line: --num_epoch: unknown key 'num_epoch'"),
    (["--num_epochs", "0"], "num_epochs: must be greater than 0")])
def test_wrong_overrides(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        load_config(write(tmp_path), arguments)


@pytest.mark.parametrize("key, place", [
    ("--initial_lr", "'scheduler_args.initial_lr'"), ("--batch_size", "'dataloader_args.batch_size'"),
    ("--dataset_args.batch_size", "'dataloader_args.batch_size'"), ("--nesterov", "'optimizer_args.nesterov'"),
    ("--lr", "'scheduler_args.initial_lr' or 'scheduler_args.final_lr'"),
    ("--frozen", "'dataset_args.s3prl_args.frozen'")])
def test_a_key_without_its_section_is_told_where_it_belongs(tmp_path, key, place):
    """`--initial_lr` was told to be `initial_reg_lr`, which is pruning's and trains at the rate as before."""
    with pytest.raises(InputError, match=f"unknown key '{key[2:]}', did you mean {place}\\?$"):
        load_config(write(tmp_path), [key, "1"])
    if "." not in key and key != "--lr":
        with pytest.raises(InputError, match=f"--explain {key[2:]}: did you mean {place}\\?$"):
            explain(write(tmp_path), [], key[2:])


CONFIGS = sorted(path for path in ROOT.glob("egs/**/conf/**/*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT / "egs")))
def test_every_config_of_every_recipe_loads_and_again_from_what_it_resolves_to(path, tmp_path):
    config = load_config(path)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
