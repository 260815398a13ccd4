"""Killed at any rename or moment and run again, the stages leave what an uninterrupted run leaves, and nothing else."""

import random

import pytest

from tests.kills.campaign import CASES, Campaign
from tests.kills.ranks import campaign as campaign_of_ranks


def test_a_handful_of_kills(tmp_path):
    campaign, rng = Campaign(tmp_path, "raw-frozen"), random.Random(1)
    assert campaign.renames > 30
    for number in rng.sample(range(1, campaign.renames + 1), 4):
        campaign.at_rename(number, after=rng.random() < 0.5)
    campaign.at_random(rng.uniform(0, campaign.seconds))
    assert campaign.tried == 5 and not campaign.failed, "\n".join(campaign.failed)


def test_the_campaign_sees_what_is_wrong(tmp_path):
    """A changed score, another seed's weights and a forgotten file are all found."""
    campaign = Campaign(tmp_path, "raw-frozen")
    restore = campaign.stages.restore

    def spoilt():
        restore()
        campaign.stages.config.write_text(campaign.stages.config.read_text().replace("seed: 7", "seed: 9"))
        (campaign.stages.root / ".forgotten.tmp").touch()

    campaign.stages.restore = spoilt
    campaign.at_rename(10 ** 6, after=False)
    (told,) = campaign.failed
    for name in ("exp/models/model_1.pt", "exp/posteriors/eval/llr.txt", "exp/results.json",
                 "left behind: .forgotten.tmp"):
        assert name in told, told


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_rename_and_moments_between(tmp_path, case):
    campaign, rng = Campaign(tmp_path, case), random.Random(2)
    for number in range(1, campaign.renames + 1):
        for after in (False, True):
            campaign.at_rename(number, after)
    for _ in range(10):
        campaign.at_random(rng.uniform(0, campaign.seconds))
    assert not campaign.failed, "\n".join(campaign.failed)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_ranks(tmp_path, case):
    campaign = campaign_of_ranks(tmp_path, case, renames=10, moments=5)
    assert campaign.tried == 15 and not campaign.failed, "\n".join(campaign.failed)
