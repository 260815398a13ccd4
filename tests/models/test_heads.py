import math

import pytest
import torch
import torch.nn.functional as F

from wedefense.config.heads import HEADS, LossOptions
from wedefense.models.losses import CrossEntropyLoss
from wedefense.utils.errors import InputError


def head(name, classes=2, dim=2, **options):
    torch.manual_seed(0)
    return HEADS.load(name)(HEADS.options(name)(**options), dim, classes)


def at_angle(*angles):
    """Unit vectors of the plane."""
    return torch.tensor([[math.cos(a), math.sin(a)] for a in angles])


def plane(name, moved=0.0, angles=(0.0, math.pi / 2), **options):
    """A head on the plane whose class centres stand at these angles."""
    made = head(name, classes=len(angles), **options).train()
    made.weight.data = 3 * at_angle(*angles)  # the length of a centre must not matter
    made.set_margin(moved)
    return made


def test_add_margin_takes_the_margin_off_the_cosine_of_the_label():
    logits = plane("add_margin", 0.2, scale=10.0)(5 * at_angle(math.pi / 3), torch.tensor([0]))
    assert torch.allclose(logits, torch.tensor([[10 * (0.5 - 0.2), 10 * math.sqrt(3) / 2]]), atol=1e-5)


def test_arc_margin_adds_the_margin_to_the_angle_of_the_label():
    logits = plane("arc_margin", math.pi / 6, scale=10.0)(5 * at_angle(math.pi / 3, math.pi / 3), torch.tensor([0, 1]))
    expected = [[0.0, 10 * math.sqrt(3) / 2],   # 60 + 30 degrees to class 0
                [5.0, 5.0]]                     # 30 + 30 degrees to class 1
    assert torch.allclose(logits, torch.tensor(expected), atol=1e-5)


def test_arc_margin_goes_on_falling_where_the_angle_would_pass_pi():
    margin = 0.5
    made = plane("arc_margin", margin, scale=1.0)
    angles = torch.linspace(math.pi - 0.6, math.pi, 50).tolist()
    own = made(at_angle(*angles), torch.zeros(50, dtype=torch.long))[:, 0]
    assert (own.diff() < 0).all()
    assert own[-1].item() == pytest.approx(-1 - (1 - math.cos(margin)), abs=1e-5)


def test_an_easy_margin_spares_obtuse_angles():
    made = plane("arc_margin", 0.3, scale=1.0, easy_margin=True)
    own = made(at_angle(1.0, 2.0), torch.tensor([0, 0]))[:, 0]
    assert torch.allclose(own, torch.tensor([math.cos(1.3), math.cos(2.0)]), atol=1e-5)


def test_intertopk_takes_the_nearest_centre_and_penalises_the_closest_wrong_class():
    made = head("arc_margin_intertopk_subcenter", classes=3, scale=1.0, K=2, k_top=1, mp=0.1).train()
    made.weight.data = at_angle(0.0, 0.5, 1.5, 1.6, 3.0, 3.1)  # two centres for each of three classes
    made.set_margin(0.2)                                       # so the penalty angle is mp itself
    logits = made(at_angle(0.6), torch.tensor([0]))
    expected = [math.cos(0.1 + 0.2), math.cos(0.9 - 0.1), math.cos(2.4)]
    assert torch.allclose(logits, torch.tensor([expected]), atol=1e-5)
    spared = plane("arc_margin_intertopk_subcenter", 0.2, scale=1.0, K=1, do_lm=True)(at_angle(0.3), torch.tensor([0]))
    assert torch.allclose(spared, torch.tensor([[math.cos(0.5), math.sin(0.3)]]), atol=1e-5)


@pytest.mark.parametrize("margin, angle, expected", [
    (4, 0.1, math.cos(0.4)),                     # first piece: cos(4 theta)
    (4, 1.0, -math.cos(4.0) - 2),                # second piece: -cos(4 theta) - 2
    (3, math.pi, math.cos(3 * math.pi) - 4),     # the end, -5
    (2, 0.7, math.cos(1.4)),
])
def test_sphere_multiplies_the_angle(margin, angle, expected):
    made = plane("sphere", margin=margin)
    remains = 1000 / 1.12  # after the first step
    own = made(2 * at_angle(angle), torch.tensor([0]))[0, 0].item()
    cosine = math.cos(angle)
    assert own == pytest.approx(2 * (cosine + (expected - cosine) / (1 + remains)), abs=1e-5)


@pytest.mark.parametrize("margin_type", ["C", "A"])
def test_sphereface2_against_its_formula_written_out(margin_type):
    made = plane("sphereface2", 0.15, scale=8.0, t=3, lanbuda=0.7, margin_type=margin_type)
    made.bias.data.fill_(0.3)
    theta, label = [1.0, math.pi / 2 - 1.0], 0  # angles to the two classes

    def spread(cosine):
        return 2 * ((cosine + 1) / 2) ** 3 - 1

    if margin_type == "C":
        own, other = spread(math.cos(theta[0])) - 0.15, spread(math.cos(theta[1])) + 0.15
    else:
        own, other = spread(math.cos(theta[0] + 0.15)), spread(math.cos(theta[1] - 0.15))
    expected = 0.7 * math.log1p(math.exp(-(8 * own + 0.3))) + 0.3 * math.log1p(math.exp(8 * other + 0.3))
    labels = torch.tensor([label])
    assert made.loss(made(at_angle(1.0), labels), labels, None).item() == pytest.approx(expected, rel=1e-5)


