"""What a name says, no terminal obeys and no spreadsheet computes; and what was written is read back."""

import csv
import io
import logging
import os
import pty
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from tests.detect.experiments import SSL, make_experiment
from wedefense.bin import embed, evaluate, frames, locate, score
from wedefense.cli import run
from wedefense.data.catalogue import Catalogue
from wedefense.metrics.keys import read_scores
from wedefense.metrics.table import text_table
from wedefense.report.render import pdf, png, svg
from wedefense.report.style import new_figure
from wedefense.utils.errors import InputError
from wedefense.utils.log import get_logger, setup_logging
from wedefense.utils.tables import first_few, read_table
from wedefense.utils.visible import cell, from_cell, visible

ESCAPE = "\x1b[2J\x1b]0;pwned\x07"
NAMES = [f"{ESCAPE}.wav", "=cmd|' !A0.wav", "+1.wav", "-2+3.wav", "@SUM(1).wav", "new\nline.wav", "a blank.wav",
         "tab\there.wav", "\u202egnp.wav", os.fsdecode(b"\xff\xfe.wav"), "quote\".wav", "back\\slash.wav"]


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    return make_experiment(tmp_path_factory.mktemp("exp"), **SSL)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    wav = 0.1 * np.random.default_rng(0).standard_normal(8000)
    for name in NAMES:
        content = io.BytesIO()
        soundfile.write(content, wav, 16000, format="WAV")
        (folder / name).write_bytes(content.getvalue())
    return folder


def harmless(text: str) -> bool:
    return visible(text, but="\n\t") == text


@pytest.mark.parametrize("style", ["table", "json", "csv", "scores"])
def test_scores_of_such_files(exp, folder, style, capsys, tmp_path):
    assert score.main(["--model", str(exp), str(folder), "--format", style]) == 0
    printed = capsys.readouterr()
    assert harmless(printed.out) and harmless(printed.err) and r"\x1b[2J" in printed.out.replace(r"\u001b", r"\x1b")
    assert score.main(["--model", str(exp), str(folder), "--format", style, "--out", str(tmp_path / "out")]) == 0
    written = (tmp_path / "out").read_text()
    assert harmless(written)
    if style in ("csv", "scores"):
        names, values = read_scores(tmp_path / "out")
        shown = sorted(visible(str(folder / name)) for name in NAMES)
        assert sorted(names) == shown and np.isfinite(values).all()


