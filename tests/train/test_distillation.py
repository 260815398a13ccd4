"""The unpruned model as a teacher: both distances and their gradients by hand, and what a training makes of them."""

import pytest
import torch

from tests.corpus import make_list, write_config
from wedefense.bin.train import main as train
from wedefense.config.loader import load_config
from wedefense.config.pruning import DistillOptions
from wedefense.data.batch import Batch
from wedefense.experiment.checkpoint import load
from wedefense.frontend.features import LayerFeatures
from wedefense.models.detector import Outputs, build_detector
from wedefense.pruning.gates import gated_sites
from wedefense.train.distillation import Teacher, layer_distance, logit_distance
from wedefense.utils.errors import InputError

STILL = {"upstream_args": {"name": "wavlm_tiny"}, "frozen": False, "projection_dropout": 0.0, "hidden_dropout": 0.0,
         "attention_dropout": 0.0, "activation_dropout": 0.0}


def features(*layers) -> LayerFeatures:
    return LayerFeatures([torch.tensor([layer], dtype=torch.float32) for layer in layers], torch.tensor([2]))


def test_layers_by_hand():
    teacher = features([[3.0, 0.0], [0.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]])   # squares sum to 25 and 4
    student = features([[3.0, 1.0], [0.0, 2.0]], [[1.0, 1.0], [1.0, 0.0]])   # squared differences: 1 + 4, and 1
    for layer in student.layers:
        layer.requires_grad_(True)
    distance = layer_distance(student, teacher)
    assert distance.item() == pytest.approx((5 / 25 + 1 / 4) / 2)
    distance.backward()  # 2 (student - teacher) / |teacher|^2 / 2 layers
    torch.testing.assert_close(student.layers[0].grad, torch.tensor([[[0, 1 / 25], [0, -2 / 25]]]))
    torch.testing.assert_close(student.layers[1].grad, torch.tensor([[[0, 0], [0, -1 / 4]]]))
    assert layer_distance(teacher, teacher) == 0


def test_logits_by_hand():
    """p = (0.8, 0.2) and q = (0.5, 0.5) at temperature 2, in a batch of two where the other row agrees."""
    teacher = torch.tensor([[2 * torch.tensor(4.0).log().item(), 0.0], [1.0, 2.0]])
    student = torch.tensor([[0.0, 0.0], [1.0, 2.0]], requires_grad=True)
    distance = logit_distance(student, teacher, 2.0)
    divergence = 0.8 * torch.tensor(0.8 / 0.5).log() + 0.2 * torch.tensor(0.2 / 0.5).log()
    torch.testing.assert_close(distance, 4 * divergence / 2)
    distance.backward()  # temperature * (q - p) / batch
    torch.testing.assert_close(student.grad, torch.tensor([[2 * (0.5 - 0.8) / 2, 2 * (0.5 - 0.2) / 2], [0.0, 0.0]]),
                               atol=1e-6, rtol=1e-5)


def detector_of(folder, **changes):
    config = load_config(write_config(folder, **{
        "dataset_args__frontend": "ssl", "dataset_args__ssl_args": STILL, "use_pruning_loss": True,
        "target_sparsity": 0.5, **changes}))
    torch.manual_seed(0)
    return build_detector(config, 2)


def two_utterances() -> Batch:
    return Batch(["a", "b"], 0.1 * torch.randn(2, 8000), torch.tensor([8000, 5000]), torch.tensor([0, 1]))


def outputs_of(detector, batch: Batch) -> Outputs:
    return detector.train()(batch.wav, batch.lengths, batch.labels)


def test_the_teacher_is_what_the_student_was_before_gates(tmp_path):
    detector = detector_of(tmp_path)
    teacher = Teacher(DistillOptions(layers=1.0, logits=1.0), detector)
    batch = two_utterances()

    def terms():
        return teacher.terms(batch, outputs_of(detector, batch))
    gates = [site.gate for site in gated_sites(detector.frontend.upstream)]
    with torch.no_grad():
        for gate in gates:
            gate.log_alpha.fill_(40.0)  # every sample is exactly 1
    assert all(term < 1e-6 for term in terms().values())
    with torch.no_grad():
        gates[-1].log_alpha.fill_(-40.0)  # the last feed-forward goes
    assert not gated_sites(teacher.detector.frontend.upstream)
    found = terms()
    assert found.keys() == {"distill_layers", "distill_logits"} and all(term > 1e-5 for term in found.values())
    with torch.no_grad():
        for gate in gates:
            gate.log_alpha.fill_(0.0)
    sum(terms().values()).backward()
    assert all(parameter.grad is None for parameter in teacher.detector.parameters())
    assert all(gate.log_alpha.grad.abs().sum() > 0 for gate in gates)
    before = teacher.detector.projection.state_dict()
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in teacher.detector.projection.state_dict().items())


def test_the_teacher_is_not_moved_where_it_already_is(tmp_path, monkeypatch):
    """Moving it would undo what it has derived from its weights."""
    detector = detector_of(tmp_path)
    teacher = Teacher(DistillOptions(layers=1.0), detector)
    monkeypatch.setattr(teacher.detector, "_apply", lambda *_: pytest.fail("moved"))
    batch = two_utterances()
    assert teacher.terms(batch, outputs_of(detector, batch))["distill_layers"] > 0


def test_weights_of_the_terms(tmp_path):
    detector = detector_of(tmp_path)
    batch = two_utterances()
    found = []
    for weight in (1.0, 3.0):
        teacher = Teacher(DistillOptions(layers=weight), detector)
        torch.manual_seed(5)
        found.append(teacher.terms(batch, outputs_of(detector, batch))["distill_layers"].item())
    assert found[1] == pytest.approx(3 * found[0])


def test_a_training_learns_from_it(tmp_path):
    make_list(tmp_path, "train", 8)
    config = write_config(tmp_path, **{
        "dataset_args__frontend": "ssl", "dataset_args__ssl_args": STILL, "dataset_args__num_frms": 10, "num_epochs": 2,
        "use_pruning_loss": True, "target_sparsity": 0.3, "dataloader_args__num_workers": 0})
    found = []
    for weight in ("0", "5"):
        exp = tmp_path / f"exp{weight}"
        train(["--config", str(config), "--device", "cpu", "--train_data", str(tmp_path / "train/raw.list"),
               "--exp_dir", str(exp), "--distillation.layers", weight])
        found.append(load(exp / "models/last.ckpt"))
        assert ("distill_layers" in (exp / "history.json").read_text()) == (weight == "5")
    without, with_it = found
    assert with_it["mode"].keys() == {"lagrangian.l1", "lagrangian.l2"}  # the teacher is made anew, not saved
    assert with_it["weights"].keys() == without["weights"].keys()
    assert any(not torch.equal(value, without["weights"][name]) for name, value in with_it["weights"].items())


@pytest.mark.parametrize("changes, message", [
    ({"distillation": {"logits": 1.0}}, "model_init"), ({"distillation": {"layers": -1.0}}, "layers"),
    ({"use_pruning_loss": False, "distillation": {"layers": 1.0}}, "use_pruning_loss: True"),
    ({"use_pruning_loss": False, "gates_only": True}, "use_pruning_loss: True")])
def test_refusals(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        load_config(write_config(tmp_path, **{
            "dataset_args__frontend": "ssl", "dataset_args__ssl_args": STILL, "use_pruning_loss": True, **changes}))
