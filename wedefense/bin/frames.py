"""Scores of every frame of recordings, to see where they are fake; `wedefense evaluate --segments` judges them."""

import sys

from wedefense.utils.arguments import add_model_options, command_parser
from wedefense.utils.checks import PRECISIONS


def main(argv: list[str] | None = None) -> int:
    parser = command_parser("frames", __doc__)
    parser.add_argument("--model", required=True, help="of MHFA, CA-MHFA, or trained with localization_args")
    parser.add_argument("audio", nargs="+", metavar="AUDIO", help="files, folders, or wav.scp tables")
    parser.add_argument("--out", required=True, help="lines NAME SCORE SCORE ..., higher = more bona fide")
    parser.add_argument("--resolution", type=int, metavar="MS", help="of a frame, of those it was trained for (finest)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--precision", default="auto", choices=PRECISIONS,
                        help="default: on a GPU that of the experiment, on a CPU float32")
    add_model_options(parser)
    options = parser.parse_args(argv)

    from wedefense.detect.frames import frame_ms
    from wedefense.detect.inputs import collect, load_model, require_words
    from wedefense.detect.output import failure_lines
    from wedefense.utils.distributed import start
    from wedefense.utils.files import atomic_write, require_writable
    from wedefense.utils.log import progress
    from wedefense.utils.tables import plural
    from wedefense.utils.visible import visible

    require_writable(options.out)
    sources, passed_over = collect(options.audio)
    require_words(sources, "a file of frame scores")
    model = load_model(options, options.precision).to(start(device=options.device).device)
    with atomic_write(options.out, "w") as stream, progress(total=len(sources), desc="frames", unit="file") as bar:
        failures = {}
        for name, found in model.frame_files(sources, resolution=options.resolution):
            if isinstance(found, str):
                failures[name] = found
            else:
                stream.write(f"{visible(name)} {' '.join(f'{score:.5g}' for score in found.llr)}\n")
            bar.update()
    print(f"wrote {options.out}: {len(sources) - len(failures)} of {plural(len(sources), 'utterance')}, a score every "
          f"{frame_ms(model.detector, options.resolution) / 1000:g} s")
    for line in (*passed_over, *failure_lines(failures)):
        print(line, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
