"""Checkpoints as WeDefense leaves them: s3prl's tensor names, what it keeps besides, what it leaves out."""

import numpy as np
import pytest
import torch

from tests.corpus import write_config
from tests.detect.experiments import SSL, make_experiment, make_pruned, stirred, wave
from tests.frontend.ssl import files
from wedefense import load_detector
from wedefense.config.loader import load_config
from wedefense.frontend.ssl.formats.read import read_checkpoint
from wedefense.frontend.ssl.formats.wedefense import pruned_checkpoint
from wedefense.models.detector import build_detector, public_weights
from wedefense.utils.errors import InputError

pytest.importorskip("s3prl")
LAYERS = {
    "all": {"layerwise_feature": True, "multilayer_feature": True, "layer": -1},
    "a sum": {"layerwise_feature": False, "multilayer_feature": True, "layer": -1},
    "one": {"layerwise_feature": False, "multilayer_feature": False, "layer": 1},
    "the last": {"layerwise_feature": False, "multilayer_feature": False, "layer": -1},
}


def saved(folder, layers: str, project_type="softmax", **changes):
    """-> the detector that a file of WeDefense over s3prl holds, the file, its config."""
    torch.manual_seed(0)
    model = files.save_s3prl(folder / "wavlm.pt", "wavlm", False)
    config = write_config(
        folder, dataset_args__frontend="s3prl", model="SSL_BACKEND_MHFA" if layers == "all" else "XVEC",
        dataset_args__s3prl_args={"upstream_args": {"name": "wavlm_base_plus"}, "frozen": True, **LAYERS[layers]},
        model_args={"embed_dim": 16, **({"head_nb": 4, "compression_dim": 8} if layers == "all" else
                                        {"hid_dim": 16, "stats_dim": 24})},
        projection_args__project_type=project_type, **changes)
    architecture = read_checkpoint(folder / "wavlm.pt").architecture
    detector = stirred(build_detector(load_config(config), 2, architecture))
    inner = {name: tensor for name, tensor in model.state_dict().items()}
    detector.load_state_dict({f"frontend.upstream.upstream.model.{name}": tensor for name, tensor in inner.items()} | {
        name: tensor for name, tensor in detector.state_dict().items() if not name.startswith("frontend.upstream.")})
    theirs = {f"frontend.upstream.upstream.model.{name}": tensor for name, tensor in inner.items()}
    theirs |= {name: tensor for name, tensor in public_weights(detector).items()
               if not name.startswith("frontend.upstream.") and name != "projection.iteration"}
    if layers != "all":  # s3prl's Featurizer has them, whether it sums or not
        theirs.setdefault("frontend.featurizer.weights", torch.arange(3.0)[:1 if layers == "one" else 3])
    torch.save(theirs, folder / "model.pt")
    (folder / "wavlm.pt").unlink()
    return detector.eval(), folder / "model.pt", config


@pytest.mark.parametrize("layers", LAYERS)
def test_a_file_loads_without_the_pretrained_one_and_scores_the_same(tmp_path, monkeypatch, layers):
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    detector, path, config = saved(tmp_path, layers)
    found, wav = load_detector(path, config=config), wave(1.5).astype(np.float32)
    with torch.no_grad():
        expected = detector(torch.from_numpy(wav)[None], [len(wav)]).logits[0].numpy()
    np.testing.assert_allclose(found.embedding_and_logits(wav)[1], expected, atol=1e-5)


def test_a_head_of_sphere_has_no_count(tmp_path, monkeypatch):
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    detector, path, config = saved(tmp_path, "all", "sphere")
    assert "projection.iteration" not in torch.load(path, weights_only=True)
    wav = wave(1.5).astype(np.float32)
    with torch.no_grad():
        expected = detector(torch.from_numpy(wav)[None], [len(wav)]).logits[0].numpy()
    np.testing.assert_allclose(load_detector(path, config=config).embedding_and_logits(wav)[1], expected, atol=1e-5)


@pytest.mark.parametrize("changed, told", [
    ({"projection.trans.2.weight": None}, r"no weight .* in its head \(found: projection.trans.0"),
    ({"projection.trans.9.weight": torch.zeros(2)}, "tensor 'projection.trans.9.weight' is not part"),
    ({"att_head.weight": torch.zeros(5, 8)}, r"'backend.att_head.weight' has shape \(5, 8\), .* wants \(4, 8\)"),
])
def test_whatever_else_differs_is_named(tmp_path, monkeypatch, changed, told):
    monkeypatch.setenv("WEDEFENSE_OFFLINE", "1")
    _, path, config = saved(tmp_path, "all")
    weights = torch.load(path, weights_only=True) | changed
    torch.save({name: tensor for name, tensor in weights.items() if tensor is not None}, path)
    with pytest.raises(InputError, match=told):
        load_detector(path, config=config)


