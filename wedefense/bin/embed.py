"""Embeddings of recordings into one .npz file; or stage 4: of the sets of an experiment, by every rank."""

from wedefense.experiment.folder import NAMES
from wedefense.utils.arguments import Switch, add_model_options, add_sets, command_parser
from wedefense.utils.checks import PRECISIONS


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("embed", __doc__)
    parser.add_argument("audio", nargs="*", metavar="AUDIO", help="files, folders, tables NAME.scp")
    parser.add_argument("--out", help="of recordings: the arrays `names` and `embeddings`")
    parser.add_argument("--exp_dir", help="stage 4: experiment folder")
    add_sets(parser, "stage 4: names of sets; results go to embeddings/<set>", required=False)
    parser.add_argument("--data", nargs="+", default=[], help="stage 4: raw.list or shard.list of each set")
    parser.add_argument("--data_type", default="raw", choices=["raw", "shard"])
    parser.add_argument("--model", help=f"as in wedefense score; stage 4: weights (default: {NAMES.average})")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--skip_bad", action=Switch, help="go on past unreadable audio and list what was left out")
    parser.add_argument("--eval_frms", type=int, help="frames to hear of each (default: those of the experiment)")
    parser.add_argument("--precision", default="auto", choices=PRECISIONS, help="default: the experiment's on a GPU")
    add_model_options(parser)
    arguments = parser.parse_args(argv)
    alone = arguments.audio, arguments.out, arguments.config, arguments.download_dir, arguments.offline
    of_sets = arguments.exp_dir, arguments.sets, arguments.data, arguments.eval_frms, arguments.skip_bad
    recordings = arguments.audio and arguments.out and arguments.model and not any(of_sets)
    if not recordings and (any(alone) or not all(of_sets[:3]) or len(arguments.sets) != len(arguments.data)):
        parser.error("recordings want --model and --out; stage 4 --exp_dir, --sets and --data, a list for each set")
    if recordings:
        from wedefense.detect.embeddings import embed_recordings

        text, code = embed_recordings(arguments)
        print(text)
        return code
    from wedefense.api import load_experiment
    from wedefense.scoring.stages import embed_set, to_hear
    from wedefense.utils import distributed
    from wedefense.utils.log import setup_logging
    from wedefense.utils.owner import owned

    experiment = load_experiment(arguments.exp_dir, arguments.model, arguments.trust)
    config = to_hear(experiment.config, arguments.eval_frms)
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
