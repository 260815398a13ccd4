import json

import numpy as np
import pytest

from tests.report.pages import parse
from wedefense.bin.compare import main
from wedefense.metrics.confidence import Difference, Interval, compare
from wedefense.metrics.detection import detection_metrics
from wedefense.report.comparison import difference_plot
from wedefense.report.style import CALIBRATED, GREY, SPOOF
from wedefense.utils.errors import InputError

IS_BONAFIDE = np.arange(200) < 80
NAMES = [f"u{i}" for i in range(200)]
GOOD = np.where(IS_BONAFIDE, 1.5, -1.5) + np.random.default_rng(0).standard_normal(200)
NOISE = np.random.default_rng(1).standard_normal(200)


def write(path, scores, first=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{n} {s!r}\n" for n, s in list(zip(NAMES, map(float, scores)))[first:]))


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two experiments and a score file of the set `eval`."""
    keys = tmp_path / "data" / "eval" / "utt2lab"
    keys.parent.mkdir(parents=True)
    keys.write_text("".join(f"{n} {'bonafide' if b else 'spoof'}\n" for n, b in zip(NAMES, IS_BONAFIDE)))
    keys.with_name("utt2spk").write_text("".join(f"{n} s{i % 9}\n" for i, n in enumerate(NAMES)))
    for name, scores in (("mhfa", GOOD), ("sls", GOOD + 2 * NOISE)):
        write(tmp_path / "exp" / name / "posteriors" / "eval" / "llr.txt", scores)
    write(tmp_path / "mine.txt", GOOD + 0.01 * NOISE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_and_files_in_one_table(place, capsys):
    assert main(["exp/mhfa", "exp/sls", "mine.txt", "--keys", "data/eval/utt2lab", "--json", "c.json",
                 "--resamples", "200", "--groups", "data/eval/utt2spk"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    first, worse, like = (line.split() for line in lines[lines.index("EER %") + 1:][:3])
    eers = [100 * detection_metrics(s[IS_BONAFIDE], s[~IS_BONAFIDE]).eer for s in (GOOD, GOOD + 2 * NOISE)]
    assert first == ["mhfa", f"{eers[0]:.3f}"]
    assert worse[:3] == ["sls", f"{eers[1]:.3f}", f"{eers[1] - eers[0]:+.3f}"] and worse[-1] == "worse"
    assert like[0] == "mine.txt" and like[-1] == "1.000"  # a p-value, and no verdict
    found = compare([GOOD, GOOD + 2 * NOISE, GOOD + 0.01 * NOISE], IS_BONAFIDE, [f"s{i % 9}" for i in range(200)],
                    resamples=200)
    stored = json.loads((place / "c.json").read_text())
    assert stored["first"] == "mhfa" and list(stored["others"]) == ["sls", "mine.txt"]
    for each, systems in zip(found, stored["others"].values()):
        for difference in each:
            kept = systems[difference.metric]
            assert kept["difference"] == difference.value and kept["p_holm"] == difference.p_holm
            assert kept["interval"] == list(difference.interval)


def test_few_resamples_and_long_names_are_told(place, capsys):
    for name in ("a" * 30, "b" * 30):
        write(place / name, GOOD + NOISE)
    assert main(["exp/mhfa", "a" * 30, "b" * 30, "--keys", "data/eval/utt2lab", "--resamples", "50"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[:3] == ["system 1 = mhfa", f"system 2 = {'a' * 30}", f"system 3 = {'b' * 30}"]
    assert max(map(len, lines)) <= 80 and "give --resamples 200" in " ".join(text.split())
    assert "other seeds are another question" in " ".join(text.split())


def test_what_all_have_is_compared_on_demand(place, capsys):
    write(place / "some.txt", GOOD, first=1)
    arguments = ["some.txt", "exp/mhfa", "exp/sls", "--keys", "data/eval/utt2lab", "--resamples", "20"]
    with pytest.raises(InputError, match="u0"):
        main(arguments)
    assert main([*arguments, "--common"]) == 0
    lines = capsys.readouterr().out.splitlines()
    kept = IS_BONAFIDE & (np.arange(200) > 0)
    eer = 100 * detection_metrics(GOOD[kept], GOOD[~IS_BONAFIDE]).eer
    assert [line.split()[1] for line in lines[lines.index("EER %") + 1:][:2]] == [f"{eer:.3f}"] * 2


@pytest.mark.parametrize("systems, keys, said", [
    (["exp/mhfa", "data"], "data/eval/utt2lab", "data: no scores in it"),
    (["exp/mhfa", "exp/sls"], "data/evil/utt2lab", "exp/mhfa: no scores of 'evil'.*did you mean 'eval'"),
    (["exp/mhfa", "exp/mhfa/posteriors/eval/llr.txt"], "data/eval/utt2lab", "named twice"),
])
def test_what_cannot_be_compared(place, systems, keys, said):
    with pytest.raises(InputError, match=said):
        main([*systems, "--keys", keys])


def test_a_page_with_every_number_of_the_table(place, capsys):
    table = {n: "-" if b else f"A{i % 2}" for i, (n, b) in enumerate(zip(NAMES, IS_BONAFIDE))}
    (place / "data/eval/utt2attack").write_text("".join(f"{n} {a}\n" for n, a in table.items()))
    assert main(["exp/mhfa", "exp/sls", "mine.txt", "--keys", "data/eval/utt2lab", "--html", "deep/c.html", "--json",
                 "c.json", "--resamples", "40", "--groups", "data/eval/utt2spk"]) == 0
    printed = capsys.readouterr().out
    checker, text = parse(place / "deep/c.html")
    stored = json.loads((place / "c.json").read_text())
    assert len(checker.figures) == 6  # DET, and a difference for each metric
    eer = stored["others"]["sls"]["eer"]
    low, high = (100 * end for end in eer["interval"])
    assert f"sls {100 * eer['b']:.3f} {100 * eer['difference']:+.3f} {low:+.3f} to {high:+.3f} {eer['p_holm']:.3f}" in \
        text.replace("−", "-")
    page = (place / "deep/c.html").read_text().replace("−", "-")  # in five columns, as many as a phone shows
    assert (f"<td>{100 * eer['difference']:+.3f}<small>{low:+.3f} to {high:+.3f}</small></td>"
            f"<td>{eer['p_holm']:.3f}</td><td>") in page
    said = next(label for label in checker.figures if label.startswith("EER % less that of mhfa"))
    assert f"sls {100 * eer['difference']:+.3f} ({low:+.3g} to {high:+.3g})" in said
    for scores in (GOOD, GOOD + 2 * NOISE):
        result = detection_metrics(scores[IS_BONAFIDE], scores[~IS_BONAFIDE])
        assert f"{result.min_cllr:.4f}" in text and f"{result.min_cllr:.4f}" in printed
        odd = ~IS_BONAFIDE & (np.arange(200) % 2 == 1)
        assert f"{100 * detection_metrics(scores[IS_BONAFIDE], scores[odd]).eer:.3f}" in text
    assert "40 bootstrap resamples by spk" in text and "By attack" in text and "p is corrected for 2" in text


def test_differences_are_drawn_where_they_are():
    def difference(a, b, p):
        return Difference("eer", a, b, Interval(b - a - 0.02, b - a + 0.01), p, p)

    figure = difference_plot({"one": difference(0.1, 0.2, 0.01), "two": difference(0.1, 0.05, 0.02),
                              "three": difference(0.1, 0.09, 0.4)}, "first")
    axes, = figure.axes
    spans = [line.get_xdata() for line in axes.lines[:6:2]]
    assert np.array(spans) == pytest.approx(np.array([[8, 11], [-7, -4], [-3, 0]]))
    colours = {line.get_label(): line.get_color() for line in axes.lines if not line.get_label().startswith("_")}
    assert colours == {"better, p < 0.05": CALIBRATED, "worse, p < 0.05": SPOOF, "may be chance": GREY}
    assert [line.get_color() for line in axes.lines[:6:2]] == [SPOOF, CALIBRATED, GREY]
    assert "one +10.000 (+8 to +11), worse" in figure.get_label()
