"""Stage 4 on one rank: what embeddings rest on is written beside them."""

import json

import numpy as np
import pytest
import torch

from tests.corpus import make_list
from tests.detect.experiments import SSL, make_experiment, wave
from wedefense.api import load_detector, load_experiment
from wedefense.bin import embed, llr, logits
from wedefense.experiment.arks import read_scp
from wedefense.models.detector import Detector
from wedefense.scoring.results import load_set


@pytest.fixture
def exp(tmp_path):
    return make_experiment(tmp_path, **SSL, dataloader_args__num_workers=0)


def embedded(exp, data, *more) -> tuple[np.ndarray, str]:
    embed.main(["--exp_dir", str(exp), "--sets", "dev", "--data", str(data), "--device", "cpu", *more])
    folder = exp / "embeddings" / "dev"
    source = json.loads((folder / "source.json").read_text())
    return read_scp(folder / "embedding.scp")[1], source["inputs"]["precision"]


def test_embeddings_are_made_again_in_another_precision(exp, tmp_path):
    data = make_list(tmp_path, "dev", utterances=6)
    exact, name = embedded(exp, data)
    assert name == "float32"
    stamp = (exp / "embeddings/dev/embedding.scp").stat().st_mtime_ns
    embedded(exp, data)
    assert (exp / "embeddings/dev/embedding.scp").stat().st_mtime_ns == stamp
    rounded, name = embedded(exp, data, "--precision", "bfloat16")
    assert name == "bfloat16" and 0 < np.abs(rounded - exact).max() < 0.05 * np.abs(exact).max()
    logits.main(["--exp_dir", str(exp), "--sets", "dev"])
    llr.main(["--exp_dir", str(exp), "--sets", "dev"])
    assert load_set(exp, tmp_path, "dev").precision == "bfloat16"
    assert load_experiment(exp).config.chosen_precision == "auto"


def test_batches_that_do_not_fit_are_halved(exp, tmp_path, monkeypatch):
    data = make_list(tmp_path, "dev", utterances=6)
    exact, _ = embedded(exp, data)
    embed_batch, sizes = Detector.embed, []

    def small(self, wav, lengths):
        sizes.append(len(wav))
        if len(wav) > 2:
            raise torch.OutOfMemoryError("full")
        return embed_batch(self, wav, lengths)

    monkeypatch.setattr(Detector, "embed", small)
    (exp / "embeddings/dev/source.json").unlink()
    found, _ = embedded(exp, data)
    assert max(sizes) > 2 and np.abs(found - exact).max() < 1e-4
    waves = [wave(seconds) for seconds in (0.7, 1.1, 0.9)]
    found = load_detector(exp).embed(waves, 16000)
    monkeypatch.undo()
    assert np.abs(found - load_detector(exp).embed(waves, 16000)).max() < 1e-4
