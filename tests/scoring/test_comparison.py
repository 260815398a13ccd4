import json
import re

import numpy as np
import pytest
from scipy.stats import ttest_ind

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
    assert "other seeds are another question, which several of each system answer, joined by" in " ".join(text.split())


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
    (["exp/gone", "data", "exp/mhfa", "also_gone"], "data/eval/utt2lab",
     "exp/gone: no such experiment folder or score file\ndata: no scores in it.*\nalso_gone: no such"),
    (["one.txt", "exp/mhfa", "other.txt"], "data/eval/utt2lab", "one.txt.*u0.*\n.*other.txt.*u0"),
])
def test_what_cannot_be_compared(place, systems, keys, said):
    for name in ("one.txt", "other.txt"):
        write(place / name, GOOD, first=1)
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


def seeds(place, **systems):
    """Score files of several seeds of each system, which are called a-1.txt, a-2.txt ... and their EERs."""
    found = {}
    for name, (count, noise) in systems.items():
        each = [GOOD + noise * np.random.default_rng(10 + n).standard_normal(200) for n in range(count)]
        for number, scores in enumerate(each, 1):
            write(place / f"{name}-{number}", scores)
        found[name] = [100 * detection_metrics(s[IS_BONAFIDE], s[~IS_BONAFIDE]).eer for s in each]
    return found


