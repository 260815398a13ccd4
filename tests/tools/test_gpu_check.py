"""The check of a GPU machine, in miniature on a CPU, and what it does when something goes wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.gpu.loader import OPTIONS
from tools.gpu.outside import ranks
from tools.gpu.page import page
from tools.gpu.sections import Check, Section, Skip, run_sections
from tools.gpu_check import SECTIONS, main

ROOT = Path(__file__).parents[2]
MISSING = ("s3prl", "transformers", "torchaudio", "soundfile", "kaldiio")
NAMES = [section.name for section in SECTIONS]


def check(folder: Path, *options: str, path: str = "") -> tuple[subprocess.CompletedProcess, dict, str]:
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["bash", ROOT / "tools/gpu_check.sh", "--device", "cpu", "--tiny", "--minutes", "800",
                           "--out", folder, *options], cwd=folder.parent, env=environment, capture_output=True,
                          text=True)
    return done, json.loads((folder / "gpu_check.json").read_text()), (folder / "gpu_check.md").read_text()


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The check on a machine with torch and little else."""
    folder = tmp_path_factory.mktemp("bare")
    for package in MISSING:
        (folder / f"{package}.py").write_text(f"raise ImportError('no {package} here')\n")
    names = [name for name in NAMES if name not in ("tests", "ranks")]
    return check(folder / "out", "--sections", ",".join(names), path=str(folder))


def test_a_bare_machine_gets_a_whole_page(bare):
    done, found, text = bare
    assert done.returncode == 0, done.stdout + done.stderr + text
    status = {name: (entry["status"], entry["words"]) for name, entry in found["sections"].items()}
    assert status.pop("loader") == ("SKIPPED", "not installed: soundfile")
    assert status.pop("recipe") == ("SKIPPED", "not installed: soundfile, kaldiio")
    assert set(status.values()) == {("OK", "")}, status
    assert text.startswith("# GPU check: cpu, ") and "In miniature" in text
    assert "**Nothing failed.** Not or not wholly run: Loader; The mini recipe" in text
    for name in found["sections"]:
        title = found["sections"][name]["title"]
        assert text.count(f"| {title} |") == 1 and text.count(f"## {title}\n") == 1


def test_every_model_is_judged_in_every_precision(bare):
    from tools.gpu.correct import backends
    from wedefense.config.models import BACKENDS

    assert set(backends(tiny=False)) == set(BACKENDS.names()) and len(backends(tiny=True)) > 20
    rows = bare[1]["sections"]["correctness"]["tables"]["outputs"]
    judged = {(row["model"], row["precision"]) for row in rows}
    assert {(name, kind) for name in backends(tiny=True) for kind in ("float32", "tf32", "bfloat16")} <= judged
    assert {"wavlm_tiny", "wavlm_large_tiny", "data2vec_tiny"} <= {row["model"] for row in rows}
    rough = [row for row in rows if row["precision"] == "bfloat16"]
    assert all(row["to_the_CPU"] > 1e-4 for row in rough)  # it did compute in bfloat16
    parts = {row["part"] for row in bare[1]["sections"]["gradients"]["tables"]["gradients"]}
    assert {"feature extractor", "block 0", "block 2", "backend", "projection"} <= parts


def test_speeds_are_counted_and_missing_peers_told(bare):
    sections, text = bare[1]["sections"], bare[2]
    for name in ("frozen", "full", "evaluation"):
        tables = sections[name]["tables"]
        ours = {row["precision"]: row for row in tables["speed"] if row["system"] == "ours"}
        assert list(ours) == ["bfloat16", "tf32", "float32"]
        assert all(row["ms"] > 0 and row["TFLOP_s"] > 0 and row["share_of_peak"].endswith("%") for row in ours.values())
        peers = {row["system"]: row["words"] for row in tables["speed"] if row["system"] != "ours"}
        assert peers["s3prl"] == "not installed (no s3prl here)" and len(peers) == 3
        assert tables["host"][0]["value"] > 100 and len(tables["kernels"]) == 10
    assert "not installed (no torchaudio here)" in text
    assert {row["way"] for row in sections["mixed"]["tables"]["mixed"] if "ms" in row} == {"batched", "one at a time"}


def test_ranks_train_as_one_and_loaders_are_timed(tmp_path):
    done, found, _ = check(tmp_path / "out", "--sections", "loader,ranks", "--ranks", "2")
    assert done.returncode == 0, found
    loaded = found["sections"]["loader"]["tables"]["loader"]
    assert [row["what"] for row in loaded] == list(OPTIONS) and all(row["cpu_ms_a_crop"] > 0 for row in loaded)
    rows = found["sections"]["ranks"]["tables"]["ranks"]
    assert len(rows) == 6 and all(row["verdict"] == "OK" and row["ranks"] == 2 for row in rows)
    said = {row["what"]: row["value"] for row in rows}
    assert said["sum over 2 ranks"] == 3 and said["objects of all ranks"] == 2 and said["backend"] == "gloo"


