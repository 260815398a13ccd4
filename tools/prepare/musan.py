"""MUSAN, as released: `musan/{noise,speech,music}/*/*.wav`. Writes `musan/wav.scp`, for `--noise_data`."""

from pathlib import Path

from wedefense.data.prepare import Entry, run
from wedefense.utils.errors import InputError
from wedefense.utils.files import files_under

OFFICIAL = {"musan": 2_016}
KINDS = ("music", "noise", "speech")


def read(corpus: Path) -> dict[str, list[Entry]]:
    root = corpus / "musan" if (corpus / "musan").is_dir() else corpus
    absent = [kind for kind in KINDS if not (root / kind).is_dir()]
    if absent:
        raise InputError(f"{root}: no folder {', '.join(absent)}; MUSAN has {', '.join(KINDS)}")
    return {"musan": [Entry(str(path.relative_to(root).with_suffix("")), kind, path)
                      for kind in KINDS for path in sorted(files_under(root / kind)) if path.suffix == ".wav"]}


def main(argv: list[str] | None = None) -> int:
    return run(read, __doc__, OFFICIAL, argv)


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
