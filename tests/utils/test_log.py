import re
import sys
import threading
import time

from wedefense.utils import log


def test_in_a_log_progress_is_whole_lines_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(log, "LINE_SECONDS", 0.05)
    with log.progress(total=6, desc="scoring", unit="file") as bar:
        for _ in range(6):
            time.sleep(0.03)
            bar.set_postfix_str("loss 0.5", refresh=False)
            bar.update()
    assert bar.n == 6 and list(log.progress([1, 2], desc="quick")) == [1, 2]
    text = capsys.readouterr().err
    assert "\r" not in text and "\x1b" not in text and "quick" not in text and 1 <= text.count("\n") <= 6
    assert all(re.fullmatch(r"scoring: [1-6] of 6, .* gone, .* to go, .*file.*, loss 0\.5", line)
               for line in text.splitlines())


def test_a_terminal_has_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(log.progress([1, 2], desc="bar")) == [1, 2]
    assert "\rbar:   0%" in capsys.readouterr().err


def test_progress_in_a_log_leaves_no_thread(monkeypatch):
    before = threading.active_count()
    for _ in range(3):
        assert list(log.progress(range(2), desc="quick")) == [0, 1]
    assert threading.active_count() == before
