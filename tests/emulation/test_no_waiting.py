"""Nobody waits for a GPU: not in a training step, not in an embedding batch, whatever the detector is made of.

Lengths that have not been seen before go through as those of fixed crops do. `pytest -s` prints launches and bytes.
"""

import copy

import pytest
import torch

from tests.corpus import make_list, write_config
from tests.emulation.cuda import emulated_cuda
from tests.emulation.steps import EQUAL, MIXED, OTHERS, batch_of, gated, run_step, ssl_frontend, step_on, watched_step
from tests.models.test_backends import NAMES, build, noise
from tests.pruning.helpers import FAMILIES
from wedefense.config.adapters import AdapterOptions
from wedefense.config.data import SpecAugOptions
from wedefense.config.frontend import FbankOptions, LfccOptions
from wedefense.config.heads import HEADS, LossOptions
from wedefense.config.loader import load_config
from wedefense.config.localization import LocalizationOptions
from wedefense.data.ahead import SideStream
from wedefense.data.batch import Batch
from wedefense.frontend.acoustic import Fbank, Lfcc
from wedefense.frontend.features import LayerFeatures
from wedefense.frontend.spec_augment import SpecAugment
from wedefense.models.cache import FeatureCache
from wedefense.models.localizer import LOCALIZING
from wedefense.models.losses import CrossEntropyLoss
from wedefense.pruning.gates import gated_sites
from wedefense.train.run import build_trainer
from wedefense.utils.distributed import World
from wedefense.utils.errors import InputError


@pytest.fixture
def cuda():
    with emulated_cuda() as emulation:
        yield emulation


def assert_nobody_waits(step, cuda, what: str) -> None:
    """In a step of fixed crops, in one of lengths never seen, in an embedding batch of others never seen."""
    step.to(cuda.device)
    for kind, warm, lengths in (("fixed", [EQUAL], EQUAL), ("mixed", [], MIXED)):
        seen = watched_step(step, cuda, *warm, lengths=lengths)
        print(f"\n{what}, {kind}: {seen}", end="")
        seen.check()
    assert all(p.grad is not None for p in step.detector.backend.parameters())
    step.detector.eval()
    wav = batch_of(OTHERS, cuda).wav
    with cuda.watch() as seen, torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        step.detector.embed(wav, OTHERS)
    print(f"\n{what}, embedding: {seen}")
    seen.check()


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_encoders(cuda, family, frozen):
    assert_nobody_waits(step_on(ssl_frontend(FAMILIES[family], frozen)), cuda, family)


ADAPTERS = {"lora": AdapterOptions("lora"), "dora": AdapterOptions("lora", dora=True, norms=True),
            "dropping out": AdapterOptions("lora", dropout=0.1), "bottleneck": AdapterOptions("bottleneck", dim=4)}


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize("family", ["wavlm_large", "whisper"])
def test_adapters(cuda, family, kind):
    assert_nobody_waits(step_on(ssl_frontend(FAMILIES[family], adapters=ADAPTERS[kind])), cuda, f"{family}, {kind}")


@pytest.mark.parametrize("kind", ADAPTERS)
def test_adapters_by_kernels(kind):
    with emulated_cuda(kernels=True) as cuda:
        assert_nobody_waits(step_on(ssl_frontend(FAMILIES["wavlm"], adapters=ADAPTERS[kind])), cuda, f"{kind}, kernels")


@pytest.mark.parametrize("family, frozen", [
    ("wavlm", True), ("wavlm", False), ("wavlm_large", True), ("whisper", False),
    pytest.param("wavlm_large", False, marks=pytest.mark.slow)])  # the gradient of its first layer, interpreted
def test_encoders_by_their_kernels(family, frozen):
    with emulated_cuda(kernels=True) as cuda:
        assert_nobody_waits(step_on(ssl_frontend(FAMILIES[family], frozen)), cuda, f"{family}, kernels")


def test_lengths_on_the_device_cost_one_wait(cuda):
    detector = step_on(ssl_frontend(FAMILIES["wavlm"])).detector.to(cuda.device)
    wav = batch_of(MIXED, cuda).wav
    with cuda.watch() as seen, torch.no_grad():
        found = detector.eval().embed(wav, torch.tensor(MIXED).to(cuda.device, non_blocking=True))
    assert [fault.split(" in ")[0] for fault in seen.faults.elements()] == ["tolist"]
    assert torch.equal(found.cpu(), detector.embed(wav, MIXED).cpu())


