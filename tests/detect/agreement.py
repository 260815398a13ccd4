"""Whether the command line, Python, TorchScript and ONNX give the same scores, as a table.

    python -m tests.detect.agreement [--frontends fbank wavlm_tiny] [--backends ResNet18 XVEC] [--short]

Each cell: the largest difference from the LLRs of Python over all recordings (mono and stereo, 8 to 48 kHz, 0.3 s to
10 minutes, which are heard in windows), or why there is none.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import torch
from safetensors.torch import save_file

from tests.detect.experiments import make_experiment, wave
from wedefense import load_detector
from wedefense.bin.score import main as score
from wedefense.config.models import BACKENDS
from wedefense.detect.export import export
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.detect.recordings import open_recording
from wedefense.frontend.whisper import WhisperEncoder, _hugging_face_name, whisper_architecture
from wedefense.metrics.table import text_table
from wedefense.utils.errors import InputError

WAYS = ("command", "torchscript", "onnx")
TINY_SSL = ("wavlm_tiny", "wavlm_large_tiny", "wav2vec2_tiny", "hubert_tiny", "data2vec_tiny", "unispeech_sat_tiny")
RECORDINGS = ((0.3, 8000, 1), (0.3, 48000, 2), (1.9, 22050, 1), (3.1, 16000, 2), (4.6, 44100, 2))  # s, Hz, channels
LONG = (600.0, 8000, 2)
_SMALL = {"compression_dim": 16, "m_channels": 4, "hid_dim": 16, "stats_dim": 24, "bottleneck_dim": 8, "head_nb": 4,
          "embed_dim": 16}
_TOGETHER = 4  # windows in a batch


def experiment(folder: Path, frontend: str, backend: str, **more) -> Path:
    """An untrained one, as small as its options let it be."""
    fields = BACKENDS.options(backend).__dataclass_fields__
    small = {key: value for key, value in _SMALL.items() if key in fields and backend != "SSL_BACKEND_LLGF"}
    known = {"dataset_args__frontend": frontend}
    if frontend in TINY_SSL:
        known = {"dataset_args__frontend": "ssl", "dataset_args__ssl_args": {"upstream_args": {"name": frontend}}}
    if frontend == "whisper":
        known["dataset_args__whisper_args"] = {"upstream_args": {"name": str(tiny_whisper(folder / "whisper"))}}
    return make_experiment(folder, model=backend, model_args=small, **known, **more)


def tiny_whisper(folder: Path) -> Path:
    """Random weights, as Hugging Face lays out a Whisper."""
    config = {"model_type": "whisper", "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4,
              "encoder_ffn_dim": 48, "num_mel_bins": 80}
    torch.manual_seed(0)
    encoder = WhisperEncoder(whisper_architecture(config, str(folder)))
    encoder.positions.normal_(std=0.1)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({f"encoder.{_hugging_face_name(name)}": tensor for name, tensor in encoder.state_dict().items()},
              folder / "model.safetensors")
    return folder


def make_recordings(folder: Path, shapes=(*RECORDINGS, LONG)) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seconds:g}s_{rate}Hz_{channels}.wav" for seconds, rate, channels in shapes]
    for number, (path, (seconds, rate, channels)) in enumerate(zip(paths, shapes)):
        soundfile.write(path, wave(seconds, rate, channels, seed=number), rate)
    return paths


def by_command(exp: Path, files: list[Path]) -> np.ndarray:
    out = exp.parent / "scores.json"
    assert score(["--model", str(exp), *map(str, files), "--format", "json", "--out", str(out)]) == 0
    return np.array([row["llr"] for row in json.loads(out.read_text())["scores"]])


def by_python(model: LoadedDetector, files: list[Path]) -> np.ndarray:
    heard = [soundfile.read(file, dtype="float32") for file in files]
    return np.array([model.score(wav, sample_rate=rate).llr for wav, rate in heard])


def by_file(model: LoadedDetector, path: Path, files: list[Path]) -> np.ndarray:
    """With an exported file: recordings cut, resampled and mixed down as the model's own are, windows side by side."""
    run, means = runner(path), []
    for file in files:
        recording = open_recording(file.name, file, model.input_policy.rate)
        windows = [recording.read(*piece) for piece in model.input_policy.pieces(recording.samples)]
        llrs = []
        for start in range(0, len(windows), _TOGETHER):
            wav = np.stack(windows[start:start + _TOGETHER])
            llrs.extend(run(wav, np.full(len(wav), wav.shape[1]))[0])
        means.append(np.mean(llrs))
    return np.array(means)


def runner(path: Path):
    """wav, lengths -> the outputs of an exported file."""
    if path.suffix == ".ts":
        loaded = torch.jit.load(str(path))
        return lambda *inputs: [output.numpy() for output in loaded(*map(torch.from_numpy, inputs))]
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options)
    return lambda wav, lengths: session.run(None, {"wav": wav, "lengths": lengths})


def differences(exp: Path, files: list[Path]) -> dict[str, float]:
    """Way -> the largest difference of its LLRs from those of Python."""
    model = load_detector(exp)
    expected, found = by_python(model, files), {}
    for way in WAYS:
        llrs = (by_command(exp, files) if way == "command" else
                by_file(model, export(model, exp.parent / way, way)[1].path, files))
        found[way] = float(np.abs(llrs - expected).max())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frontends", nargs="+", default=["fbank", "wavlm_tiny"])
    parser.add_argument("--backends", nargs="+", default=BACKENDS.names())
    parser.add_argument("--short", action="store_true", help="leave out the recording of 10 minutes")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = make_recordings(Path(folder) / "audio", RECORDINGS if arguments.short else (*RECORDINGS, LONG))
        for frontend in arguments.frontends:
            for backend in arguments.backends:
                started = time.perf_counter()
                exp = experiment(Path(folder) / frontend / backend, frontend, backend)
                try:
                    cells = [f"{value:.1e}" for value in differences(exp, files).values()]
                except InputError as error:
                    cells = [f"refused: {error}", "", ""]
                rows.append([frontend, backend, *cells, f"{time.perf_counter() - started:.0f}"])
                print(*rows[-1], flush=True)
    print(text_table(["front-end", "back-end", "command line", "TorchScript", "ONNX", "seconds"], rows))


if __name__ == "__main__":
    main()
