"""Label files of partly fake speech: check them against the audio, and turn each kind into every other."""

from pathlib import Path

from wedefense.utils.arguments import command_parser


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("segments", __doc__)
    parser.add_argument("labels_of", type=Path, metavar="LABELS", help="file of labels, or folder of such files")
    parser.add_argument("--from", dest="kind", metavar="KIND", help="of LABELS, where name and first line do not tell")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--data_dir", type=Path, help="data folder (stage 1) to hold them to; gets the file `segments`")
    length.add_argument("--durations", help="table KEY SECONDS to hold them to (utt2dur, reco2dur)")
    parser.add_argument("--to", metavar="KIND", help="write as this kind (default: what the name of --out says)")
    parser.add_argument("--out", type=Path, help="file or folder to write; of seglab `dev` is dev_seglab_0.01.npy ...")
    parser.add_argument("--labels", nargs="+", default=[], metavar="OLD=NEW", help="what labels mean: speech=bonafide")
    parser.add_argument("--fill", metavar="LABEL", help="class of what no span covers (default: a gap is a problem)")
    parser.add_argument("--tolerance", type=float, default=0.05, metavar="SECONDS",
                        help="by which spans may end before or after the recording (default: 0.05)")
    parser.add_argument("--allow_problems", action="store_true",
                        help="leave utterances with problems out (a file lists them) instead of stopping")
    options = parser.parse_args(argv)
    if options.to and not options.out:
        parser.error("--to needs --out")
    if wrong := [pair for pair in options.labels if not all(pair.partition("=")[::2])]:
        parser.error(f"--labels takes OLD=NEW, got {wrong[0]}")

    from wedefense.data.manifest import durations_of
    from wedefense.data.span_checks import SpanRules, check_spans
    from wedefense.data.spans import kind_of, read_spans, write_spans
    from wedefense.metrics.segments import label_shift_of
    from wedefense.utils.tables import plural, read_seconds

    durations = read_seconds(options.durations) if options.durations else None
    if options.data_dir:
        durations = durations_of(options.data_dir)
    source = options.labels_of
    kind = options.kind or kind_of(source)
    # a last segment of PartialSpoof's labels may reach beyond the recording, and where it was cut off, end before it
    tolerance = max(options.tolerance, label_shift_of(source) if kind == "seglab" else 0)
    rules = SpanRules(dict(pair.split("=", 1) for pair in options.labels), options.fill, tolerance)
    checked = check_spans(str(source), read_spans(source, kind), durations, rules)
    print(checked.report())
    wanted = [(options.data_dir / "segments", "segments")] if options.data_dir else []
    wanted += [(options.out, options.to)] if options.out else []
    beside = wanted[0][0] if wanted else source
    checked.require_sound(options.allow_problems, beside.with_name(f"{beside.name}.problems.txt"))
    for path, kind in wanted:
        files = write_spans(path, checked.spans, kind)
        print(f"wrote {files[0] if len(files) == 1 else plural(len(files), 'file') + f' of {path}'}")
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
