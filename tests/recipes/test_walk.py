"""Every config of every recipe: a step at full size, and all stages at the size of a test (`--all`)."""

import json
import re
from pathlib import Path

import pytest

from tests.frontend.nemo import write_nemo
from tests.recipes.layouts import LAYOUTS
from tests.recipes.tiny import (
    CONFIGS,
    EGS,
    SCRIPTS,
    TINY,
    architecture_of,
    copy_checkout,
    corpora,
    run,
    tiny_options,
    tiny_whisper,
    title,
)
from wedefense.config.loader import load_config

pytestmark = pytest.mark.slow
WITH_CORPUS = [path for path in CONFIGS if corpora(path.parents[1])]
SECOND = ("FT", "LoRA", "LMF")  # what the names of configs for run_ft.sh end with
MEASURED = {"detection": ("eval", "eer"), "speaker": ("vox1_o", "eer"), "classes": ("eval", "accuracy")}


@pytest.mark.parametrize("path", CONFIGS, ids=title)
def test_every_config_takes_a_step_at_full_size(path):
    """With random weights: the loss is finite, every trained parameter has a gradient and the back-end moves."""
    import torch

    from wedefense.data.batch import Batch
    from wedefense.data.spans import Span
    from wedefense.models.detector import build_detector
    from wedefense.models.losses import CrossEntropyLoss
    from wedefense.train.modes import build_mode
    from wedefense.train.step import TrainStep

    config = load_config(path)
    if config.dataset_args.frontend == "ssl":
        config = load_config(path, ["--dataset_args.ssl_args.layer_drop", "0"])
    torch.manual_seed(0)
    detector = build_detector(config, 2, architecture_of(config))
    mode = build_mode(config, detector)
    step = TrainStep(detector, CrossEntropyLoss(config.loss_args, ["bonafide", "spoof"]), mode).train()
    groups = mode.groups(detector, config.scheduler_args)
    optimizer = getattr(torch.optim, config.optimizer)(groups, lr=1e-3, **config.optimizer_args)
    before = torch.cat([p.detach().flatten().clone() for p in detector.backend.parameters()])
    mode.before_step(0, 1)
    spans = [[Span(0, 1, "bonafide")], [Span(0, 0.5, "bonafide"), Span(0.5, 1, "spoof")]]
    batch = Batch(["a", "b"], 0.1 * torch.randn(2, 16000), torch.full((2,), 16000), torch.tensor([0, 1]), spans=spans)
    loss, _ = step(batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for group in groups for p in group["params"])
    optimizer.step()
    assert not torch.equal(before, torch.cat([p.detach().flatten() for p in detector.backend.parameters()]))


class Walk:
    """One checkout with all corpora; data of a script and experiment of a config are made once, when asked for."""

    def __init__(self, root: Path):
        self.root, self.output = copy_checkout(root), {}
        for make in LAYOUTS.values():
            make(root / "corpus")
        self.whisper, self.conformer = tiny_whisper(root / "whisper"), write_nemo(root / "tiny.nemo")

    def recipe(self, path: Path) -> Path:
        return self.root / "egs" / path.parents[1].relative_to(EGS)

    def prepared(self, recipe: Path, script: str) -> None:
        if (recipe, script) not in self.output:
            self.output[recipe, script] = run(recipe, f"./{script}", "--stage", "1", "--stop_stage", "2",
                                              "--num_workers", "1", "--corpus", str(self.root / "corpus"))

    def experiment(self, path: Path) -> tuple[Path, str]:
        """-> where it lies, what was said"""
        recipe, name = self.recipe(path), path.stem
        if path in self.output:
            return recipe / "exp" / name, self.output[path]
        base, _, step = name.rpartition("-")
        if step in SECOND:  # begins from what another config trained
            first = path.with_name(f"{base}.yaml")
            self.experiment(first)
            command = ["./run_ft.sh", "--config", f"conf/{base.removesuffix('-FT')}.yaml", "--ft_config",
                       f"conf/{name}.yaml", "--ft_name", step, "--exp_dir", f"exp/{base}"]
        else:
            script = "run_superb.sh" if name.startswith("superb") and (recipe / "run_superb.sh").exists() else "run.sh"
            self.prepared(recipe, script)
            command = [f"./{script}", "--stage", "3", "--config", f"conf/{name}.yaml", "--exp_dir", f"exp/{name}"]
            if "folds=" in (recipe / script).read_text():
                command += ["--folds", "1 2"]
        self.output[path] = run(recipe, *command, *tiny_options(load_config(path), self.whisper, self.conformer))
        return recipe / "exp" / name, self.output[path]


@pytest.fixture(scope="session")
def walk(tmp_path_factory):
    return Walk(tmp_path_factory.mktemp("walk"))


@pytest.mark.parametrize("path", WITH_CORPUS, ids=title)
def test_every_config_goes_through_the_stages(walk, path):
    folder, output = walk.experiment(path)
    text = (path.parents[1] / "run.sh").read_text()
    test_set, metric = MEASURED[next((task for task in MEASURED if f"task={task}" in text), "detection")]
    results = json.loads((folder / "results.json").read_text())
    assert 0 <= results["sets"][test_set][metric] <= 1 and "== stage 7: " in output
    config = load_config((folder if (folder / "config.yaml").exists() else folder / "fold1") / "config.yaml")
    assert config.model == load_config(path).model
    assert bool(config.model_init) == (path.stem.rpartition("-")[2] in SECOND)
    if config.use_pruning_loss:
        assert json.loads((folder / "pruning.json").read_text())["difference"] < 1e-4
    for name in re.findall(r'^eval_sets="(.*)"', text, re.MULTILINE):
        assert set(name.split()) <= results["sets"].keys()


