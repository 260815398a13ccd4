"""One step of every mode in bfloat16, beside the same step in float32; what losses and modes get to see."""

import pytest
import torch

from tests.corpus import write_config
from tests.emulation.steps import ssl_frontend, step_on
from tests.train.steps import MODES, assert_close, step
from wedefense.config.heads import LossOptions
from wedefense.config.loader import load_config
from wedefense.data.batch import Batch
from wedefense.frontend.ssl.zoo import find_model
from wedefense.models.losses import CrossEntropyLoss
from wedefense.train.modes import Mode
from wedefense.utils.errors import InputError


@pytest.mark.parametrize("mode", MODES)
def test_a_step_in_bfloat16_is_close_to_one_in_float32(tmp_path, mode):
    reference = step(tmp_path, mode, "wavlm_tiny", "cpu", amp=False)
    made = step(tmp_path, mode, "wavlm_tiny", "cpu", amp=True)
    assert_close(made, reference)
    assert any(not torch.equal(made[1][name], reference[1][name]) for name in made[1])  # it was another precision
    assert any(name.startswith("detector.frontend") for name in made[1]) == (mode != "frozen")


class Centres(CrossEntropyLoss):
    """Cross-entropy, and the squared distance of each embedding from the mean of its class in the batch."""

    def of_batch(self, outputs, batch, head):
        classes = [outputs.embedding[batch.labels == label] for label in batch.labels.unique()]
        return super().of_batch(outputs, batch, head) + sum((x - x.mean(0)).square().sum() for x in classes)


class FrameEnergy(Mode):
    """A term of the audio and of the front-end's layers."""

    def terms(self, batch, outputs):
        self.seen = batch.keys
        return {"frames": outputs.layers.layers[-1].float().square().sum() * batch.wav.abs().max()}


def test_a_loss_sees_embeddings_and_a_mode_the_batch_and_the_layers():
    """Each changes the loss by what one computes beside it."""
    torch.manual_seed(0)
    step = step_on(ssl_frontend(find_model("wavlm_tiny").architecture, frozen=True)).eval()
    wav = 0.1 * torch.randn(4, 4000)
    batch = Batch(["a", "b", "c", "d"], wav, torch.tensor([4000] * 4), torch.tensor([0, 1, 1, 0]))
    plain, outputs = step(batch)[0], step.detector(wav, [4000] * 4)
    x = outputs.embedding
    apart = sum((x[[i, j]] - (x[i] + x[j]) / 2).square().sum() for i, j in ((0, 3), (1, 2)))
    step.criterion = Centres(LossOptions(), ())
    torch.testing.assert_close(step(batch)[0], plain + apart)
    step.mode = FrameEnergy()
    energy = outputs.layers.layers[-1].square().sum() * wav.abs().max()
    torch.testing.assert_close(step(batch)[0], plain + apart + energy)
    assert step.mode.seen == ["a", "b", "c", "d"] and apart > 0 and energy > 0


@pytest.mark.parametrize("changes, message", [
    ({"mode": "standart"}, "mode: unknown training mode 'standart', did you mean 'standard'"),
    ({"mode_args": {"strength": 1}}, "unknown key 'mode_args.strength'"),
    ({"mode": "pruning"}, "mode: pruning is chosen by use_pruning_loss: True")])
def test_refusals(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        load_config(write_config(tmp_path, **changes))
