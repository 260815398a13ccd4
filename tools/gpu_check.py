"""Before a big job on a GPU machine: is it right here, how fast is it, and does everything work? Offline, in minutes.

    bash tools/gpu_check.sh [--out DIR] [--minutes 8] [--sections correctness,frozen,...]
                           [--against s3prl,...] [--precisions bfloat16,...] [--ranks 2]
    bash tools/gpu_check.sh --device cpu --tiny      # the same in miniature, on any machine

Writes `gpu_check.md`, a page to read, and `gpu_check.json`, for `tools/estimate.py --measured`, into DIR, after every
finding anew; `DIR/<section>.log` holds what a section said. Each section runs in a process of its own with a time
limit. Packages that are missing (s3prl, transformers, soundfile, kaldiio, ...) are told and passed over. Ends with 1
where something failed.
"""

import argparse
import datetime
import json
import os
import sys
from functools import partial
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from tools.gpu.correct import BOUNDS, COSINE, LENGTH, correctness, gradients
from tools.gpu.loader import loader
from tools.gpu.machine import ceilings, commit, versions
from tools.gpu.outside import ranks, recipe, tests
from tools.gpu.page import CASES, page
from tools.gpu.sections import FAILED, MINUTES, Check, Section, run_sections
from tools.gpu.speed import COUNTED, measured, mixed

SPEED_NOTE = ("Every system has the same back-end (MHFA, 32 heads), loss and AdamW, random weights, no layer drop; "
              "noise of one length, in memory of the device. Medians. " + COUNTED)
MINIATURE = ("In miniature: tiny models, batches and repeats in the place of those that the titles name. It shows that "
             "the check works; its times mean nothing.")
BOUNDS_NOTE = ", ".join(f"{kind} {a:g} / {b:g}" for kind, (a, b) in BOUNDS.items())
SECTIONS = (  # what is worth most comes first
    Section("versions", "Versions", versions, 30),
    Section("ceilings", "Ceilings of this machine", ceilings, 30),
    Section("correctness", "Correctness", correctness, 150,
            "Relative error ||a - b|| / ||b||, the largest of all layers: the device beside the CPU in float32 / a "
            "file in a padded batch beside the same file alone. Encoders of three blocks of the real width, back-ends "
            f"with their default options, random weights. Bounds: {BOUNDS_NOTE}."),
    Section("frozen", CASES["frozen"] + ", 128 x 3 s", measured("frozen"), 70,
            SPEED_NOTE + "the encoder's forward pass once."),
    Section("full", CASES["full"] + ", 32 x 3 s", measured("full"), 90, SPEED_NOTE + "three times the forward pass."),
    Section("evaluation", CASES["evaluation"] + ", 16 x 20 s", measured("evaluation"), 70,
            SPEED_NOTE + "the forward pass once."),
    Section("mixed", "Short files of 0.5 to 2 s, WavLM base+ to embeddings", mixed, 45,
            "Ours batched, 64 files of like length at a time; one file at a time is what a user of s3prl has to do, as "
            "its features are wrong in a padded batch."),
    Section("gradients", "Gradients in bfloat16 beside float32", gradients, 40,
            "Of the whole detector, four files of mixed length, no dropout. Bounds for each part: cosine at least "
            f"{COSINE}, relative length {LENGTH[0]} to {LENGTH[1]}."),
    Section("ranks", "Ranks under torchrun", ranks, 45, "One for each GPU: NCCL on GPUs, gloo on a CPU."),
    Section("tests", "tests/gpu", tests, 120),
    Section("loader", "Loader", loader, 60,
            "Utterances a second of the training loader, crops of 3 s, one epoch with warm workers; batches go to the "
            "device. Processor time of all processes for a crop."),
    Section("recipe", "The mini recipe from data to report", recipe, 150, "egs/detection/mini, few epochs."))


def write(out: Path, about: dict, found: dict) -> None:
    """Both files, whole at any instant."""
    title = f"GPU check: {about['device']}, {about['date']}, commit {about['commit']}"
    for name, text in (("gpu_check.json", json.dumps({"about": about, "sections": found}, indent=1)),
                       ("gpu_check.md", page(found, title, *([MINIATURE] if about["tiny"] else [])))):
        draft = out / f".{name}"
        draft.write_text(text, encoding="utf-8")
        draft.replace(out / name)


def main(argv: list[str] | None = None) -> int:
    names = [section.name for section in SECTIONS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu_check"), help="folder of the page (default: gpu_check)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="what is not begun by then is passed over; with "
                        f"more than {MINUTES:g} each section has as much more time too, for a slow machine")
    parser.add_argument("--sections", type=lambda text: text.split(","), default=names, metavar="A,B,...",
                        help=f"these alone: {','.join(names)}")
    parser.add_argument("--against", type=_list_of(Check.peers), default=Check.peers, metavar="A,B,...",
                        help="the peers that are measured beside ours (default: all; '' for none)")
    parser.add_argument("--precisions", type=_list_of(Check.precisions), default=Check.precisions, metavar="A,B,...",
                        help="of the measurements of speed (default: all)")
    parser.add_argument("--ranks", type=int, help="that train together (default: one for each GPU, one on a CPU)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny models and few repeats: does the check itself work?")
    arguments = parser.parse_args(argv)
    unknown = sorted(set(arguments.sections) - set(names))
    if unknown:
        parser.error(f"unknown section {', '.join(unknown)} (known: {','.join(names)})")
    arguments.out.mkdir(parents=True, exist_ok=True)
    about = {"date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC", "commit": commit(),
             "device": arguments.device, "tiny": arguments.tiny, "minutes": arguments.minutes}
    check = Check(arguments.device, arguments.tiny, arguments.out.resolve(), arguments.against, arguments.precisions,
                  arguments.ranks)
    chosen = [section for section in SECTIONS if section.name in arguments.sections]
    run_sections(chosen, check, arguments.minutes, partial(flush, arguments.out, about))
    print(f"wrote {arguments.out / 'gpu_check.md'}")
    return int(any(entry["status"] in FAILED for entry in check.found.values()))


def _list_of(known: tuple[str, ...]):
    """A type for argparse: some of these, with commas between."""
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(name for name in text.split(",") if name)
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown {', '.join(unknown)} (known: {','.join(known)})")
        return names
    return parse


def flush(out: Path, about: dict, found: dict) -> None:
    write(out, about, found)
    last = list(found.values())[-1]
    if last["status"] != "RUNNING":
        print(f"{last['status']:8}{last['seconds']:6.1f} s  {last['title']}  {last['words']}".rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
