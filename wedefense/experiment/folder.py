"""The folder of an experiment: where everything in it lies. No other file spells these names.

>>> ExperimentFolder("exp/mhfa").average.as_posix()
'exp/mhfa/models/avg_model.pt'
"""

import os
import re
from pathlib import Path

from wedefense.frontend.ssl.formats import recorded

_EPOCH = re.compile(r"model_(\d+)\.pt")


class ExperimentFolder:
    """Paths alone: nothing is made, and nothing is read but whether it is there."""

    def __init__(self, root: str | os.PathLike = ""):
        self.root = root = Path(root)
        # training
        self.config = root / "config.yaml"
        self.labels = root / "label2id"
        self.architecture = root / recorded.FILE  # of an SSL front-end
        self.training = root / "training.json"    # what the weights are trained with (see `record`)
        self.history = root / "history.json"
        self.log = root / "train.log"
        self.tensorboard = root / "tensorboard"
        self.tracked = root / "tracked.json"      # which run of a tracker is its own
        self.models = root / "models"
        self.average = self.models / "avg_model.pt"
        self.averaging = self.models / "avg_model.json"  # of which epochs
        self.best = self.models / "best_model.pt"
        self.last = self.models / "last.ckpt"     # what an exact resume takes
        # pruning
        self.cutting = root / "source.json"       # in the cut experiment: of what it was cut
        self.pruning = root / "pruning.json"
        self.public_form = root / "pytorch_model.bin", root / "whole_pytorch_model.bin"  # encoder and detector
        # scoring
        self.scores = root / "scores"             # of speaker verification, <trials>.txt
        self.quality = self.scores / "qmf.json"
        self.results = root / "results.json"
        self.summary = root / "detection_result.txt"
        self.where = root / "localization_result.txt"
        self.calibration = root / "calibration.json"
        # what people look at
        self.report = root / "report.html"
        self.figures = root / "figures"
        self.card = root / "MODEL.md"
        # made to be shared
        self.shared = root / "model.safetensors"
        self.frame_thresholds = root / "frame_thresholds.json"  # of the dev set, where `results` does not come along

    def __fspath__(self) -> str:
        return str(self.root)

    __str__ = __fspath__

    def epoch(self, number: int | str) -> Path:
        return self.models / f"model_{number}.pt"

    def frozen(self, mark: str) -> Path:
        """The frozen encoder of that fingerprint."""
        return self.models / f"frozen_{mark[:16]}.pt"

    def epochs(self) -> list[int]:
        """Whose weights lie here, ascending, whatever else lies there."""
        if not self.models.is_dir():
            return []
        return sorted(int(found.group(1)) for found in map(_EPOCH.fullmatch, os.listdir(self.models)) if found)

    def embeddings(self, name: str) -> "Embeddings":
        return Embeddings(self.root / "embeddings" / name)

    def posteriors(self, name: str) -> "Posteriors":
        return Posteriors(self.root / "posteriors" / name)

    def scored_sets(self) -> list[str]:
        """Names of the sets that have log-likelihood ratios."""
        return sorted(path.parent.name for path in self.root.glob("posteriors/*/llr.txt"))

    def figure(self, name: str, form: str = "png") -> Path:
        return self.figures / f"{name}.{form}"

    @property
    def cut(self) -> "ExperimentFolder":
        """What pruning left, an experiment of its own."""
        return ExperimentFolder(self.root / "pruned_model")

    @property
    def written(self) -> tuple[Path, ...]:
        """What a cut model consists of, where it is a cut model."""
        return (self.config, self.labels, self.architecture, self.average, self.pruning, *self.public_form)

    @property
    def is_trained(self) -> bool:
        return self.config.is_file() and self.labels.is_file()

    @property
    def has_public_form(self) -> bool:
        """The two files as which WeDefense publishes a pruned model."""
        return all(path.is_file() for path in self.public_form)

    @property
    def whole(self) -> "ExperimentFolder":
        """The experiment that this folder is or, being its cut model, belongs to."""
        around = ExperimentFolder(self.root.absolute().parent)
        return around if around.cut.root == self.root.absolute() and around.config.is_file() else self


class Embeddings:
    """Of one set, by stage 4."""

    def __init__(self, root: Path):
        self.root = root
        self.scp = root / "embedding.scp"
        self.source = root / "source.json"        # what they were made from
        self.left_out = root / "left_out.txt"     # utterances that could not be read

    def ark(self, rank: int) -> Path:
        return self.root / f"embedding_{rank}.ark"

    def arks(self) -> list[Path]:
        return sorted(self.root.glob("embedding_*.ark"))

    def segments(self, ms: int) -> Path:
        """Of an experiment that localises: lines NAME SCORE SCORE ... for segments of so many ms."""
        return self.root / f"segments_{ms}ms.txt"

    def segments_of(self, rank: int, ms: int) -> Path:
        """Those of a rank, until all are put together."""
        return self.root / f"segments_{ms}ms.{rank}.part"

    def resolutions(self) -> list[int]:
        """Of the segments whose scores lie here, in ms."""
        return sorted(int(path.name.removeprefix("segments_").removesuffix("ms.txt"))
                      for path in self.root.glob("segments_*ms.txt"))


class Posteriors:
    """Of one set, by stages 5 and 6."""

    def __init__(self, root: Path):
        self.root = root
        self.scp, self.ark = root / "logits.scp", root / "logits.ark"
        self.llr = root / "llr.txt"
        self.source, self.llr_source = root / "logits.json", root / "llr.json"  # what they were made from


NAMES = ExperimentFolder()  # relative, for what is said about a folder and for addresses on a hub


def config_of(place: str) -> Path:
    """A config itself, or that of an experiment folder."""
    return ExperimentFolder(place).config if os.path.isdir(place) else Path(place)


def folder_of(file: str | os.PathLike) -> ExperimentFolder | None:
    """The trained experiment that a checkpoint lies in."""
    for root in Path(file).absolute().parents[:2]:
        if (folder := ExperimentFolder(root)).is_trained:
            return folder
    return None
