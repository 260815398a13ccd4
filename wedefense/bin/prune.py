"""Cut the closed units out of a pruned training's average, verify, write pruned_model/ (stage 4 of its recipe).

With --model the training comes first: a short one, of gates alone, that prunes an experiment trained before.
"""

import shlex

from wedefense.experiment.folder import NAMES, ExperimentFolder
from wedefense.utils.arguments import command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("prune", __doc__)
    parser.add_argument("--exp_dir", required=True, help="experiment trained with use_pruning_loss: True; with --model "
                                                         "the new one to make")
    parser.add_argument("--model", help="prune this trained experiment, its weights kept as they are")
    parser.add_argument("--weights", help=f"what to cut (default: {NAMES.average} of the experiment)")
    parser.add_argument("--unpruned", help="experiment whose results the report sets beside these (default: the one "
                                           "that training started from)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="for the training")
    parser.add_argument("--trust", action="store_true", help="the model is mine, see wedefense score -h")
    arguments, overrides = parser.parse_known_args(argv)
    if overrides and not arguments.model:
        parser.error(f"unrecognized arguments: {' '.join(overrides)}")
    folder = ExperimentFolder(arguments.exp_dir)
    if arguments.model:
        learn_gates(arguments.model, folder, overrides, arguments.device, arguments.trust)

    from wedefense.api import load_experiment
    from wedefense.train.cut import cut_experiment, report_lines
    from wedefense.utils.errors import InputError
    from wedefense.utils.owner import owned

    experiment = load_experiment(folder, arguments.weights or folder.average, arguments.trust)
    if not experiment.config.use_pruning_loss:
        raise InputError(f"{folder}: was trained without use_pruning_loss, there are no gates to cut by; to prune it "
                         f"as it is: wedefense prune --model {shlex.quote(str(folder))} --target_sparsity 0.3 "
                         "--exp_dir NEW")
    with owned(folder):
        print("\n".join(report_lines(cut_experiment(folder, experiment, arguments.unpruned))))
    print(f"{folder.cut}: {NAMES.config}, {NAMES.average}, {NAMES.pruning}; {folder.figure('pruning')}")
    return 0


def learn_gates(model: str, folder: ExperimentFolder, overrides: list[str], device: str, trust: bool) -> None:
    from wedefense.bin import average, train
    from wedefense.experiment.model_config import read_model_config
    from wedefense.train.posthoc import settings, source_of

    source = source_of(model)
    frontend = read_model_config(source.config, recorded=True, trust=trust).dataset_args.frontend
    own = ["--exp_dir", str(folder), *settings(source, frontend, overrides)]
    train.main(["--config", str(source.config), "--device", device, *own])
    average.main(["--config", str(folder.config)])


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
