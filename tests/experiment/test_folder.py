"""Everything in the folder of an experiment has its place in one file."""

import ast
import re
from pathlib import Path

import pytest

from wedefense.experiment.folder import NAMES, ExperimentFolder, folder_of

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "wedefense").rglob("*.py"), *(ROOT / "tools").rglob("*.py")])
# Names that others have too: of a format (the front-end's record, Hugging Face weights), or a word of any kind.
OWN_PLACES = {"frontend.json": "formats/recorded.py", "model.safetensors": "ssl/zoo.py",
              "pytorch_model.bin": "ssl/zoo.py"}
WORDS = {"models", "scores", "figures", "embeddings", "posteriors", "tensorboard"}  # looked for as a part of a path


def spelled_here():
    """Every name in the folder, of files and of folders."""
    paths = [value for folder in (NAMES, NAMES.embeddings("dev"), NAMES.posteriors("dev"))
             for value in vars(folder).values()]
    paths += [*NAMES.public_form, NAMES.cut.root, NAMES.embeddings("dev").ark(0), NAMES.epoch(1)]
    return {part for path in paths if isinstance(path, Path) for part in path.parts} - {"dev"}

TYPED_OR_OF_OTHERS = ("wedefense/utils/examples.py",     # lines that users type
                      "wedefense/detect/published.py")   # files of the releases of others


def strings(path):
    """(line, text) of every string but docstrings; of an f-string its fixed parts."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_the_names_are_those_that_users_have():
    assert spelled_here() >= WORDS | {
        "config.yaml", "label2id", "frontend.json", "history.json", "train.log", "avg_model.pt", "best_model.pt",
        "last.ckpt", "model_1.pt", "pruned_model", "pruning.json", "pytorch_model.bin", "whole_pytorch_model.bin",
        "embedding.scp",
        "embedding_0.ark", "source.json", "left_out.txt", "logits.scp", "logits.ark", "llr.txt", "qmf.json",
        "results.json", "detection_result.txt", "calibration.json", "report.html", "MODEL.md", "model.safetensors"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_file_spells_the_names(path):
    own = path.relative_to(ROOT).as_posix()
    if own in ("wedefense/experiment/folder.py", *TYPED_OR_OF_OTHERS):
        return
    names = {name for name in spelled_here() - WORDS if not own.endswith(OWN_PLACES.get(name, "nowhere"))}
    names = [rf"(?<![\w.]){re.escape(name)}(?![\w.]\w)" for name in names]
    parts = [rf"(?<![\w.])(exp|\.|)/{word}/" for word in WORDS] + [rf"^{word}/" for word in WORDS]
    pattern = re.compile("|".join([*names, *parts, r"\bmodel_\d", r"^model_$"]))
    wrong = [f"{own}:{line} spells {found[0]}" for line, text in strings(path) if (found := pattern.search(text))]
    divided = [f"{own}:{node.lineno} divides by {node.right.value}"
               for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
               if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
               and isinstance(node.right, ast.Constant) and node.right.value in WORDS]
    assert not wrong + divided, "\n".join(wrong + divided)


def test_epochs_of_the_models_that_lie_there(tmp_path):
    folder = ExperimentFolder(tmp_path)
    assert folder.epochs() == []
    folder.models.mkdir()
    for name in ("model_2.pt", "model_10.pt", "model_x.pt", "model_3.pt.tmp", "avg_model.pt"):
        (folder.models / name).touch()
    assert folder.epochs() == [2, 10] and folder.epoch(2).is_file()


def test_a_cut_model_and_the_experiment_around_it(tmp_path):
    folder = ExperimentFolder(tmp_path)
    assert folder.cut.whole.root == folder.cut.root  # nobody's yet
    for part in (folder, folder.cut):
        part.models.mkdir(parents=True)
        part.config.touch()
    assert folder.cut.whole.root == tmp_path
    assert folder.whole is folder


def test_the_experiment_that_weights_lie_in(tmp_path):
    folder = ExperimentFolder(tmp_path / "exp")
    assert folder_of(folder.average) is None
    folder.models.mkdir(parents=True)
    folder.config.touch()
    assert folder_of(folder.average) is None and not folder.is_trained
    folder.labels.touch()
    assert {folder_of(file).root for file in (folder.average, folder.shared)} == {tmp_path / "exp"}
    assert folder_of(tmp_path / "other.pt") is None


def test_a_folder_is_a_path():
    assert Path(ExperimentFolder("a/b")) == Path("a/b") and f"{ExperimentFolder(Path('a'))}" == "a"
