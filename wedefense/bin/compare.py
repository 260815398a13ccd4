"""Compare two systems on the same trials: the difference in each metric, its interval, and whether it is chance."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from wedefense.metrics.confidence import compare, statement
from wedefense.metrics.detection import DetectionCosts
from wedefense.metrics.keys import load_trials, read_meta
from wedefense.utils.files import atomic_write, require_writable


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="wedefense compare", description=__doc__)
    parser.add_argument("a", help="scores of system A, NAME SCORE")
    parser.add_argument("b", help="scores of system B")
    parser.add_argument("--keys", required=True, help="file NAME bonafide|spoof (utt2lab)")
    parser.add_argument("--groups", help="draw whole groups, by a table NAME GROUP (utt2spk)")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--costs", nargs=3, type=float, default=(0.05, 1, 10), metavar=("P_SPOOF", "C_MISS", "C_FA"))
    parser.add_argument("--common", action="store_true", help="compare on the utterances that all files have")
    parser.add_argument("--json", metavar="OUT")
    options = parser.parse_args(argv)
    require_writable(options.json)
    a, b = (load_trials(scores, options.keys, options.common) for scores in (options.a, options.b))
    a, b = a.restricted_to(b), b.restricted_to(a)
    groups = next(iter(read_meta(options.groups, a.names).values())) if options.groups else None
    found = compare(a.scores, b.scores, a.is_bonafide, groups, DetectionCosts(*options.costs), options.resamples)
    names = [Path(path).name for path in (options.a, options.b)]
    if names[0] == names[1]:
        names = [options.a, options.b]
    for difference in found:
        print(statement(difference, names[0], names[1]))
    if options.json:
        with atomic_write(options.json, "w") as stream:
            json.dump({d.metric: asdict(d) | {"difference": d.value} for d in found}, stream, indent=1)
    return 0


if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
