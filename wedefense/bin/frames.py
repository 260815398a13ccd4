"""Scores of every frame of recordings, to see where they are fake; `wedefense evaluate --segments` judges them."""

import argparse

from wedefense.utils.checks import PRECISIONS


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="wedefense frames", description=__doc__)
    parser.add_argument("--model", required=True, help="experiment folder or checkpoint, of MHFA or CA-MHFA")
    parser.add_argument("audio", nargs="+", metavar="AUDIO", help="files, folders, or wav.scp tables")
    parser.add_argument("--out", required=True, help="lines NAME SCORE SCORE ..., higher = more bona fide")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--precision", default="auto", choices=PRECISIONS,
                        help="default: on a GPU that of the experiment, on a CPU float32")
    parser.add_argument("--trust", action="store_true", help="its config may name code and files elsewhere")
    options = parser.parse_args(argv)

    from wedefense.api import load_detector
    from wedefense.detect.inputs import collect
    from wedefense.utils.distributed import start
    from wedefense.utils.files import atomic_write
    from wedefense.utils.log import progress

    sources = collect(options.audio)
    model = load_detector(options.model, precision=options.precision, trust=options.trust)
    model.to(start(device=options.device).device)
    with atomic_write(options.out, "w") as stream, progress(total=len(sources), desc="frames", unit="file") as bar:
        for name, source in sources.items():
            stream.write(f"{name} {' '.join(f'{score:.5g}' for score in model.frame_scores(source).llr)}\n")
            bar.update()
    print(f"wrote {options.out}: {len(sources)} utterances, a score every "
          f"{model.detector.frontend.frame_shift / 1000:g} s")
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
