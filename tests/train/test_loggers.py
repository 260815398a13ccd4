"""Loggers beside TensorBoard: classes of one's own, plug-ins, one that fails, resuming with others."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.corpus import make_list, write_config
from wedefense.bin.list import main as list_command
from wedefense.config.loader import load_config
from wedefense.train.loggers import Run, TensorBoard
from wedefense.train.run import train
from wedefense.train.trainer import Trainer
from wedefense.utils.errors import InputError

CODE = '''
import json

class Lines:
    """A line for each value."""

    def __init__(self, run):
        self.file = open(run.folder / "lines.jsonl", "a")
        self.write("begin", run.config["seed"], run.step)

    def write(self, name, value, step):
        self.file.write(json.dumps([name, value, step]) + chr(10))

    def scalars(self, values, step):
        for name, value in values.items():
            self.write(name, value, step)

    def image(self, name, image, step):
        self.write(name, image.shape, step)

    def close(self, failed):
        self.write("end", failed, 0)
        self.file.close()


class Offline(Lines):
    def scalars(self, values, step):
        raise ConnectionError("no route to host")
'''


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Of two epochs, with a plug-in `lines` that is installed beside it."""
    package = tmp_path / "site"
    about = package / "my_loggers-1.0.dist-info"
    about.mkdir(parents=True)
    (package / "my_loggers.py").write_text(CODE)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: my-loggers\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[wedefense.loggers]\nlines = my_loggers:Lines\n")
    monkeypatch.syspath_prepend(str(package))
    yield write_config(tmp_path, train_data=str(make_list(tmp_path, utterances=8)), num_epochs=2, num_avg=1,
                       dataloader_args__num_workers=0)
    sys.modules.pop("my_loggers", None)


def lines(folder):
    return [json.loads(line) for line in (folder / "exp/lines.jsonl").read_text().splitlines()]


def test_a_plug_in_gets_what_tensorboard_gets_and_going_on_may_have_others(config, tmp_path):
    train(load_config(config, ["--loggers", "[lines]"]), "cpu")
    assert lines(tmp_path)[-1] == ["end", False, 0]
    names = {name for name, _, _ in lines(tmp_path)}
    assert names >= {"begin", "end", "train/loss", "train/lr", "epoch/train_loss", "epoch/train_accuracy"}
    assert lines(tmp_path)[0] == ["begin", 7, 0]
    assert [step for name, _, step in lines(tmp_path) if name == "epoch/train_loss"] == [1, 2]
    assert not any((tmp_path / "exp/tensorboard").glob("*tfevents*"))
    more = ["--num_epochs", "3", "--scheduler_args.final_lr", "0.01"]
    once = load_config(config, ["--exp_dir", str(tmp_path / "flat"), "--loggers", "[]", *more])
    train(once, "cpu")
    train(load_config(config, ["--exp_dir", str(tmp_path / "flat"), *more, "--num_epochs", "4"]), "cpu")
    assert any((tmp_path / "flat/tensorboard").glob("*tfevents*"))


def test_a_logger_that_fails_is_told_once_and_the_training_goes_on(config, tmp_path):
    train(load_config(config, ["--loggers", "[my_loggers:Offline, tensorboard]"]), "cpu")
    told = [line for line in (tmp_path / "exp/train.log").read_text().splitlines() if "Offline' fails" in line]
    assert len(told) == 1 and told[0].endswith("left out from here on: ConnectionError: no route to host")
    assert (tmp_path / "exp/models/model_2.pt").is_file() and [name for name, *_ in lines(tmp_path)] == ["begin"]


def test_unknown_loggers_are_refused_before_anything_is_written(config, tmp_path):
    with pytest.raises(InputError, match="unknown logger 'line', did you mean 'lines'.*package.module:Class"):
        train(load_config(config, ["--loggers", "[line]"]), "cpu")
    with pytest.raises(InputError, match="no 'Line' in .*my_loggers.py, did you mean 'Lines'"):
        train(load_config(config, ["--loggers", "[my_loggers:Line]"]), "cpu")
    assert not (tmp_path / "exp/config.yaml").exists()


def test_they_are_listed(config, capsys):
    assert list_command(["logger"]) == 0
    printed = capsys.readouterr().out
    assert "tensorboard" in printed and "[my-loggers 1.0 (my_loggers:Lines)]" in printed


def test_a_training_that_fails_ends_its_loggers(config, tmp_path, monkeypatch):
    """What it wrote of its curves is on disk, and no thread of theirs is left."""
    monkeypatch.setattr(Trainer, "_save_epoch", lambda self, row: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(load_config(config, ["--loggers", "[tensorboard, lines]"]), "cpu")
    assert lines(tmp_path)[-1] == ["end", True, 0]


KILLED = '''
import os, sys
from wedefense.config.loader import load_config
from wedefense.train.run import train
from wedefense.train.trainer import Trainer

save = Trainer._save_last

def save_and_die(self):
    save(self)
    os.kill(os.getpid(), int(sys.argv[2]))

Trainer._save_last = save_and_die
train(load_config(sys.argv[1]), "cpu")
'''


def test_tensorboard_has_every_point_once_of_a_training_that_was_killed(config, tmp_path):
    """The last point before a checkpoint was hidden when the training went on, and that of an epoch never written."""
    config = write_config(tmp_path, train_data=str(make_list(tmp_path, utterances=16)), num_epochs=3, num_avg=1,
                          dataloader_args__num_workers=0, log_batch_interval=1, save_step_interval=2)
    for number, kill in enumerate((signal.SIGTERM, signal.SIGKILL)):  # after step 2, and with epoch 1
        assert subprocess.run([sys.executable, "-c", KILLED, str(config), str(int(kill))]).returncode == -kill
        written, = (tmp_path / "exp/tensorboard").glob("events*")
        written.rename(written.with_name(f"{number}.tfevents"))  # read in the order of names: of seconds otherwise
    train(load_config(config), "cpu")
    events = EventAccumulator(str(tmp_path / "exp/tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 13))
    assert [event.step for event in events.Scalars("epoch/train_loss")] == [1, 2, 3]


def test_batches_of_a_step_that_is_done_again_are_logged_once(config, tmp_path):
    """They were logged at the step before, which a resume leaves shown."""
    options = ["--accum_grad", "4", "--save_step_interval", "1", "--log_batch_interval", "1"]
    config = write_config(tmp_path, train_data=str(make_list(tmp_path, utterances=32)), num_epochs=1, num_avg=1,
                          dataloader_args__num_workers=0)

    class Killed(Exception):
        pass

    def killed(self, batch):
        if self.batch == 6:
            raise Killed
        return train_batch(self, batch)

    train_batch = Trainer._train_batch
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "_train_batch", killed)
        train(load_config(config, options), "cpu")
    train(load_config(config, options), "cpu")
    events = EventAccumulator(str(tmp_path / "exp/tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 1, 1, 1, 2, 2, 2, 2]


def test_a_picture_of_an_epoch_is_written_before_the_epoch_is_saved(tmp_path):
    """A process that ends there leaves what its threads still had to write."""
    if (child := os.fork()) == 0:
        TensorBoard(Run(tmp_path, {}, 0)).image("open_units", np.ones((2, 2)), 1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Images("open_units")] == [1]
