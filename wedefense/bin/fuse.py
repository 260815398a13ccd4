"""Combine the scores of several systems; the options are those of `wedefense calibrate`, with several files each."""

from functools import partial

from wedefense.bin import calibrate

main = partial(calibrate.main, systems="+")

if __name__ == "__main__":
    from wedefense.cli import run

    run(main)