def test_p2sgrad_is_the_squared_error_of_the_cosines():
    made, labels = plane("p2sgrad"), torch.tensor([0])
    logits = made(4 * at_angle(math.pi / 3), labels)
    expected = ((0.5 - 1) ** 2 + math.sqrt(0.75) ** 2) / 2
    assert made.loss(logits, labels, None).item() == pytest.approx(expected, rel=1e-5)
    assert logits[0, 0].item() == pytest.approx(math.log(0.75 / 0.25), rel=1e-5)  # log-odds of (1 + cos) / 2


def test_the_sls_head_is_the_log_softmax_of_selu():
    made = head("sls")
    x = torch.randn(3, 2)
    assert torch.allclose(made(x), F.log_softmax(F.selu(made.fc3(x)), dim=1))


@pytest.mark.parametrize("name", HEADS.names())
@pytest.mark.parametrize("angle", [0.0, math.pi, math.pi / 2, 1.0])
def test_gradients_are_finite_at_every_angle(name, angle):
    made = head(name, classes=2).train()
    if hasattr(made, "weight"):
        made.weight.data = at_angle(0.0, 0.0).repeat(len(made.weight) // 2, 1)
    made.set_margin(0.2)
    x, labels = at_angle(angle, 2.0).requires_grad_(), torch.tensor([0, 1])
    made.loss(made(x, labels), labels, torch.nn.CrossEntropyLoss()).backward()
    for tensor in (x, *made.parameters()):
        assert torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize("name", HEADS.names())
def test_the_margin_is_off_at_evaluation_and_without_labels(name):
    x, labels = torch.randn(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    made = head(name, classes=3, dim=5)
    made.set_margin(0.3)
    made.eval()
    assert torch.equal(made(x, labels), made(x))
    made.set_margin(0.0)
    assert torch.equal(made(x, labels), made(x))
    if name in ("add_margin", "arc_margin", "arc_margin_intertopk_subcenter"):
        made.train()
        made.set_margin(0.3)
        assert not torch.allclose(made(x, labels), made(x))
        assert torch.equal(made(x), made.eval()(x))


def test_heads_work_in_float32_inside_bfloat16_autocast():
    made, x = head("arc_margin", dim=64), torch.randn(4, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(made(x.bfloat16()), made(x.bfloat16().float()))


def test_class_weights_by_position_and_by_name_are_the_same():
    logits, labels = torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1])
    names = ["bonafide", "spoof"]
    by_place = CrossEntropyLoss(LossOptions(weight=(0.9, 0.1)), names)
    by_name = CrossEntropyLoss(LossOptions(weight={"spoof": 0.1, "bonafide": 0.9}), names)
    each = F.cross_entropy(logits, labels, reduction="none") * torch.tensor([0.9, 0.1])[labels]
    expected = each.sum() / torch.tensor([0.9, 0.1])[labels].sum()
    assert torch.allclose(by_place(logits, labels), expected) and torch.equal(by_place.weight, by_name.weight)


def test_heads_with_their_own_loss_weigh_the_classes_too():
    made, labels = plane("p2sgrad"), torch.tensor([0, 1])
    logits = made(at_angle(0.5, 0.6), labels)
    alone = [made.loss(logits[i:i + 1], labels[i:i + 1], None) for i in (0, 1)]
    criterion = CrossEntropyLoss(LossOptions(weight=(0.75, 0.25)), ["bonafide", "spoof"])
    assert torch.allclose(made.loss(logits, labels, criterion), 0.75 * alone[0] + 0.25 * alone[1])
    with pytest.raises(InputError, match="label_smoothing"):
        made.loss(logits, labels, CrossEntropyLoss(LossOptions(label_smoothing=0.1), ["bonafide", "spoof"]))


def test_label_smoothing_spreads_the_target():
    logits, labels = torch.tensor([[2.0, 0.0]]), torch.tensor([0])
    log_p = logits.log_softmax(dim=1)[0]
    loss = CrossEntropyLoss(LossOptions(label_smoothing=0.2), ["bonafide", "spoof"])(logits, labels)
    assert torch.allclose(loss, -(0.9 * log_p[0] + 0.1 * log_p[1]))


@pytest.mark.parametrize("weight, message", [
    ((0.9, 0.1, 1.0), "3 numbers for 2 classes"),
    ({"bonafid": 1.0, "spoof": 1.0}, "did you mean 'bonafide'"),
    ({"bonafide": 1.0}, "give class 'spoof' a weight"),
])
def test_class_weights_that_do_not_fit_the_labels_are_refused(weight, message):
    with pytest.raises(InputError, match=message):
        CrossEntropyLoss(LossOptions(weight=weight), ["bonafide", "spoof"])


def test_a_head_with_its_own_loss_takes_the_place_of_cross_entropy_alone():
    made, labels = plane("p2sgrad"), torch.tensor([0, 1])
    with pytest.raises(InputError, match="loss of its own, in the place of NLLLoss; set loss: CrossEntropyLoss"):
        made.loss(made(at_angle(0.5, 0.6), labels), labels, torch.nn.NLLLoss())


@pytest.mark.parametrize("name", HEADS.names())
def test_an_embedding_of_zeros_leaves_gradients_finite(name):
    made, x = head(name, dim=4).train(), torch.zeros(4, 4, requires_grad=True)
    made.set_margin(0.2)
    logits, labels = made(x, torch.tensor([0, 1, 0, 1])), torch.tensor([0, 1, 0, 1])
    loss = made.loss(logits, labels, CrossEntropyLoss(LossOptions(), ["bonafide", "spoof"]))
    loss.backward()
    assert logits.isfinite().all() and loss.isfinite()
    assert all(part.grad is None or part.grad.isfinite().all() for part in (x, *made.parameters()))
