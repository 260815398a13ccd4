"""Hear and see what training hears: each augmentation of a config on one recording, as wav files and a picture."""

from pathlib import Path

from wedefense.utils.arguments import command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("augment", __doc__)
    parser.add_argument("source", help="recording (with --pack: folder or wav.scp)")
    parser.add_argument("target", help="folder for the examples (with --pack: the tar file)")
    parser.add_argument("--config", help="YAML file of a run")
    parser.add_argument("--epochs", type=int, default=5, help="examples of the whole pipeline (default: 5)")
    parser.add_argument("--pack", action="store_true",
                        help="instead, write noises or impulse responses into one tar with an index, "
                             "for noise_data or reverb_data on a network file system")
    arguments, overrides = parser.parse_known_args(argv)
    if arguments.pack == bool(arguments.config) or arguments.pack and overrides:
        parser.error("give either --config FILE or --pack")

    if arguments.pack:
        from wedefense.data.augment.recordings import pack

        print(f"{arguments.target}: {pack(arguments.source, arguments.target)} recordings")
        return 0

    from wedefense.config.loader import load_config

    config = load_config(arguments.config, overrides)

    from wedefense.data.augment.examples import make_examples, read_example, write_examples

    rate = config.dataset_args.resample_rate
    wav = read_example(arguments.source, rate)
    for path in write_examples(make_examples(config, wav, Path(arguments.source).stem, arguments.epochs),
                               arguments.target, rate):
        print(path)
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
