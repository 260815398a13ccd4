"""Score many sets with many detectors, each once, and set the results side by side."""

from pathlib import Path

from wedefense.utils.arguments import command_parser, count, positive_number


def parse(argv: list[str] | None):
    parser = command_parser("benchmark", __doc__)
    parser.add_argument("--model", nargs="+", required=True, type=_named, metavar="[NAME=]MODEL", help="detectors")
    parser.add_argument("--sets", nargs="+", required=True, type=_named, metavar="[NAME=]DIR",
                        help="data folders with wav.scp and utt2lab, as stage 1 writes them")
    parser.add_argument("--out", required=True, type=Path, help="scores, results and pages; run it again to go on")
    parser.add_argument("--fix_on", metavar="NAME", help="the set that fixes threshold and calibration, such as dev")
    parser.add_argument("--window", nargs="+", type=positive_number, default=[], metavar="SAMPLES",
                        help="score the first SAMPLES too, repeated where there are fewer; 64600 is usual")
    parser.add_argument("--with", dest="conditions", nargs="+", default=[], metavar="CONDITION",
                        help="score again after mp3@64, noise@10dB, telephone, low_pass@4000 ...; + joins several")
    parser.add_argument("--export", nargs="+", default=[], choices=["arena", "asvspoof5", "asvspoof2021"],
                        metavar="FORM", help="write the scores for leaderboards: arena, asvspoof5, asvspoof2021")
    parser.add_argument("--bootstrap", type=count, default=1000, metavar="N", help="resamples for intervals (0: none)")
    parser.add_argument("--skip_bad", action="store_true", help="leave out what cannot be read")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    return parser.parse_args(argv)


def _named(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    return (name, path) if equals else (Path(text).absolute().name, text)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)

    from wedefense.detect import benchmark
    from wedefense.report.benchmark import told, write
    from wedefense.scoring.arena import warn_of_others
    from wedefense.scoring.submissions import write_submissions
    from wedefense.utils.log import setup_logging

    setup_logging()
    models = benchmark.load_models(options.model, options.device, calibrated=options.fix_on is None)
    sets = benchmark.read_sets(options.sets)
    if "arena" in options.export:
        warn_of_others(name for name, _ in options.sets)
    systems = benchmark.systems(models, tuple(options.window), tuple(options.conditions))
    scored, results = benchmark.run(systems, sets, options.out, options.fix_on, options.bootstrap or None,
                                    options.skip_bad)
    for name, result in results.items():
        print(f"{told(name, result)}\n")
        slug = next(system.slug for system in systems if system.title == name)
        write_submissions(options.out, tuple(options.export), slug, scored[name])
    write(options.out, results, {name: value for name, value in vars(options).items() if value})
    print(f"wrote {options.out}/benchmark.json, .md, .tex and .html")
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
