"""Recordings of one's own: the README's three commands from a folder and a CSV to a report, typed as they stand."""

import json
import re
import shlex
import sys

import numpy as np
import soundfile

from tests.recipes.tiny import ROOT, copy_checkout, run
from wedefense.cli import main

README = (ROOT / "egs/detection/own/README.md").read_text(encoding="utf-8")
SMALL = ["--num_epochs", "6", "--num_avg", "1", "--scheduler_args.warm_up_epoch", "1", "--gpus", "[0]",
         "--device", "cpu", "--dataloader_args.batch_size", "4", "--dataloader_args.num_workers", "0",
         "--dataset_args.num_frms", "30", "--model_args.m_channels", "4"]


def recordings(folder, speakers=10):
    """Voices that hum and copies that buzz, and a table of them as a spreadsheet exports it."""
    rng, lines = np.random.default_rng(0), ["file,label,speaker,attack"]
    for speaker in range(speakers):
        for number in range(4):
            fake = number % 2 == 1
            name = f"s{speaker}/{number}.wav"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            wav = 0.05 * rng.standard_normal(12000) + 0.05 * np.sin(np.arange(12000) * (0.2 + 0.01 * speaker))
            if fake:  # on and off, as what stays the same over time is normalised away
                wav += 0.2 * np.sign(np.sin(0.9 * np.arange(12000))) * (np.arange(12000) // 800 % 2)
            soundfile.write(folder / name, wav, 16000)
            lines.append(f"{name},{'fake' if fake else 'real'},s{speaker},{'buzz' if fake else ''}")
    (folder / "labels.csv").write_text("\r\n".join(lines) + "\r\n")


def test_three_commands_from_a_folder_to_a_report(tmp_path, monkeypatch, capsys):
    recipe = copy_checkout(tmp_path / "checkout") / "egs/detection/own"
    recordings(tmp_path / "mine")
    (tmp_path / "mine/new").mkdir()
    for number, name in enumerate(("0", "1", "2", "3")):
        (tmp_path / f"mine/new/x{number}.wav").write_bytes((tmp_path / f"mine/s0/{name}.wav").read_bytes())
    commands = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)[0].splitlines()
    assert len(commands) == 3
    typed = [[word.replace("DIR", str(tmp_path / "mine")) for word in shlex.split(line, comments=True)]
             for line in commands]
    run(recipe, sys.executable, *typed[0][1:])
    out = run(recipe, *typed[1], *SMALL)
    assert "== stage 7" in out and (recipe / "exp/resnet/report.html").stat().st_size > 10_000
    results = json.loads((recipe / "exp/resnet/results.json").read_text())
    assert results["sets"]["eval"]["eer"] < 0.2  # a buzz is easily heard
    monkeypatch.chdir(recipe)
    assert main([*typed[2][1:], "--format", "csv", "--out", "scores.csv"]) == 0
    scored_rows_are_evaluated_against_stems(recipe, capsys)


def scored_rows_are_evaluated_against_stems(folder, capsys):
    """What `wedefense score` writes of a folder has paths, keys are stems: `evaluate` knows them."""
    (folder / "keys").write_text("".join(f"x{n} {'spoof' if n % 2 else 'bonafide'}\n" for n in range(4)))
    capsys.readouterr()
    assert main(["evaluate", "--scores", "scores.csv", "--keys", "keys"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"\b2 +2 .*0\.000", said), said