def test_a_spreadsheet_computes_nothing(exp, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    formulas = [name for name in NAMES if name[0] in "=+-@"]
    assert score.main(["--model", str(exp), "--format", "csv", "--", *formulas]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert sorted(row["name"] for row in rows) == sorted(f"'{name}" for name in formulas)
    assert all(float(row["llr"]) is not None for row in rows)  # numbers below 0 stay numbers
    for name in NAMES:
        assert from_cell(cell(name)) == visible(name) and not cell(name).startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("drawn", [svg, png, pdf])
def test_figures_write_names_as_they_are(drawn):
    """Neither formulas of mathematics, which matplotlib would read between two $, nor bytes that are no text."""
    names = [r"$\frac{$", "$x$", "50 $"]  # of attacks, codecs ..., which tables hold without control characters
    figure, axes = new_figure()
    axes.plot([0, 1], label=names[0])
    axes.set_yticks(range(len(names)), names)
    axes.set_title(NAMES[0])
    figure.legend()
    figure.suptitle(os.fsdecode(b"\xff"))
    content = drawn(figure)
    if drawn is svg:
        assert r"$\frac{$" in content.decode() and "$x$" in content.decode() and harmless(content.decode())


def test_pictures_and_labels_of_such_recordings(exp, folder, tmp_path, monkeypatch, capsys):
    odd = [folder / r"$\frac{$.wav", folder / os.fsdecode(b"\xff\xfe.wav")]
    odd[0].write_bytes((folder / "+1.wav").read_bytes())
    assert locate.main(["--model", str(exp), *map(str, odd), "--plot", str(tmp_path / "pictures")]) == 0
    assert harmless(capsys.readouterr().out) and len(list((tmp_path / "pictures").iterdir())) == 2
    with pytest.raises(InputError, match="4 names with blanks"):
        locate.main(["--model", str(exp), str(folder), "--out", str(tmp_path / "spans.rttm")])
    assert locate.main(["--model", str(exp), str(folder), "--format", "csv"]) == 0
    assert harmless(capsys.readouterr().out)
    monkeypatch.chdir(folder)
    locate.main(["--model", str(exp), "--format", "csv", "=cmd|' !A0.wav"])
    assert capsys.readouterr().out.splitlines()[1].startswith("'=cmd")
    assert embed.main(["--model", str(exp), str(folder), "--out", str(tmp_path / "e.npz")]) == 0
    assert len(np.load(tmp_path / "e.npz")["names"]) == len(NAMES) + 1  # as they are: files are found again by them


def test_frames_refuse_names_with_blanks_before_the_work(exp, folder, tmp_path):
    with pytest.raises(InputError, match="4 names with blanks .*a table NAME.scp, with keys that have none"):
        frames.main(["--model", str(exp), str(folder), "--out", str(tmp_path / "frames")])
    assert not (tmp_path / "frames").exists()


def test_errors_tables_and_logs(tmp_path, capsys):
    def main(argv=None):
        raise InputError(f"{ESCAPE}: no such file")

    with pytest.raises(SystemExit):
        run(main)
    assert capsys.readouterr().err == visible(f"error: {ESCAPE}: no such file") + "\n"
    assert harmless(first_few(NAMES, 20)) and "\n" not in first_few(NAMES, 20)
    assert len(text_table(["name"], [[name] for name in NAMES]).splitlines()) == 2 + len(NAMES)
    setup_logging(tmp_path / "log")
    get_logger().warning("%s cannot be read", NAMES[0])
    assert harmless((tmp_path / "log").read_text()) and harmless(capsys.readouterr().err)
    logging.getLogger("wedefense").handlers = []


def test_a_real_terminal_is_told_nothing(exp, folder):
    """Through a pseudo terminal: what the command sends there, progress bars aside, is text."""
    here, there = pty.openpty()
    program = "from wedefense.cli import run; run()"
    done = subprocess.Popen([sys.executable, "-c", program, "score", "--model", f"{ESCAPE}{exp}", str(folder)],
                            stdout=there, stderr=there)
    os.close(there)
    sent = b""
    while True:
        try:
            part = os.read(here, 1 << 16)
        except OSError:
            break
        if not part:
            break
        sent += part
    assert done.wait() == 2 and b"\x1b" not in sent and b"\x07" not in sent and rb"\x1b[2J" in sent


@pytest.mark.parametrize("key", ["a b", "a\nb", "a\tb", "", " ", "a\x1bb", "a\u2028b", "a\0b"])
def test_keys_of_lists_hold_no_blanks_and_no_control_characters(key):
    with pytest.raises(InputError, match="raw.list: .*key.*blanks or control characters"):
        Catalogue(["fine", key], [None, None], [None, None], "raw.list")


@pytest.mark.parametrize("text", ["a\x1b[2J b", "a b\0", "a \x07"])
def test_tables_hold_no_control_characters(tmp_path, text):
    (tmp_path / "wav.scp").write_text(f"x y\n{text}\n")
    with pytest.raises(InputError, match=r"wav.scp:2: .*control character \\x"):
        read_table(tmp_path / "wav.scp")


@pytest.mark.parametrize("line", [
    "a b 1.0", "a\x1b 1.0", "a", "a nan", "a 1.0\na 2.0", '"a b" 1.0', "a 1_0", "a 0x1p3"])
def test_a_score_file_is_understood_or_refused(tmp_path, line):
    (tmp_path / "scores").write_text(f"b 2.0\n{line}\n")
    (tmp_path / "keys").write_text("a spoof\nb bonafide\n")
    with pytest.raises(InputError, match="scores"):
        evaluate.main(["--scores", str(tmp_path / "scores"), "--keys", str(tmp_path / "keys")])
