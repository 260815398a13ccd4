"""The stages of a recipe in this process, in the order and with the questions of tools/recipe.sh: in seconds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.corpus import make_list, write_config
from wedefense.bin import average, check, embed, llr, logits, prune, results, train
from wedefense.bin import make_list as list_stage
from wedefense.config.loader import load_config
from wedefense.experiment.folder import ExperimentFolder

SETS = ("train", "dev", "eval")
PRUNED = {"use_pruning_loss": True, "target_sparsity": 0.3, "sparsity_warmup_epochs": 1, "initial_reg_lr": 0.2}
SSL = {"dataset_args__frontend": "ssl", "dataset_args__num_frms": 10, "model": "SSL_BACKEND_MEAN",
       "dataset_args__ssl_args": {"upstream_args": {"name": "wavlm_tiny", "pruning_units": "head,interm"}}}


class Stages:
    """A data folder and an experiment, and how both were before a change."""

    workers = 1  # that read a data folder and write its shards

    def __init__(self, root: Path, data_type: str = "raw", **changes):
        self.root, self.data_type = root / "work", data_type
        self.data, self.exp = self.root / "data", self.root / "exp"
        self.make_data()
        self.config = write_config(self.root, **{
            "num_epochs": 3, "num_avg": 2, "dataset_args__num_frms": 20, "dataloader_args__num_workers": 0,
            "exp_dir": str(self.exp), **changes})
        self.before = root / "before"

    def make_data(self) -> None:
        """What stage 1 leaves."""
        for name in SETS:
            make_list(self.data, name, utterances=8, seconds=0.3)
            (self.data / name / "raw.list").unlink()

    def call(self, main: Callable[[list[str]], int], arguments: list[str]) -> None:
        """One command, here: in this process."""
        main(arguments)

    def run(self, start: int, *overrides: str, stop: int = 7, exp: Path | None = None, check_first: bool = True,
            **stage_options: str) -> None:
        """What is refused raises its InputError."""
        exp, data, sets = exp or self.exp, self.data, ["dev", "eval"]
        settings = ["--exp_dir", str(exp), "--data_type", self.data_type, *overrides]
        for key, name in (("train", "train"), ("val", "dev")):
            settings += [f"--{key}_data", self.list(name), f"--{key}_label", str(data / name / "utt2lab")]
        config = ["--config", str(self.config), *settings]
        folder, skip_bad = ExperimentFolder(exp), ["--skip_bad"] * (stage_options.get("skip_bad") == "true")
        if (start > 2 or folder.config.is_file()) and check_first:
            self.call(check.main, ["--stage", str(start), "--data", str(data), "--train_sets", "train", "--sets", *sets,
                                   *skip_bad, *config])
        wanted = range(start, stop + 1)
        if 2 in wanted:
            for name in SETS:
                self.call(list_stage.main, ["--data_dir", str(data / name), "--data_type", self.data_type,
                                            "--num_workers", str(self.workers), "--num_utts_per_shard", "5",
                                            "--task", "detection"])
        if 3 in wanted:
            self.call(train.main, [*config, "--device", "cpu"])
        if 4 in wanted:
            self.call(average.main, config)
            if load_config(folder.config).use_pruning_loss:
                self.call(prune.main, ["--exp_dir", str(exp)])
            heard = load_config(self.config, settings).dataset_args.eval_frms
            self.call(embed.main, ["--exp_dir", str(exp), "--sets", *sets, "--data", *map(self.list, sets),
                                   "--data_type", self.data_type, "--device", "cpu", "--eval_frms", str(heard),
                                   *skip_bad])
        for stage, main in ((5, logits.main), (6, llr.main)):
            if stage in wanted:
                self.call(main, ["--exp_dir", str(exp), "--sets", *sets])
        if 7 in wanted:
            self.call(results.main, ["--exp_dir", str(exp), "--data", str(data), "--sets", *sets, "--bootstrap", "0",
                                     "--dev_set", stage_options.get("dev_set", "dev")])

    def list(self, name: str) -> str:
        return str(self.data / name / f"{self.data_type}.list")

    def keep(self) -> None:
        shutil.copytree(self.root, self.before)

    def restore(self) -> None:
        shutil.rmtree(self.root)
        shutil.copytree(self.before, self.root)

    def found(self, exp: Path | None = None) -> dict:
        """All that a user reads off: metrics by set, and every score."""
        folder = ExperimentFolder(exp or self.exp)
        return {"sets": json.loads(folder.results.read_text())["sets"],
                **{name: folder.posteriors(name).llr.read_text() for name in ("dev", "eval")}}
