"""What recipes ask before each stage takes a moment: torch, which takes longer to import than all of it, stays out."""

import subprocess
import sys

from tests.corpus import make_list, write_config
from wedefense.bin.average import main as average
from wedefense.config.loader import load_config
from wedefense.train.run import train

CODE = """
import sys
from wedefense.bin.average import main as average
from wedefense.bin.check import main as check

average(["--config", "config.yaml"])
try:
    check("--config config.yaml --stage 5 --data . --train_sets train --sets dev".split())
except Exception as error:
    print(error)
print("torch" in sys.modules)
"""


def test_a_check_and_an_average_that_is_there_load_no_torch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_list(tmp_path, "dev", utterances=4)
    config = write_config(tmp_path, train_data=str(make_list(tmp_path, utterances=8)), num_epochs=1, num_avg=1,
                          dataloader_args__num_workers=0)
    train(load_config(config), "cpu")
    average(["--config", str(config)])
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    *_, averaged, told, has_torch = done.stdout.splitlines()
    assert averaged.endswith("avg_model.pt: average of epoch 1")
    assert "there are no whole embeddings of 'dev'; go back to --stage 4" in told and has_torch == "False"