@pytest.mark.parametrize("options", [
    {"s3prl_frames": True}, {"layerwise_feature": False}, {"gradient_checkpointing": True},
    {"freeze_extractor": True, "layer_drop": 0.5}], ids=str)
def test_options_of_the_front_end(cuda, options):
    frontend = ssl_frontend(FAMILIES["wavlm"], **options)
    backend = "SSL_BACKEND_MHFA" if frontend.num_layers > 1 else "SSL_BACKEND_MEAN"
    assert_nobody_waits(step_on(frontend, backend), cuda, str(options))


@pytest.mark.parametrize("family", ["wavlm", "wavlm_large", "data2vec", "pruned before", "whisper"])
def test_pruning_with_a_teacher(cuda, family):
    assert_nobody_waits(gated(FAMILIES[family], layers=1.0, logits=0.5), cuda, f"{family}, gated")


def test_gates_are_drawn_by_a_dozen_launches(cuda, monkeypatch):
    """Of many blocks as of few: what a further block costs does not grow with its gates."""
    step = gated(FAMILIES["wavlm"])
    step.to(cuda.device)
    together = watched_step(step, cuda, EQUAL, lengths=EQUAL)
    together.check()
    monkeypatch.setattr("wedefense.pruning.gates.draw_together", lambda gates: None)
    alone = watched_step(step, cuda, lengths=EQUAL)
    count = len(gated_sites(step.detector.frontend.upstream))
    assert together.launches["uniform_"] == 1 and alone.launches["uniform_"] == count > 10
    print(f"\n{count} gates: {alone.launches.total()} launches drawn alone, {together.launches.total()} together")
    assert alone.launches.total() - together.launches.total() > 12 * count


@pytest.mark.parametrize("kind, options", [(Fbank, FbankOptions(num_mel_bins=20)), (Lfcc, LfccOptions())])
def test_classical_features_and_spec_augment(cuda, kind, options):
    frontend = kind(options, 16000)
    step = step_on(frontend, "ECAPA_TDNN_c512", spec_augment=SpecAugment(SpecAugOptions(num_t_mask=2, prob=1.0)))
    step.detector.cmvn.over_time = True
    assert_nobody_waits(step, cuda, kind.__name__)


@pytest.mark.parametrize("name, options", [("SSL_BACKEND_MHFA", {"loss": "p2sgrad", "balance": True}), *(
    pytest.param(name, {}, marks=[pytest.mark.slow] * (name != "SSL_BACKEND_SLS")) for name in LOCALIZING)])