def test_a_file_without_a_head_gives_embeddings_and_no_scores(tmp_path, monkeypatch):
    """WeDefense's pruning tool leaves the head out; so do transfers."""
    exp, wav = make_experiment(tmp_path / "mhfa", projection_args__project_type="softmax", **SSL), wave(2.0)
    whole = load_detector(exp)
    folder = make_pruned(tmp_path / "hub", exp)
    path = folder / "whole_pytorch_model.bin"
    weights = {name: tensor for name, tensor in torch.load(path, weights_only=True).items()
               if not name.startswith("projection.")}
    torch.save(weights, path)
    for found in (load_detector(folder), load_detector(path, config=exp / "config.yaml"),
                  load_detector(make_headless_beside(exp, folder))):
        np.testing.assert_allclose(found.embed(wav, 16000), whole.embed(wav, 16000), atol=1e-5)
        assert "no head" in found.remark
        with pytest.raises(InputError, match="has no head .* use embed"):
            found.score(wav, 16000)


def make_headless_beside(exp, folder):
    """The same two files in the folder of their experiment."""
    (exp / "pruned_model").mkdir()
    for file in folder.iterdir():
        (exp / "pruned_model" / file.name).write_bytes(file.read_bytes())
    return exp / "pruned_model"


def test_a_pruned_folder_that_lost_its_position_bias(tmp_path):
    """Block 0 without attention: WeDefense loses the bias of all blocks with it, and keeps the gates of the others."""
    exp = make_experiment(tmp_path / "mhfa", projection_args__project_type="softmax", **SSL)
    folder, lost = make_pruned(tmp_path / "hub", exp), "encoder.transformer.layers.0.attention."
    encoder, whole = (torch.load(folder / name, weights_only=True)
                      for name in ("pytorch_model.bin", "whole_pytorch_model.bin"))
    encoder["config"]["encoder_use_attention"][0] = False
    for state in (encoder["state_dict"], whole):
        for name in [name for name in state if lost in name]:
            del state[name]
    assert any("gru_rel_pos_const" in name for name in whole)
    torch.save(encoder, folder / "pytorch_model.bin"), torch.save(whole, folder / "whole_pytorch_model.bin")
    found = load_detector(folder)
    upstream = found.detector.frontend.upstream
    assert not upstream.architecture.rel_buckets and not upstream.architecture.blocks[0].heads
    assert np.isfinite(found.embed(wave(1.0), 16000)).all()


def test_the_width_of_heads_is_that_of_the_file_that_training_began_from(tmp_path):
    """wav2vec 2.0's tensors do not tell it: 48 is one head of 64 or four of 12, and the published file says which."""
    model, settings = files.torchaudio_model("wav2vec2", False)
    architecture = read_checkpoint(files.save_hugging_face(
        files.transformers_model("wav2vec2", False), tmp_path / "hf", normalize=False)).architecture
    assert architecture.total_heads == 4
    torch.save(pruned_checkpoint(architecture, model.state_dict()), tmp_path / "wav2vec2.hf.pth")
    config = write_config(tmp_path, dataset_args__frontend="huggingface", dataset_args__huggingface_args={
        "upstream_args": {"name": "wavlm_base", "path_or_url": str(tmp_path / "wav2vec2.hf.pth")}},
        model="SSL_BACKEND_MHFA", model_args={"embed_dim": 16, "head_nb": 4, "compression_dim": 8})
    detector = stirred(build_detector(load_config(config), 2))
    torch.save(public_weights(detector), tmp_path / "model.pt")
    found, wav = load_detector(tmp_path / "model.pt", config=config), wave(1.0).astype(np.float32)
    assert found.detector.frontend.architecture.total_heads == 4
    with torch.no_grad():
        expected = detector(torch.from_numpy(wav)[None], [len(wav)]).logits[0].numpy()
    np.testing.assert_allclose(found.embedding_and_logits(wav)[1], expected, atol=1e-5)


def test_a_file_of_tensors_takes_the_config_that_lies_beside_it(tmp_path):
    """Under a name that transformers does not give it."""
    model = files.transformers_model("wav2vec2", False)
    folder = files.save_hugging_face(model, tmp_path / "hf", normalize=False)
    torch.save(model.state_dict(), folder / "encoder.pth")
    assert read_checkpoint(folder / "encoder.pth").architecture == read_checkpoint(folder).architecture
    (folder / "config.json").unlink()
    assert read_checkpoint(folder / "encoder.pth").architecture.total_heads == 1  # of 64: the best guess
