"""Killed anywhere and run again, the stages leave what an uninterrupted run leaves, and nothing else."""

import random

import pytest

from tests.kills.campaign import Campaign
from tests.kills.comparison import everything
from tests.kills.forked import call
from tests.kills.recipe import CASES
from tests.kills.snapshots import Watch
from tests.kills.torchrun import Torchrun, wait_for_ranks

# Of all places those before and after these changes, some of every stage.
SOME = [("corpus data", "data/dev/wav.scp"), ("make_list train", "data/train/shards/shards_000001.tar"),
        ("make_list eval", "data/eval/.owner"), ("train exp", "exp/training.json"),
        ("train exp", "exp/models/last.ckpt"), ("average exp", "exp/models/avg_model.pt"),
        ("average exp", "exp/models/avg_model.json"), ("embed exp", "exp/embeddings/dev/source.json"),
        ("logits exp", "exp/posteriors/dev/logits.ark"), ("llr exp", "exp/posteriors/eval/llr.json"),
        ("results exp", "exp/results.json"), ("train exp-FT", "exp-FT/history.json")]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    campaign = Campaign(tmp_path_factory.mktemp("kills"), "shard-frozen", some=SOME)
    assert {place.stage for place in campaign.places} == set(range(1, 9)) and len(campaign.copies) > 2 * len(SOME)
    return campaign


def place_of(campaign: Campaign, command: str, path: str, when: str):
    return next(place for place in campaign.places if place.command == command and place.path == path
                and place.when == when)


def left_by_a_kill(campaign: Campaign, place) -> dict[str, object]:
    campaign.recipe.restore()
    campaign.recipe.killed(Watch(campaign.recipe.root, campaign.watch.copies / "of a kill", kill_at=place))
    return everything(campaign.recipe.root)


@pytest.mark.parametrize("command, path, when", [
    ("corpus data", "data/dev/wav.scp", "before"),
    ("make_list train", "data/train/shards/shards_000001.tar", "after"),
    ("train exp", "exp/models/last.ckpt", "before"),
])
def test_a_copy_is_what_a_kill_leaves(campaign, command, path, when):
    place = place_of(campaign, command, path, when)
    copy = everything(campaign.watch.copies / str(campaign.places[place]))
    found = left_by_a_kill(campaign, place)
    if "shards" in path:  # which of two processes is ahead is a matter of luck
        found, copy = ({name: content for name, content in left.items() if "shards_000000" not in name}
                       for left in (found, copy))
    assert found == copy and (when == "after" or any(name.endswith(".OWNER.tmp") for name in found))


def test_a_handful_of_kills(campaign):
    rng = random.Random(1)
    for number, copy in enumerate(rng.sample(campaign.copies, 4)):
        campaign.at(copy, first=number == 3, whole=number == 3)
    campaign.at_random(rng.uniform(0, campaign.seconds))
    assert campaign.tried >= 5 and not campaign.failed, "\n".join(campaign.failed)


def test_what_is_wrong_is_seen(campaign, monkeypatch):
    """A changed score, another seed's weights and a forgotten file are all found."""
    take = campaign.watch.take

    def spoilt(copy):
        take(copy)
        config = campaign.recipe.config
        config.write_text(config.read_text().replace("seed: 7", "seed: 9"))
        (campaign.recipe.root / ".forgotten.tmp").touch()

    monkeypatch.setattr(campaign.watch, "take", spoilt)
    monkeypatch.setattr(campaign, "differing", [])
    monkeypatch.setattr(campaign, "left", [])
    campaign.at(campaign.places[place_of(campaign, "train exp", "exp/training.json", "before")], whole=True)
    (told,), (left,) = campaign.differing, campaign.left
    for name in ("exp/models/model_1.pt", "exp/posteriors/eval/llr.txt", "exp/results.json"):
        assert name in told, told
    assert "left behind: .forgotten.tmp" in left


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_many_places_and_moments_between(tmp_path, case, ranks):
    """All of them: python -m tests.kills.campaign"""
    campaign, rng = Campaign(tmp_path, case, ranks), random.Random(2)
    for number, copy in enumerate(campaign.copies[rng.randrange(8)::8]):
        campaign.at(copy, number % 3 == 0, number % 10 == 0)
    for _ in range(3):
        campaign.at_random(rng.uniform(0, campaign.seconds))
    assert not campaign.failed, "\n".join(campaign.failed)


@pytest.mark.slow
def test_two_ranks_under_torchrun(tmp_path):
    """Forked ranks leave what torchrun's leave; those go on from kills of these."""
    campaign = Campaign(tmp_path, "raw-pruning", ranks=2)
    place = place_of(campaign, "train exp", "exp/history.json", "after")
    copy = everything(campaign.watch.copies / str(campaign.places[place]))
    assert left_by_a_kill(campaign, place) == copy
    recipe, rng = campaign.recipe, random.Random(3)
    for command, before, stage in (("train exp", "make_list eval", 3), ("embed exp", "prune exp", 4)):
        renames = 0
        for trial in range(4):
            campaign.watch.take(f"after {before}")
            kill_at = rng.randint(1, renames) if trial else 0
            recipe.start = torchrun = Torchrun(tmp_path / "counter", kill_at)
            assert recipe.finishes(stage, command) == (kill_at == 0), recipe.told()
            wait_for_ranks(recipe.root)
            renames, recipe.start = renames or torchrun.renames, call
            campaign.goes_on(f"{command} under torchrun, killed at rename {kill_at}", stage, command)
    assert campaign.tried == 8 and not campaign.failed, "\n".join(campaign.failed)
