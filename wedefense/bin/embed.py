"""Stage 4: embeddings of a set, by every rank, whole utterances batched by length."""

import argparse

from wedefense.experiment.folder import NAMES
from wedefense.utils.arguments import Switch, add_sets
from wedefense.utils.checks import PRECISIONS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="wedefense embed", description=__doc__)
    parser.add_argument("--exp_dir", required=True, help="experiment folder")
    add_sets(parser, "names of sets; results go to embeddings/<set>")
    parser.add_argument("--data", required=True, nargs="+", help="raw.list or shard.list of each set")
    parser.add_argument("--data_type", default="raw", choices=["raw", "shard"])
    parser.add_argument("--model", default=None, help=f"weights (default: {NAMES.average} of the experiment)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--skip_bad", action=Switch, help="go on past unreadable audio and list what was left out")
    parser.add_argument("--eval_frms", type=int, help="frames to hear of each (default: those of the experiment)")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS,
                        help="default: on a GPU that of the experiment, on a CPU float32")
    parser.add_argument("--trust", action="store_true", help="the experiment is mine, see wedefense score -h")
    arguments = parser.parse_args(argv)
    if len(arguments.sets) != len(arguments.data):
        parser.error("--data wants one list for each of --sets")

    from wedefense.api import load_experiment
    from wedefense.scoring.stages import embed_set, heard
    from wedefense.utils import distributed
    from wedefense.utils.log import setup_logging
    from wedefense.utils.owner import owned

    experiment = load_experiment(arguments.exp_dir, arguments.model, arguments.trust)
    config = heard(experiment.config, arguments.eval_frms)
    world = distributed.start(config.gpus, arguments.device, config.deterministic)
    setup_logging(rank=world.rank)
    try:
        with owned(arguments.exp_dir, world.rank, distributed.gather):
            for name, data in zip(arguments.sets, arguments.data):
                embed_set(experiment.detector, config, experiment.labels, experiment.weights, arguments.exp_dir,
                          name, data, arguments.data_type, world, arguments.skip_bad, arguments.precision)
    finally:
        distributed.stop()
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
