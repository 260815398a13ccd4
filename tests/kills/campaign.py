"""Kills of stages 1 to 8 at every change of a name and at any moment, and what they leave: nothing, once run again.

    python -m tests.kills.campaign [--cases raw-full ...] [--ranks 1 2] [--stages 3 4] [--every N] [--random N]

One run leaves a copy of all its files before and after every rename and removal, which is what a kill there leaves
(see `snapshots`). Each goes on from the stage that was killed, some from stage 1 too, and is compared bit by bit with
what an undisturbed run had left when the command that was killed was done, some with what it left at the end of stage
8. Kills at random moments are true ones, and go on from stage 1 to the end.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from tests.kills.comparison import compared, different, left_behind
from tests.kills.recipe import CASES, Recipe
from tests.kills.snapshots import Place, Watch


class Campaign:
    """Of one case; `differing` and `left` say what was found wrong, by the place of the kill."""

    def __init__(self, folder: Path, case: str, ranks: int = 1, pictures: bool = False,
                 some: Collection[tuple[str, str]] | None = None):
        self.recipe = Recipe(folder, case, ranks, pictures)
        self.watch = Watch(self.recipe.root, folder / "copies", some=some)
        assert self.recipe.finish_watched(self.watch), f"{case}: the watched run failed: {self.recipe.told()}"
        self.places = self.watch.places()
        self.copies, self.last = sorted(set(self.places.values())), "results exp-FT"
        self.recipe.restore()
        began = time.monotonic()
        assert self.recipe.finishes(), f"{case}: the whole run failed: {self.recipe.told()}"
        self.seconds = time.monotonic() - began
        assert not different(compared(self.recipe.root), self.expected()), f"{case}: to be watched changes the run"
        self.tried, self.differing, self.left = 0, [], []

    def at(self, copy: int, first: bool = False, whole: bool = False) -> None:
        """Go on from what a kill left, from the stage that was killed; `first`: and from stage 1."""
        places = [place for place, number in self.places.items() if number == copy]
        for start in sorted({place.stage for place in places} | ({1} if first else set())):
            self.watch.take(copy)
            last = "" if whole else places[-1].command
            self.goes_on(f"{places[-1]}, from stage {start}", start, last)

    def at_random(self, seconds: float) -> None:
        self.recipe.restore()
        self.recipe.killed_after(seconds)
        self.goes_on(f"after {seconds:.2f} s")

    def goes_on(self, what: str, start: int = 1, last: str = "") -> None:
        self.tried += 1
        if not self.recipe.finishes(start, last):
            self.differing.append(f"{what}: does not go on: {self.recipe.told()}")
            return
        if wrong := different(compared(self.recipe.root), self.expected(last)):
            self.differing.append(f"{what}: others: {', '.join(wrong)}")
        if left := left_behind(self.recipe.root):
            self.left.append(f"{what}: left behind: {', '.join(left)}")

    @property
    def failed(self) -> list[str]:
        return self.differing + self.left

    def expected(self, last: str = "") -> dict[str, object]:
        """After that command of the undisturbed run, or after all."""
        return compared(self.watch.copies / f"after {last or self.last}")


def kinds(places: Iterable[Place]) -> str:
    """`40 renames and 17 removals`, each of which makes two places."""
    counts = Counter("renames" if place.change in ("replace", "rename") else "removals" for place in places)
    return f"{counts['renames'] // 2} renames and {counts['removals'] // 2} removals"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--stages", type=int, nargs="+", default=list(range(1, 9)), help="kills in these alone")
    parser.add_argument("--every", type=int, default=1, help="go on from every so manieth place")
    parser.add_argument("--first", type=int, default=3, help="from stage 1 too, of every so manieth of these")
    parser.add_argument("--whole", type=int, default=20, help="to the end of stage 8 from every so manieth of these")
    parser.add_argument("--random", type=int, default=5, help="kills at random moments, for each case")
    parser.add_argument("--pictures", action="store_true", help="with the reports of stage 7, which take their time")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    failed = [run(case, ranks, options) for ranks in options.ranks for case in options.cases]
    return 1 if any(failed) else 0


def run(case: str, ranks: int, options: argparse.Namespace) -> int:
    """One case: prints what was tried, and what was found wrong; returns how much."""
    folder, rng = Path(tempfile.mkdtemp(prefix=f"kills-{case}-{ranks}-")), random.Random(options.seed)
    campaign, told = Campaign(folder, case, ranks, options.pictures), set()
    of_stages = {copy: None for place, copy in campaign.places.items() if place.stage in options.stages}
    for number, copy in enumerate([*list(of_stages)[::options.every], *[None] * options.random], 1):
        if copy is None:
            campaign.at_random(rng.uniform(0, campaign.seconds))
        else:
            campaign.at(copy, number % options.first == 0, number % options.whole == 0)
            campaign.watch.drop(copy)
        for line in set(campaign.failed) - told:
            print(f"  {case}, {ranks}: {line}", flush=True)
        told |= set(campaign.failed)
    print(f"{case}, {ranks} rank{'s' * (ranks > 1)}: {kinds(campaign.places)}, {len(campaign.copies)} states; stages "
          f"{', '.join(map(str, options.stages))} {campaign.tried} tried, {len(campaign.differing)} differing, "
          f"{len(campaign.left)} left something behind", flush=True)
    shutil.rmtree(folder)
    return len(told)


if __name__ == "__main__":
    sys.exit(main())
