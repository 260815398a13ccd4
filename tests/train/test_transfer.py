"""`model_init` takes the parts that fit, says what it left, and refuses what cannot be meant."""

import logging
import re

import pytest
import torch

from tests.corpus import write_config
from tests.detect.test_published_forms import CASES, written
from wedefense import load_detector
from wedefense.config.frontend import adapters_in
from wedefense.config.loader import load_config
from wedefense.data.labels import Labels
from wedefense.experiment import checkpoint
from wedefense.frontend.ssl.formats.peft import read_adapter, save_adapter
from wedefense.frontend.ssl.zoo import find_model
from wedefense.models.detector import build_detector, public_weights
from wedefense.train.transfer import initialised
from wedefense.utils.errors import InputError

SSL = {"dataset_args__frontend": "ssl", "dataset_args__ssl_args": {"upstream_args": {"name": "wavlm_tiny"}},
       "model": "SSL_BACKEND_MHFA", "model_args": {"embed_dim": 16, "head_nb": 4, "compression_dim": 8}}
SPOOF, SPEAKERS = ("bonafide", "spoof"), tuple(f"spk{number}" for number in range(7))


def config_of(folder, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    return load_config(write_config(folder, **SSL | changes))


@pytest.fixture
def trained(tmp_path):
    """-> the file of a detector of spoofs, and its weights by our names, none of them as a new one begins."""
    return saved(tmp_path / "old")


def saved(folder, **changes):
    detector = build_detector(config_of(folder, **changes), 2)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    exp = folder / "exp"
    (exp / "models").mkdir(parents=True)
    (exp / "config.yaml").write_text((folder / "config.yaml").read_text())
    Labels(SPOOF, (3, 4)).save(exp / "label2id")
    checkpoint.save_architecture(exp, detector)
    checkpoint.save(exp / "models/avg_model.pt", public_weights(detector))
    return exp / "models/avg_model.pt", detector.state_dict()


def start(tmp_path, path, names=SPOOF, **changes):
    config = config_of(tmp_path / "new", model_init=str(path), **changes)
    torch.manual_seed(1)
    detector = initialised(config, names)
    return {name: tensor.clone() for name, tensor in detector.state_dict().items()}


def same(weights, others, prefix: str) -> bool:
    own = [name for name in weights if name.startswith(prefix)]
    return bool(own) and all(name in others and torch.equal(weights[name], others[name]) for name in own)


BAM = {"model": "SSL_BACKEND_BAM", "model_args": {}, "localization_args": {
    "resolutions": [160], "utterance": "min", "boundary_weight": 0.5}}
GMLP = {"model": "SSL_BACKEND_multireso_MaxPool1dLin_gmlp", "projection_args": {"project_type": "p2sgrad"},
        "model_args": {"num_scale": 3, "multi_reso_active": ["2", "4", "8", "utt"]},
        "localization_args": {"resolutions": [20, 40, 80], "loss": "p2sgrad"}}


def as_published(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """A tensor of ours as the authors of BAM and of PartialSpoof's gMLP keep it; their class 1 is bona fide."""
    part, _, rest = name.partition(".")
    bam = part == "localizer" and ".linear." in rest
    return {f"model.out_layer.{rest.rpartition('.')[2]}": tensor.flip(0)} if bam else {
        "frontend": lambda: {rest.replace("upstream.", "extracter.model."): tensor},
        "localizer": lambda: {f"m_angle_scales.{int(rest.split('.')[1]) // 10}.weight": tensor.flip(0).T},
        "projection": dict,
        "backend": lambda: {"weight_hidd" if "layer_sum" in rest else f"m_transform.0.{rest}": tensor}}[part]()


@pytest.mark.parametrize("kind, taken", [(BAM, "front-end, back-end, heads of segments"),
                                         (GMLP, "front-end, back-end, head, heads of segments")])
def test_whole_checkpoints_of_localisers_are_taken(tmp_path, caplog, kind, taken):
    options = {"dataset_args__ssl_args": {"upstream_args": {"name": "wavlm_tiny"}, "layerwise_feature": kind is GMLP,
                                          "multilayer_feature": kind is GMLP}} | kind
    detector = build_detector(config_of(tmp_path / "old", **options), 2)
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in detector.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
        if kind is GMLP:
            detector.projection.weight.copy_(detector.localizer.heads["80"].weight)
    published = {}
    for name, tensor in detector.state_dict().items():
        published |= as_published(name, tensor)
    if kind is BAM:
        published = {name.replace("extracter.", "model.ssl_layer.").replace("m_transform.0.", "model."): tensor
                     for name, tensor in published.items()}
    torch.save({"state_dict": published}, tmp_path / "published.ckpt")
    with caplog.at_level(logging.INFO, logger="wedefense"):
        found = start(tmp_path, tmp_path / "published.ckpt", **options)
    assert f"weights start from {tmp_path / 'published.ckpt'}: {taken}" in caplog.text
    used = load_detector(tmp_path / "published.ckpt", config=tmp_path / "old/config.yaml").detector.state_dict()
    for name, tensor in detector.state_dict().items():
        assert torch.equal(found[name], tensor) and torch.equal(used[name], tensor), name


def test_everything_that_fits_is_taken(tmp_path, trained, caplog):
    path, weights = trained
    with caplog.at_level(logging.INFO, logger="wedefense"):
        found = start(tmp_path, path)
    assert same(found, weights, "") and "front-end, back-end, head" in caplog.text and "left behind" not in caplog.text


@pytest.mark.parametrize("names, changes, reason", [
    (SPEAKERS, {}, r"'projection.linear.weight' has shape \(2, 16\), not \(7, 16\)"),
    (SPOOF, {"projection_args__project_type": "softmax"}, "it lacks 'projection.trans.0.weight'"),
    (SPOOF[::-1], {}, "its classes are others"),  # two for two, but the other way round
])
def test_new_classes_and_another_head_begin_anew(tmp_path, trained, caplog, names, changes, reason):
    path, weights = trained
    found = start(tmp_path, path, names, **changes)
    assert same(found, weights, "frontend.") and same(found, weights, "backend.")
    assert not same(found, weights, "projection.")
    assert f"the head of {path} is left behind" in caplog.text and re.search(reason, caplog.text)


def test_another_back_end_takes_the_front_end_alone(tmp_path, trained, caplog):
    path, weights = trained
    found = start(tmp_path, path, model="SSL_BACKEND_MEAN", model_args={"embed_dim": 12})
    assert same(found, weights, "frontend.") and not same(found, weights, "backend.")
    assert "the back-end of" in caplog.text and "the head of" in caplog.text


def test_another_front_end_keeps_its_own_pretrained_weights(tmp_path, trained, caplog):
    """The encoder that the config names, not a random one of the file's shape, and the back-end of the file."""
    path, weights = trained
    found = start(tmp_path, path, dataset_args__ssl_args={"upstream_args": {"name": "hubert_tiny"}})
    fresh = build_detector(config_of(tmp_path / "hubert", dataset_args__ssl_args={
        "upstream_args": {"name": "hubert_tiny"}}), 2).state_dict()
    assert same(found, fresh, "frontend.upstream.") and same(found, weights, "backend.")
    assert f"the front-end of {path} is left behind" in caplog.text


def test_a_front_end_that_sums_otherwise_keeps_its_own_pretrained_weights_too(tmp_path, caplog):
    """The file's encoder has the shape of the config's, but not the weights of a sum."""
    last, learnt = (ssl(layerwise_feature=False, multilayer_feature=learnt) for learnt in (False, True))
    path, weights = saved(tmp_path / "last", **last)
    found = start(tmp_path, path, **learnt)
    fresh = build_detector(config_of(tmp_path / "fresh", **learnt), 2).state_dict()
    assert same(found, fresh, "frontend.") and same(found, weights, "backend.")
    assert "is left behind (it lacks 'frontend.featurizer.weights') and begins as without it" in caplog.text


def ssl(**options):
    return {"dataset_args__ssl_args": {"upstream_args": {"name": "wavlm_tiny"}, **options}}


@pytest.mark.parametrize("dora", [False, True])
def test_a_folder_of_peft_begins_over_the_encoder_of_the_file(tmp_path, trained, caplog, dora):
    """With DoRA its rows are as long as the folder says, whatever they were before."""
    path, weights = trained
    adapters = {"type": "lora", "r": 2, "dora": dora, "targets": ["q_proj"], "layers": [0, 2]}
    file, state = saved(tmp_path / "other", **ssl(adapters=adapters))
    config = load_config(tmp_path / "other/config.yaml")
    other = build_detector(config, 2)
    other.load_state_dict(state)
    save_adapter(other.pretrained.upstream, adapters_in(config.dataset_args.frontend_options), tmp_path / "peft", None)
    named = ssl(adapters={**adapters, "path": str(tmp_path / "peft")})
    found = start(tmp_path, path, **named)
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())
    place = "frontend.upstream.encoder.transformer.layers.2.attention.q_proj"
    theirs, own = read_adapter(tmp_path / "peft").tensors[2, "q_proj"], f"{place}.adapter"
    assert torch.equal(found[f"{own}.up"], theirs["up"]) and theirs["up"].abs().max() > 0
    if dora:
        length = (1 + found[f"{own}.gain"]) * found[f"{place}.weight"].norm(dim=1)
        torch.testing.assert_close(length, theirs["magnitude"])
    assert "adapters.path" not in caplog.text
    assert same(start(tmp_path, file, **named), state, "")
    assert f"go on, and adapters.path {tmp_path / 'peft'} is not read" in caplog.text


def test_a_part_of_a_back_end_that_is_called_adapter_is_none_of_the_encoder(tmp_path, trained):
    path, weights = trained
    checkpoint.save(path, checkpoint.load(path) | {"adapter.weight": torch.ones(2, 2)})
    found = start(tmp_path, path, **ssl(adapters={"type": "lora"}))
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items() if name.startswith("frontend."))