def test_systems_of_several_seeds_are_compared_by_welchs_test(place, capsys):
    eers = seeds(place, a=(3, 1.5), b=(4, 2.0), c=(2, 1.6))
    systems = ["a-1,a-2,a-3", "b-1,b-2,b-3,b-4", "c-1,c-2"]
    assert main([*systems, "--keys", "data/eval/utt2lab", "--json", "c.json", "--html", "c.html",
                 "--resamples", "20"]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80 and lines[0].split() == ["mean", "deviation", "difference", "p", "(Holm)"]
    p_values = [ttest_ind(eers["a"], eers[name], equal_var=False).pvalue for name in "bc"]
    assert 0.0005 < p_values[0] < 0.025 < p_values[1] < 0.9
    first, worse, like = (line.split() for line in lines[lines.index("EER %") + 1:][:3])
    assert first == ["a", f"{np.mean(eers['a']):.3f}", f"{np.std(eers['a'], ddof=1):.3f}"]
    difference = np.mean(eers["b"]) - np.mean(eers["a"])
    assert worse == ["b", f"{np.mean(eers['b']):.3f}", f"{np.std(eers['b'], ddof=1):.3f}", f"{difference:+.3f}",
                     f"{2 * p_values[0]:.3f}", "worse"]
    assert like[0] == "c" and like[4:] == [f"{p_values[1]:.3f}"]
    assert "over trainings (3 of 'a', 4 of 'b', 2 of 'c') on 200 trials" in " ".join(text.split())
    stored = json.loads((place / "c.json").read_text())["others"]["b"]["eer"]
    expected = ttest_ind(eers["b"], eers["a"], equal_var=False).confidence_interval()
    assert 100 * np.array(stored["interval"]) == pytest.approx(np.array(expected))
    assert stored["p_value"] == pytest.approx(p_values[0])
    page = parse(place / "c.html")[1].replace("−", "-")
    assert f"b {worse[1]} ± {worse[2]} {worse[3]} {expected.low:+.3f} to {expected.high:+.3f} {worse[4]} worse" in page
    assert re.search(rf" b-4 80 bona fide, 120 spoof [^b]* {eers['b'][3]:.3f} ", page)  # each seed by itself
    assert "The figure has the first 8 of these 9." in page


def test_seeds_lie_in_the_home_folder_after_a_comma_too(place, monkeypatch, capsys):
    seeds(place, a=(2, 1.5), b=(2, 2.0))
    monkeypatch.setenv("HOME", str(place))
    assert main([f"{place}/a-1,~/a-2", "b-1, b-2", "--keys", "data/eval/utt2lab"]) == 0
    assert "(2 of 'a', 2 of 'b')" in " ".join(capsys.readouterr().out.split())


def test_what_seeds_cannot_be_compared(place):
    seeds(place, a=(2, 0.3), b=(2, 1.5))
    write(place / "b-3", np.loadtxt(place / "b-2", usecols=1))
    write(place / "short", GOOD, first=1)
    for systems, said in ((["a-1,a-2", "b-1"], "b-1: one training of this system, .* two seeds or more of each"),
                          (["a-1,", "b-1,b-2"], "a-1,: one training"),
                          (["a-1,a-2", "b-1,b-2,b-3"], "b-2 and b-3: the same scores; one training counts once"),
                          (["a-1,a-2", "b-1,short"], "utterance of .* without a score in short: u0"),
                          (["a-1,a-2", "b-1,a-2"], "a-2: named twice"),
                          (["a-1,nowhere", "b-1,b-2"], "nowhere: no such experiment folder or score file"),
                          (["", "b-1,b-2"], "'': names no system"), ([" , ", "b-1,b-2", "a-1"], "names no system")):
        with pytest.raises(InputError, match=said):
            main([*systems, "--keys", "data/eval/utt2lab"])


def test_equal_rates_of_all_seeds_tell_nothing(place, capsys):
    """How far other seeds would lie apart is not known then: that is no p of 0."""
    for name, shift in (("a-1", 0.0), ("a-2", 0.1), ("b-1", 0.2), ("b-2", 0.3)):
        scores = GOOD if name.startswith("a") else GOOD + 2 * NOISE
        write(place / name, scores + shift)
    assert main(["a-1,a-2", "b-1,b-2", "--keys", "data/eval/utt2lab"]) == 0
    lines = capsys.readouterr().out.splitlines()
    _, mean, deviation, difference, p = lines[lines.index("EER %") + 2].split()
    assert deviation == "0.000" and float(difference) > 10 and p == "1.000"


@pytest.fixture
def trained(place):
    """Makes an experiment of a training with these settings, and how it was scored, as its records tell."""
    def make(name, seed, code="1.0", cut="a" * 24, **settings):
        folder, rng = place / "exp" / name, np.random.default_rng(list(name.encode()))
        write(folder / "posteriors/eval/llr.txt", GOOD + rng.standard_normal(200))
        held = {"seed": seed, "projection_args": {"margin": 0.2}, "train_data": {"audio": "1" * 24}} | settings
        records = {"training.json": {"inputs": held, "outputs": {}, "code": [{"version": code, "from_epoch": 1}]},
                   "embeddings/eval/source.json": {"inputs": {"utterances": cut, "eval_frms": 0}, "outputs": {}}}
        for file, record in records.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(json.dumps(record))
        return f"exp/{name}"

    return make


def test_seeds_of_a_system_differ_in_nothing_else(trained, capsys):
    """Trainings of two margins were averaged as if they were seeds."""
    a, b = (",".join(trained(f"{name}{seed}", seed, **settings) for seed in (1, 2))
            for name, settings in (("a", {}), ("b", {"model_init": "2" * 24})))
    keys = ["--keys", "data/eval/utt2lab"]
    assert main([a, b, *keys]) == 0
    assert "granted" not in capsys.readouterr().out
    mixed = ((trained("margin", 3, projection_args={"margin": 0.4}), "projection_args.margin 0.2 and 0.4", "margin"),
             (trained("data", 3, train_data={"audio": "2" * 24}), "train_data", "train_data"),
             (trained("warm", 3, model_init="3" * 24), "model_init", "model_init"),
             (trained("cut", 3, cut="b" * 24), "utterances of eval", "'utterances of eval'"))
    for third, differs, key in mixed:
        name = third.removeprefix("exp/")
        with pytest.raises(InputError, match=f"a1 and {name}: .* in more than seed: {differs}.*--over seed {key}$"):
            main([f"{a},{third}", b, *keys])
        with pytest.raises(InputError, match=f"a1 and {name}"):  # by its file too
            main([f"{a},{third}/posteriors/eval/llr.txt", b, *keys])
        assert main([f"{a},{third}", b, *keys, "--over", "seed", key.strip("'")]) == 0
    with pytest.raises(InputError, match="--over sead: .*did you mean 'seed'"):
        main([a, b, *keys, "--over", "sead"])
    with pytest.raises(InputError, match="a1 and again: trained with the same seed, 1, and the same settings"):
        main([f"{a},{trained('again', 1)}", b, *keys])


def test_what_records_of_seeds_do_not_show_is_told(trained, place, capsys):
    seeds(place, b=(2, 1.5))
    a = ",".join([trained("a1", 1), trained("a2", 2, code="2.0")])
    assert main([a, "b-1,b-2", "--keys", "data/eval/utt2lab"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "That seeds of 'b' differ in nothing else is taken for granted" in told
    assert "The seeds of 'a' were trained by 2 versions of the code" in told


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