@pytest.mark.parametrize("gpus, asked, started", [(4, None, "4"), (4, 2, "2"), (1, None, "1"), (1, 2, None)])
def test_a_rank_is_started_for_each_gpu(tmp_path, monkeypatch, gpus, asked, started):
    commands = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr("tools.gpu.outside.lines_of", lambda command, folder: commands.append(command) or [])
    if started is None:
        with pytest.raises(Skip, match="2 ranks asked for, and 1 GPUs here"):
            ranks(Check("cuda", False, tmp_path, ranks=asked), None)
        return
    ranks(Check("cuda", False, tmp_path, ranks=asked), None)
    assert commands[0][commands[0].index("--nproc_per_node") + 1] == started


@pytest.mark.slow
def test_everything_installed(tmp_path):
    done, found, text = check(tmp_path / "out")
    assert done.returncode == 0, done.stdout + text
    assert {entry["status"] for entry in found["sections"].values()} == {"OK"}
    assert found["sections"]["tests"]["tables"]["count"][0]["skipped"] > 5
    assert [row["stage"] for row in found["sections"]["recipe"]["tables"]["recipe"]][-1] == "end"


def broken(check, emit):
    emit("things", what="first", verdict="OK")
    raise RuntimeError("the reason")


def dies(check, emit):
    emit("things", what="seen before")
    os.kill(os.getpid(), signal.SIGKILL)


def sleeps(check, emit):
    apart = subprocess.Popen(["sleep", "1000"], start_new_session=True)  # as torchrun starts ranks
    (check.out / "apart").write_text(str(apart.pid))
    emit("things", what="seen before")
    time.sleep(1000)


def dawdles(check, emit):
    time.sleep(0.5)


def wrong(check, emit):
    emit("things", what="model", verdict="FAIL")


def lacks(check, emit):
    raise Skip("no such package")


def sees(check, emit):
    emit("things", what=check.rows("broken", "things")[0]["what"])


def test_no_section_stops_another(tmp_path):
    flushed = []
    sections = [Section(f.__name__, f"Title of {f.__name__}", f, 1.5 if f is sleeps else 60)
                for f in (broken, dies, sleeps, wrong, lacks, sees)]
    ran = Check("cpu", True, tmp_path)
    run_sections(sections, ran, 8, lambda found: flushed.append(json.loads(json.dumps(found))))
    status = {name: entry["status"] for name, entry in ran.found.items()}
    assert status == {"broken": "FAIL", "dies": "DIED", "sleeps": "STOPPED", "wrong": "FAIL", "lacks": "SKIPPED",
                      "sees": "OK"}
    assert ran.found["broken"]["words"] == "RuntimeError: the reason; see broken.log"
    assert "Traceback" in (tmp_path / "broken.log").read_text()
    assert ran.found["sees"]["tables"] == {"things": [{"what": "first"}]}
    assert ran.found["dies"]["tables"] == ran.found["sleeps"]["tables"] == {"things": [{"what": "seen before"}]}
    state = Path(f"/proc/{(tmp_path / 'apart').read_text()}/stat")
    assert not state.exists() or state.read_text().rsplit(") ")[-1].startswith("Z")  # nobody may be there to bury it
    assert flushed[0]["broken"]["status"] == "RUNNING"
    assert any(found.get("dies", {}).get("status") == "RUNNING" for found in flushed)  # told while it ran
    text = page(ran.found, "A page")
    assert "**Failed: Title of broken; Title of dies; Title of wrong.**" in text
    assert "Not or not wholly run: Title of sleeps; Title of lacks." in text


@pytest.mark.parametrize("minutes, status", [(8, "STOPPED"), (8000, "OK")])
def test_what_ends_a_moment_after_its_time_was_stopped_and_more_minutes_give_it_time(tmp_path, minutes, status):
    ran = Check("cpu", True, tmp_path)
    run_sections([Section("dawdles", "Title", dawdles, 0.1)], ran, minutes, lambda found: None)
    assert ran.found["dawdles"]["status"] == status


def test_what_does_not_fit_into_the_minutes_is_passed_over(tmp_path):
    ran = Check("cpu", True, tmp_path)
    run_sections([Section("lacks", "Title", lacks, 60)], ran, 0.0, lambda found: None)
    assert ran.found["lacks"]["words"] == "the 0 minutes are over" and ran.found["lacks"]["status"] == "SKIPPED"


def test_an_unknown_section_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--sections", "versions,sped"])
    assert "unknown section sped (known: versions," in capsys.readouterr().err