def test_localisation(cuda, name, options):
    told = LocalizationOptions(resolutions=(320, 640), boundary_weight=0.5, boundary_negatives=5.0, **options)
    step = step_on(ssl_frontend(FAMILIES["wavlm"], frozen=True), name, localization=told)
    assert_nobody_waits(step, cuda, f"{name}, localising")
    assert all(p.grad is not None for p in step.detector.localizer.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_back_ends(cuda, name):
    model = build(name).to(cuda.device).train()
    for lengths in ([30, 24, 30, 7], [30, 9, 20, 28]):
        given = noise(lengths)
        x = LayerFeatures([layer.to(cuda.device).requires_grad_() for layer in given.layers],
                          given.lengths.to(cuda.device), lengths)
        with cuda.watch() as seen:
            with torch.autocast("cuda", torch.bfloat16):
                y = model(x).float()
            y.square().sum().backward()
    print(f"\n{name}: {seen}")
    seen.check()


@pytest.mark.parametrize("name", HEADS.names())
def test_heads(cuda, name):
    head = HEADS.load(name)(HEADS.options(name)(), 8, 3).to(cuda.device).train()
    criterion = CrossEntropyLoss(LossOptions(weight=(0.5, 0.3, 0.2)), ["a", "b", "c"]).to(cuda.device)
    x, labels = torch.randn(4, 8).to(cuda.device).requires_grad_(), torch.tensor([0, 2, 1, 2]).to(cuda.device)
    with cuda.watch() as seen:
        head.set_margin(0.2)
        head.loss(head(x, labels), labels, criterion).backward()
    print(f"\n{name}: {seen}")
    seen.check()


@pytest.mark.parametrize("family", ["wav2vec2_large", "wavlm", "data2vec", "pruned before", "whisper"])
def test_the_device_computes_what_the_cpu_does(cuda, family):
    """Loss and gradients of the code that runs on devices alone: masks, padding, the mix of the layers."""
    step = step_on(ssl_frontend(FAMILIES[family])).double().eval()
    there, gradients = copy.deepcopy(step), {}
    batch = batch_of(MIXED, cuda).moved(torch.Tensor.double)
    loss, _ = step(batch.to("cpu"))
    loss.backward()
    there.to(cuda.device)
    assert run_step(there, batch, amp=False).item() == pytest.approx(loss.item(), rel=1e-5)
    gradients = dict(there.named_parameters())
    for name, parameter in step.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name].grad.cpu(), parameter.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_a_feature_cache_waits_once_a_batch(cuda):
    frontend = ssl_frontend(FAMILIES["wavlm"], frozen=True).to(cuda.device)
    cache, wav, lengths = FeatureCache(1.0), batch_of(MIXED, cuda).wav, MIXED
    order = torch.tensor([2, 0, 1]).to(cuda.device)
    found = []
    for rows in ([0, 1], [0, 1, 2], [2, 0, 1]):  # all new, one new, none
        part, own = wav[order.new_tensor(rows)], [lengths[row] for row in rows]
        with cuda.watch() as seen:
            found.append(cache(frontend, part, own))
        assert list(seen.faults) == [next(fault for fault in seen.faults if "samples = wav.cpu()" in fault)]
        assert seen.faults.total() == 1
    whole = frontend(wav, lengths)
    for one, other in zip(found[-1].layers, whole.layers, strict=True):
        torch.testing.assert_close(one.cpu(), other.cpu()[[2, 0, 1]], atol=1e-4, rtol=1e-4)
    assert found[-1].lengths.tolist() == [whole.counts[row] for row in (2, 0, 1)] == found[-1].counts


def trainer_on(tmp_path, cuda, **changes):
    ssl = {"upstream_args": {"name": "wavlm_tiny", "pruning_units": changes.pop("units", "")}}
    config = load_config(write_config(
        tmp_path, train_data=str(make_list(tmp_path, utterances=12)), dataset_args__frontend="ssl",
        dataset_args__ssl_args=ssl, dataloader_args__pin_memory=True, dataloader_args__num_workers=0,
        enable_amp=True, grad_clip=1.0, log_batch_interval=100, **changes))
    (tmp_path / "exp/models").mkdir(parents=True)
    return build_trainer(config, World(0, 1, 0, cuda.device))


def test_a_batch_without_room_beside_the_step_trains_in_its_turn_or_is_named(cuda, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB.")

    trainer = trainer_on(tmp_path, cuda)
    monkeypatch.setattr(SideStream, "send", full)
    loss, _ = trainer._train_epoch(None)
    assert trainer.step == 3 and 0 < loss < 10
    trainer.epoch, trainer.batch = 1, 0
    monkeypatch.setattr(Batch, "to", full)
    with pytest.raises(InputError, match="epoch 2: out of memory on a batch of 4 utterances .*batch_size: 2"):
        trainer._train_epoch(None)


@pytest.mark.parametrize("pruned", [False, True])
def test_an_epoch_of_the_trainer_waits_where_it_ends(cuda, tmp_path, pruned):
    """For the sums of the epoch; never in between: to look at a loss, it waits with the next step under way."""
    trainer = trainer_on(tmp_path, cuda, use_pruning_loss=pruned, units="head,interm" if pruned else "")
    trainer._train_epoch(None)
    trainer.epoch, trainer.batch = 1, 0
    with cuda.watch() as seen:
        loss, _ = trainer._train_epoch(None)
    assert trainer.batches == 3 and 0 < loss < 10
    assert sorted(fault.split(" in ")[0] for fault in seen.faults.elements()) == [
        "blocking copy to the device", "tolist"], seen.faults
    assert len(seen.waits) == 3 and min(seen.waits[:-1]) > 300
