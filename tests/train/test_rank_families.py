"""Two ranks train every family as it was published: its dropouts, layer drop and norms, in each mode.

Width and depth are reduced and nothing else, so that what a family leaves without a gradient at full size is left
here too.
"""

import math

import pytest
import torch

from tests.corpus import make_list
from tests.train.rank_families import MODES, PRUNING, STEPS, architecture_of
from tests.train.test_ranks import ROOT, run

FAMILIES = ("wav2vec2_base_960", "wav2vec2_large_960", "xlsr_53", "hubert_base", "hubert_large_ll60k",
            "wavlm_base_plus", "wavlm_large", "data2vec_base_960", "unispeech_sat_base", "unispeech_sat_large",
            "whisper_base")
QUICK = ("wav2vec2_large_960", "wavlm_base_plus")  # of the largest and of the usual layer drop; the others with --all
CASES = [(name, mode) for name in FAMILIES for mode in MODES]


def shardings(mode: str) -> tuple[str, ...]:
    return ("none",) if mode in PRUNING else ("none", "full")  # pruning needs every parameter on every rank


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Of the families asked for, each group in one launch."""
    known = {}

    def of(name: str) -> dict:
        group = QUICK if name in QUICK else tuple(other for other in FAMILIES if other not in QUICK)
        if group not in known:
            folder = tmp_path_factory.mktemp("families")
            train = make_list(folder, utterances=4 * STEPS)
            cases = [f"{one}/{mode}/{sharding}" for one in group for mode in MODES for sharding in shardings(mode)]
            done = run(2, ROOT / "tests/train/rank_families.py", folder / "out.pt", train, *cases)
            assert done.returncode == 0, done.stderr[-3000:]
            known[group] = torch.load(folder / "out.pt", weights_only=True)
        return known[group]

    return of


@pytest.mark.parametrize("name, mode", [
    pytest.param(name, mode, marks=[] if name in QUICK else pytest.mark.slow) for name, mode in CASES])
def test_two_ranks_train_a_family_in_a_mode(results, name, mode):
    found = {sharding: results(name)[f"{name}/{mode}/{sharding}"] for sharding in shardings(mode)}
    for sharding, one in found.items():
        first, second = one["weights"]
        assert first and all(torch.equal(first[key], second[key]) for key in second), sharding
        assert bool(second) == (sharding == "none")  # the whole state of shares is put together on one rank
        assert all(math.isfinite(loss) for losses in one["losses"] for loss in losses)
        assert len(one["losses"][0]) == STEPS
        trained = [key for key in one["moved"] if key in one["trained"]]
        assert len(trained) > 0.7 * len(one["trained"]), sorted(set(one["trained"]) - set(trained))
        if mode in ("frozen, dropping out", "lora", "bottlenecks"):
            still = [key for key in one["moved"] if key.startswith("frontend.upstream.") and key not in one["trained"]]
            assert not still, still
    if len(found) == 2:
        assert not any(found["full"]["kept"])  # no whole weights beside the shares
        for key, expected in found["none"]["weights"][0].items():
            torch.testing.assert_close(found["full"]["weights"][0][key], expected, atol=1e-4, rtol=1e-3, msg=key)
    drops = architecture_of(name).layer_drop > 0 and mode in ("full", "frozen extractor", "a sum", "pruning", "lora")
    if drops and architecture_of(name).layer_drop > 0.1:
        assert all(sum(one["dropped"]) > 0 for one in found.values())  # or the test shows nothing of it