@pytest.mark.parametrize("wrap", [
    lambda weights: {"model": weights}, lambda weights: {"state_dict": weights, "epoch": 3},
    lambda weights: {f"module.{name}": tensor for name, tensor in weights.items()},
    lambda weights: {name: tensor for name, tensor in weights.items() if not name.startswith("projection.")},
], ids=["model", "state_dict", "module.", "headless"])
def test_files_of_other_forms_from_anywhere(tmp_path, trained, wrap):
    path, weights = trained
    other = tmp_path / "elsewhere.pt"
    torch.save(wrap(checkpoint.load(path)), other)
    headless = not any(name.removeprefix("module.").startswith("projection.") for name in checkpoint.load_model(other))
    found = start(tmp_path, other)
    assert same(found, weights, "frontend.") and same(found, weights, "backend.")
    assert same(found, weights, "projection.") != headless


def test_what_cannot_be_meant_is_refused(tmp_path, trained):
    path, weights = trained
    with pytest.raises(InputError, match="nothing of it fits this config: the front-end: .*; the back-end: .* lacks"):
        start(tmp_path, path, dataset_args__frontend="fbank", model="XVEC", model_args={"embed_dim": 12})
    encoder = {name.removeprefix("frontend.upstream."): tensor for name, tensor in weights.items()
               if name.startswith("frontend.upstream.")}
    torch.save(encoder, tmp_path / "encoder.pt")
    with pytest.raises(InputError, match="an encoder alone is given as upstream_args.path_or_url"):
        start(tmp_path, tmp_path / "encoder.pt")
    for content, told in (({}, "expected the tensors of a model"), ({"a": torch.zeros(2)}, "nothing of it fits")):
        torch.save(content, tmp_path / "odd.pt")
        with pytest.raises(InputError, match=told):
            start(tmp_path, tmp_path / "odd.pt")


