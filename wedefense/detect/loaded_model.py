"""A trained detector and what goes with it: labels, calibration, how it is to hear recordings."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import torch

from wedefense.config.schema import Config
from wedefense.data.labels import Labels
from wedefense.detect.recordings import InputPolicy, Recording, open_recording
from wedefense.models.detector import Detector
from wedefense.scoring.calibration import Calibration
from wedefense.utils.errors import InputError
from wedefense.utils.precision import Precision, resolve_for_inference

Model = TypeVar("Model", bound="LoadedModel")


@dataclass
class LoadedModel:
    """What `LoadedDetector` consists of."""

    detector: Detector
    labels: Labels
    weights: Path
    config: Config | None = None          # of the experiment; None for published checkpoints of other toolkits
    input_policy: InputPolicy = field(default_factory=InputPolicy)
    calibration: Calibration | None = None
    frame_thresholds: Mapping[int, float] = field(default_factory=dict)  # told by dev: ms of a frame -> fake up to it
    published_score: Literal["", "logit", "probability"] = ""  # `Score.raw` is that of bona fide, as published; "": LLR
    remark: str = ""                      # what had to be assumed
    precision: str = "auto"               # asked for; `arithmetic` is what it comes to

    def __post_init__(self):
        self.detector.eval()

    def __repr__(self) -> str:
        parts = f"{type(self.detector.frontend).__name__} + {type(self.detector.backend).__name__}"
        classes = ", ".join(self.labels.names[:3]) + (" ..." if len(self.labels.names) > 3 else "")
        size = sum(parameter.numel() for parameter in self.detector.parameters())
        return (f"LoadedDetector({self.weights}: {parts} -> {classes or 'embeddings'}; {size / 1e6:.3g} M parameters, "
                f"{self.device}, {self.arithmetic.name}, {'' if self.calibration else 'not '}calibrated)")

    @property
    def device(self) -> torch.device:
        return next(self.detector.parameters()).device

    @property
    def arithmetic(self) -> Precision:
        trained = "auto" if self.config is None else self.config.chosen_precision
        return resolve_for_inference(self.precision, trained, self.device)

    def to(self: Model, device: str | torch.device) -> Model:
        self.detector.to(device)
        return self

    def open(self, key: str, audio, sample_rate: int | None = None) -> Recording:
        return self.input_policy.prepared(open_recording(key, audio, self.input_policy.rate, sample_rate))

    def require_bonafide(self) -> None:
        if not self.labels.names:
            raise InputError(f"{self.weights}: has no head (projection.*), so there is nothing to score; use embed() "
                             "and similarity(), or a checkpoint of the training, which has one")
        if not self.labels.has_bonafide:
            raise InputError(f"{self.weights}: its classes ({', '.join(self.labels.names[:3])} ...) are not bona fide "
                             "and spoof, so there is nothing to score; use embed() and similarity()")


def name_of(audio, number: int) -> str:
    """What a recording is called that somebody hands over."""
    return os.fspath(audio) if isinstance(audio, (str, os.PathLike)) else f"input {number + 1}"
