"""The table of metrics agrees with what computes them."""

from dataclasses import asdict, fields
from typing import get_type_hints

import numpy as np
import pytest

from wedefense.config.schema import Config
from wedefense.metrics import catalogue
from wedefense.metrics.catalogue import BOOTSTRAPPED, METRICS, MONITORS, OF_CLASSES, POINTS, SUMMARY
from wedefense.metrics.classification import ClassificationResult
from wedefense.metrics.confidence import bootstrap
from wedefense.metrics.detection import detection_metrics

RESULT = asdict(detection_metrics([1.0, 2.0, 3.0], [-2.0, -1.0, 1.5]))


def test_whatever_detection_computes_stands_in_the_table():
    computed = {name for name in RESULT if not name.startswith("n_") and not name.endswith("_threshold")}
    assert computed == {name for name, metric in METRICS.items() if metric.of == catalogue.DETECTION} - {"range_eer"}
    assert {f"{name}_threshold" for name in POINTS} == {name for name in RESULT if name.endswith("_threshold")}


def test_classification_computes_its_metrics():
    assert set(OF_CLASSES) <= {field.name for field in fields(ClassificationResult)}


def test_a_resample_gives_what_the_table_says():
    samples = bootstrap(np.array([1.0, 2.0, -1.0, 1.5]), np.array([True, True, False, False]), resamples=2)
    assert tuple(samples) == BOOTSTRAPPED
    assert set(SUMMARY) == set(BOOTSTRAPPED)  # the intervals stand under the columns


def test_columns_have_places_of_their_own():
    assert SUMMARY == ("min_dcf", "eer", "cllr", "min_cllr", "act_dcf")  # as in the published tables
    assert [METRICS[name].column for name in SUMMARY] == list(range(1, len(SUMMARY) + 1))


def test_what_training_may_follow_stands_in_the_table():
    assert set(MONITORS) <= set(METRICS) and get_type_hints(Config)["monitor"] == catalogue.Monitor
    assert Config().monitor == catalogue.MAIN
    assert {name: catalogue.history_key(name) for name in ("eer", "loss", "train_loss")} == {
        "eer": "val_eer", "loss": "val_loss", "train_loss": "train_loss"}


@pytest.mark.parametrize("name, value, number, phrase", [
    ("eer", 0.12345, "12.345", "EER 12.35 %"), ("min_dcf", 0.12345, "0.1235", "minDCF 0.1235"),
    ("accuracy", 0.5, "50.00", "accuracy 50.00 %")])
def test_numbers_as_printed(name, value, number, phrase):
    assert METRICS[name].number(value) == number and METRICS[name].phrase(value) == phrase


def test_better():
    assert METRICS["accuracy"].better(0.9, 0.8) and METRICS["eer"].better(0.1, 0.2)
    assert not any(metric.better(0.5, 0.5) for metric in METRICS.values())
