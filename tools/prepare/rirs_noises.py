"""RIRS_NOISES, as released. Writes `rirs/wav.scp` with the simulated room responses, for `--reverb_data`.

The real and isotropic ones are few and have several channels; the usual recipes take the simulated rooms.
"""

from pathlib import Path

from wedefense.data.prepare import Entry, run
from wedefense.utils.errors import InputError
from wedefense.utils.files import files_under

OFFICIAL = {"rirs": 60_000}
ROOMS = ("smallroom", "mediumroom", "largeroom")


def read(corpus: Path) -> dict[str, list[Entry]]:
    root = corpus / "RIRS_NOISES" if (corpus / "RIRS_NOISES").is_dir() else corpus
    simulated = root / "simulated_rirs"
    absent = [room for room in ROOMS if not (simulated / room).is_dir()]
    if absent:
        raise InputError(f"{simulated}: no folder {', '.join(absent)}; RIRS_NOISES has {', '.join(ROOMS)}")
    return {"rirs": [Entry(str(path.relative_to(simulated).with_suffix("")), room, path)
                     for room in ROOMS for path in sorted(files_under(simulated / room)) if path.suffix == ".wav"]}


def main(argv: list[str] | None = None) -> int:
    return run(read, __doc__, OFFICIAL, argv)


if __name__ == "__main__":
    from wedefense.cli import run as run_command

    run_command(main)