@pytest.mark.parametrize("script", [s for s in SCRIPTS if "table=" in s.read_text() and s.name != "run_ft.sh"],
                         ids=title)
def test_stage_9_puts_an_experiment_beside_the_published_row(walk, script):
    from wedefense.report import published

    prefix = "superb" if script.name == "run_superb.sh" else ""
    path = next(p for p in WITH_CORPUS if p.parents[1] == script.parent and p.name.startswith(prefix))
    folder, _ = walk.experiment(path)
    table = re.search(r"table=\$?{?(?:table:-)?(\w+)", script.read_text()).group(1)
    row = list(published.load(table).lines)[-1]
    output = run(walk.recipe(path), f"./{script.name}", "--stage", "9", "--stop_stage", "9", "--row", row, "--config",
                 f"conf/{path.name}", "--exp_dir", f"exp/{folder.name}",
                 *tiny_options(load_config(path), walk.whisper, walk.conformer))
    assert row in output and re.search(r"\| .*EER .*% .*\| +\d|accuracy", output), output


def test_trials_with_normalisation_and_quality_measures(walk):
    """Of an experiment that is done: its stage 4 again, for more sets."""
    path = EGS / "sv/voxceleb/ssl_ca_mhfa/conf/CA_MHFA_wavlmplus.yaml"
    folder, _ = walk.experiment(path)
    sets = ["--eval_sets", "vox1 vox2_test"]
    run(walk.recipe(path), "./run.sh", "--stage", "2", "--stop_stage", "2", "--num_workers", "1", *sets)
    output = run(walk.recipe(path), "./run.sh", "--stage", "4", "--config", f"conf/{path.name}", "--exp_dir",
                 f"exp/{folder.name}", "--norm", "asnorm", "--top_n", "3", "--quality", "quality", *sets,
                 *tiny_options(load_config(path)))
    results = json.loads((folder / "results.json").read_text())
    assert 0 <= results["sets"]["vox1_o"]["eer"] <= 1 and "== stage 7: " in output


def test_the_printed_block_of_hybrid_pruning_is_a_config(walk):
    """As printed beside the published results, over the system that is not pruned; only sizes are added."""
    recipe = walk.root / "egs/detection/asvspoof5/ssl_mhfa_pruning"
    (recipe / "conf/printed.yaml").write_text("""base: MHFA_wavlm_s0.yaml
dataset_args: {ssl_args: {upstream_args: {pruning_units: "conv,head,attlayer,interm,ffnlayer"}}}
# Pruning configuration
use_pruning_loss: True                    # Enable pruning loss
target_sparsity: 0.1                     # Final sparsity level (10% parameters remaining)
initial_reg_lr: 5.0e-2                   # Learning rate for regularization parameters
sparsity_warmup_epochs: 5                # Number of warmup epochs
sparsity_schedule: "cosine"              # Progressive schedule type
min_sparsity: 0.0                        # Initial sparsity level
""")
    walk.prepared(recipe, "run.sh")
    options = tiny_options(load_config(recipe / "conf/printed.yaml"))
    output = run(recipe, "./run.sh", "--stage", "3", "--config", "conf/printed.yaml", *options)
    assert "asked     remove 10 %, keep 90 %" in output


def test_a_table_is_reproduced_on_several_devices_and_resumed(walk):
    """Three rows for two devices; one is done before, another was begun."""
    options = [*TINY, "--dataset_args.ssl_args.upstream_args.name", "wavlm_tiny"]
    command = ["bash", "tools/reproduce.sh", "superb_deepfake", "--only"]
    first = run(walk.root, *command, "WavLM-base+ + CA-MHFA", *options, "--corpus", str(walk.root / "corpus"))
    assert first.count("== detection/asvspoof2019/ssl_ca_mhfa exp/") == 1
    (walk.root / "egs/detection/asvspoof2019/ssl_ca_mhfa/exp/LLGF_wavlm_base_plus").mkdir(parents=True)
    second = run(walk.root, *command, "WavLM-base+ + ", *options, "--devices", "0 1")
    assert set(re.findall(r"== \S+ exp/(\S+) \(GPU ([01])\)", second)) in (
        {("LLGF_wavlm_base_plus", "0"), ("MHFA_wavlm_base_plus", "1")},
        {("LLGF_wavlm_base_plus", "1"), ("MHFA_wavlm_base_plus", "0")})
    table = (walk.root / "egs/superb_deepfake.md").read_text()
    for row, published in (("LLGF", "3.64"), ("MHFA", "0.20"), ("CA-MHFA", "0.30")):
        assert re.search(rf"\| WavLM-base\+ \+ {row} +\| +{published} \| +\d", table), table
    assert re.search(r"\| HuBERT-base \+ MHFA +\| +1.19 \| +\|", table)  # not run: empty
    assert "==" not in run(walk.root, *command, "WavLM-base+ + ", *options, "--devices", "0 1")  # all done


def test_all_corpora_of_the_recipes_are_walked():
    assert {corpus for path in WITH_CORPUS for corpus in corpora(path.parents[1])} == LAYOUTS.keys()
