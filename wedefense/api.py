"""What a Python user calls."""

from wedefense.detect.demo.page import demo
from wedefense.detect.frames import FrameScores
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.loading import load_detector
from wedefense.detect.score import Score
from wedefense.experiment.load import Experiment, load_experiment

__all__ = ["Experiment", "FrameScores", "LoadedDetector", "Score", "demo", "from_pretrained", "load_detector",
           "load_experiment"]

from_pretrained = LoadedDetector.from_pretrained
