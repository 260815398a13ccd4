"""The benches: what they count, whom they leave out, and that a failure shows."""

import sys

import pytest
import torch

from tools.bench.ssl_encoders import architecture_of, operations
from tools.bench.ssl_peers import PeerMissing, peer_of, peers_of
from tools.bench.steps import architecture_of_size, detector_on, noise, our_frontend, training_step
from tools.bench.timing import PRECISIONS, matrix_peak, median_seconds, precision
from tools.bench.train import row

CPU = torch.device("cpu")


def test_operations_are_counted_by_hand_for_one_frame():
    """400 samples make one frame of base: products of each part, times two."""
    lengths, channels = [79, 39, 19, 9, 4, 2, 1], 512
    kernels = [10, 3, 3, 3, 3, 2, 2]
    extractor = sum(n * channels * (1 if i == 0 else channels) * k for i, (n, k) in enumerate(zip(lengths, kernels)))
    before = channels * 768 + 768 * 48 * 128
    block = 4 * 768 * 768 + 2 * 768 * 3072 + 2 * 768
    assert operations(architecture_of("hubert", "base"), [400]) == 2 * (extractor + before + 12 * block)
    assert operations(architecture_of("hubert", "base"), [400] * 3) == 6 * (extractor + before + 12 * block)


def test_a_package_that_is_not_there_is_left_out_with_a_word(monkeypatch, caplog):
    for name in [name for name in sys.modules if name.split(".")[0] == "s3prl"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "s3prl", None)  # as if it were not installed
    monkeypatch.setitem(sys.modules, "transformers", None)
    with caplog.at_level("WARNING", logger="wedefense"):
        assert [peer.name for peer in peers_of(architecture_of("data2vec", "tiny"))] == []
    assert "s3prl is left out: not installed" in caplog.text
    assert "torchaudio is left out: it has no data2vec" in caplog.text
    with pytest.raises(PeerMissing, match="not installed"):
        peer_of("transformers", architecture_of("wavlm", "tiny"))


def test_a_row_that_fails_shows_why(capfd):
    assert row([sys.executable, "-c", "print('noise'); print('{\"step\": 1}')"]) == {"step": 1}
    with pytest.raises(SystemExit, match="exit code 1"):
        row([sys.executable, "-c", "raise RuntimeError('the reason')"])
    assert "the reason" in capfd.readouterr().err


def test_precisions_set_the_switches_and_put_them_back():
    def switches():
        cuda = torch.backends.cuda
        return [cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, cuda.cudnn_sdp_enabled()]

    before, x = switches(), torch.ones(2, 2)
    for name in PRECISIONS:
        with precision(name, torch.device("cuda")):
            assert switches() == [name == "tf32"] * 2 + [False]
        with precision(name, torch.device("cuda"), ours=False):
            assert switches() == [name == "tf32"] * 2 + before[2:]
        with precision(name, CPU) as forward, forward():
            assert (x @ x).dtype == (torch.bfloat16 if name == "bfloat16" else torch.float32)
        assert switches() == before


def test_clocks_count_what_is_called():
    calls = []
    assert median_seconds(lambda: calls.append(1), CPU, most=5, least=2, warm=2) >= 0
    assert len(calls) == 7
    assert matrix_peak(torch.float32, CPU, size=64) > 0


@pytest.mark.parametrize("milliseconds, calls", [(1.0, 10), (900.0, 3)])
def test_calls_on_a_gpu_follow_one_another_and_slow_ones_are_few(monkeypatch, milliseconds, calls):
    class Event:
        now, waited = 0.0, 0

        def __init__(self, enable_timing):
            pass

        def record(self):
            self.at = Event.now

        def synchronize(self):
            Event.waited += 1

        def elapsed_time(self, other):
            return other.at - self.at

    def run():
        Event.now += milliseconds

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    assert median_seconds(run, torch.device("cuda"), warm=2) == pytest.approx(milliseconds / 1e3)
    assert Event.waited == 2 and Event.now == pytest.approx((2 + 1 + calls + 1) * milliseconds)


def test_a_training_step_changes_what_is_trained_and_drops_no_layer():
    architecture = architecture_of_size("tiny")
    assert architecture.layer_drop == 0 and architecture_of_size("base").layer_drop == 0
    detector = detector_on(our_frontend(architecture, frozen=True))
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    batch = noise([1600, 1200])
    assert batch.wav.shape == (2, 1600) and not batch.wav[1, 1200:].any() and batch.lengths.tolist() == [1600, 1200]
    training_step(detector, "float32", CPU)(batch)
    changed = {name.split(".")[0] for name, value in detector.state_dict().items() if not value.equal(before[name])}
    assert changed == {"backend", "projection"}


def test_the_bench_of_long_lists_counts_memory_by_the_line(capsys):
    from tools.bench.lists import main

    assert main(["--lines", "20000", "--ranks", "2"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0][:2] == ["20,000", "lines,"] and [row[0] for row in rows[1:]] == ["raw.list", "with", "first", "the"]
    assert all(float(row[-2]) < 40 for row in rows[1:])  # MiB; a Python object for each string would take 12 more


def test_the_bench_of_large_files_reads_them_and_leaves_them_where_it_is_told(tmp_path, capsys):
    from tools.bench.large_files import main

    main(["--files", "2", "--utterances", "200", "--kinds", "shard", "--ranks", "1", "--workers", "0", "--seconds",
          "0.1", "--keep", str(tmp_path)])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "2 files, 200 recordings of 1 s" and said[3].startswith("1 x 0 ") and said[3].count(" MiB") == 2
    assert [path.name for path in sorted(tmp_path.glob("part*"))] == [
        "part0.tar", "part0.tar.idx", "part1.tar", "part1.tar.idx"]


def test_the_bench_of_large_files_packs_parquet_and_reads_what_came_of_it(capsys):
    pytest.importorskip("pyarrow")
    from tools.bench.large_files import main

    main(["--files", "2", "--utterances", "200", "--kinds", "parquet", "--group", "30", "--ranks", "1", "--workers",
          "0", "--seconds", "0.1"])
    said = [line for line in capsys.readouterr().out.splitlines() if "MiB" in line]
    assert [line.partition(":")[0] for line in said[:3]] == ["parquet packed by table.py", "again, packed already",
                                                             "raw.list by stage 2"]
    assert float(said[0].split()[-2]) > 1 and said[3].startswith("1 x 0 ")  # memory is that of the command
