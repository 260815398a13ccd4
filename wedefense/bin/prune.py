"""Stage 4 of a pruned training: cut the closed units out of the average, verify, write pruned_model/."""

import argparse
from dataclasses import replace
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="wedefense prune", description=__doc__)
    parser.add_argument("--exp_dir", required=True, help="experiment that was trained with use_pruning_loss: True")
    parser.add_argument("--model", default=None, help="weights (default: models/avg_model.pt of the experiment)")
    arguments = parser.parse_args(argv)
    folder = Path(arguments.exp_dir)

    from wedefense.api import load_experiment
    from wedefense.config.loader import save_config
    from wedefense.pruning.constraint import words
    from wedefense.train.cut import FOLDER, cut_experiment
    from wedefense.utils.errors import InputError

    experiment = load_experiment(folder, arguments.model or folder / "models" / "avg_model.pt")
    if not experiment.config.use_pruning_loss:
        raise InputError(f"{folder}: was trained without use_pruning_loss, there are no gates to cut by")
    told = cut_experiment(folder, experiment.config, experiment.detector)
    save_config(config_of_cut(experiment.config, folder / FOLDER), folder / FOLDER / "config.yaml")

    print(f"asked     {words(told['target_sparsity'])} of the {told['measure']}")
    print(f"got       {words(told['sparsity'])} (expected by the gates {100 * told['expected_sparsity']:.1f} %, as "
          f"they round {100 * told['rounded_sparsity']:.1f} %)")
    for name, unit in (("parameters", "M"), ("multiply-adds", "M for 2 s")):
        before, after = told[name]["before"], told[name]["after"]
        print(f"{name:<14}{before / 1e6:10.3f} -> {after / 1e6:10.3f} {unit} ({100 * after / before:.1f} %)")
    before, after = told["seconds"]["before"], told["seconds"]["after"]
    print(f"forward       {1e3 * before:10.1f} -> {1e3 * after:10.1f} ms for 2 s ({before / after:.2f} x as fast)")
    print(f"verified  the cut encoder differs from the gated one by at most {told['difference']:.2g}")
    print(f"{folder / FOLDER}: config.yaml, models/avg_model.pt, pruning.json; {folder}/figures/pruning.png")
    return 0


def config_of_cut(config, folder: Path):
    """A config that builds the cut detector, and fine-tunes it without pruning on."""
    data = config.dataset_args
    frontend = data.frontend_args
    upstream = replace(frontend.upstream_args, pruning_units="")
    if (folder / "pytorch_model.bin").is_file():
        upstream = replace(upstream, path_or_url=str(folder / "pytorch_model.bin"))
    data = replace(data, **{f"{data.frontend}_args": replace(frontend, upstream_args=upstream)})
    return replace(config, exp_dir=str(folder), use_pruning_loss=False, target_sparsity=0.0, target_params=None,
                   target_macs=None, min_sparsity=0.0, model_init=None, dataset_args=data)


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
