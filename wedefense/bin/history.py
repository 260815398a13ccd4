"""The curves of a training in the terminal: loss, accuracy, validation, sparsity; and the best epoch."""

import shutil

from wedefense.experiment.curves import panels, text_plot
from wedefense.experiment.folder import ExperimentFolder
from wedefense.experiment.records import read_history
from wedefense.metrics.catalogue import METRICS
from wedefense.utils.arguments import command_parser
from wedefense.utils.errors import InputError
from wedefense.utils.tables import plural


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("history", __doc__)
    parser.add_argument("exp_dir", help="experiment folder, trained or in training")
    parser.add_argument("--height", type=int, default=10, help="lines of each plot (default: %(default)d)")
    options = parser.parse_args(argv)
    if options.height < 2:
        parser.error(f"--height must be at least 2, got {options.height}")
    history = read_history(options.exp_dir)
    if history is None:
        raise InputError(f"{ExperimentFolder(options.exp_dir).history}: no epoch is finished yet; stage 3 writes it")
    width = min(120, shutil.get_terminal_size().columns) - 2
    print("\n\n".join(text_plot(panel, width, options.height) for panel in panels(history["rows"])))
    if best := history.get("best"):
        metric = METRICS[best["metric"].removeprefix("val_")]
        print(f"\nbest of {plural(len(history['rows']), 'epoch')}: {best['epoch']}, {metric.phrase(best['value'])}")
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