def test_a_cut_encoder_goes_on_as_it_was_cut(tmp_path, trained):
    from dataclasses import replace

    from wedefense.frontend.ssl.architecture import BlockShape

    whole = find_model("wavlm_tiny").architecture
    cut = replace(whole, blocks=(BlockShape((0, 2), 40), *whole.blocks[1:]))
    detector = build_detector(config_of(tmp_path / "cut"), 2, cut)
    exp = tmp_path / "cut/exp"
    checkpoint.save_architecture(exp, detector)
    checkpoint.save(exp / "models/avg_model.pt", public_weights(detector))
    found = start(tmp_path, exp / "models/avg_model.pt")
    assert same(found, detector.state_dict(), "")


LAST = {"layerwise_feature": False, "multilayer_feature": False}


@pytest.mark.parametrize("case, model, model_args, layers", [
    ("Tak", "SSL_BACKEND_aasist", {"embed_dim": -1}, LAST),
    ("Nes2Net", "SSL_BACKEND_utt_only_nes2net", {"dilation": 2, "pool_func": "TAP"}, LAST),
    ("AntiDeepfake", "SSL_BACKEND_MEAN", {"embed_dim": -1}, LAST),
    ("DF-Arena", "SSL_BACKEND_RAPTOR", {"num_blocks": 2}, {"layerwise_feature": True})])
