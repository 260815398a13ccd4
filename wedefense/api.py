"""What a Python user calls."""

from wedefense.detect.loaded_detector import FrameScores, LoadedDetector
from wedefense.detect.loading import Experiment, load_detector, load_experiment
from wedefense.detect.score import Score

__all__ = ["Experiment", "FrameScores", "LoadedDetector", "Score", "load_detector", "load_experiment"]