def test_whole_detectors_of_authors_go_on(tmp_path, caplog, case, model, model_args, layers):
    shapes, _, name, _ = CASES[case]
    written(tmp_path / name, shapes)
    theirs = load_detector(tmp_path / name).detector
    config = load_config(write_config(
        tmp_path, dataset_args__frontend="ssl", dataset_args__cmvn=False, model=model, model_init=str(tmp_path / name),
        dataset_args__ssl_args={"upstream_args": {"name": str(tmp_path / name)}, **layers},
        model_args=model_args))
    with caplog.at_level(logging.INFO, logger="wedefense"):
        ours = initialised(config, SPOOF).eval()
    assert "weights start from" in caplog.text and "left behind" not in caplog.text
    by_config = load_detector(tmp_path / name, config=tmp_path / "config.yaml")
    assert by_config.config is not None and by_config.labels.counts == (1, 1)
    wav = torch.randn(2, 64_600)
    with torch.no_grad():
        logits, *others = (model(wav, [64_600] * 2).logits for model in (theirs, ours, by_config.detector))
    assert all(torch.equal(logits, each) for each in others)


def test_a_crop_that_a_config_does_not_keep_is_told(tmp_path, caplog):
    """Its authors' file scores the first 64,600 samples, the experiment what its config says."""
    def said(**data) -> str:
        caplog.clear()
        config = write_config(
            tmp_path, dataset_args__frontend="ssl", dataset_args__cmvn=False, model="SSL_BACKEND_aasist",
            model_args={"embed_dim": -1}, model_init=str(tmp_path / name),
            dataset_args__ssl_args={"upstream_args": {"name": str(tmp_path / name)}, **LAST},
            **{f"dataset_args__{key}": value for key, value in data.items()})
        with caplog.at_level(logging.INFO, logger="wedefense"):
            initialised(load_config(config), SPOOF)
        return caplog.text

    shapes, _, name, _ = CASES["Tak"]
    written(tmp_path / name, shapes)
    assert ("XLS-R + AASIST hears 64,600 samples; this config trains on 48,000 samples and scores whole utterances. To "
            "keep to what it heard, set dataset_args.num_frms: 202, dataset_args.eval_frms: 202") in said(num_frms=150)
    assert ("trains on whole utterances and scores 64,640 samples. To keep to what it heard, set "
            "dataset_args.whole_utt: False") in said(whole_utt=True, eval_frms=202)
    assert "keep to what it heard" not in said(num_frms=202, eval_frms=202)
