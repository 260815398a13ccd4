"""Trained detectors as TorchScript or ONNX, checked against their source before they are written."""

import contextlib
import copy
import json
import logging
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from wedefense.config.data import DataLoaderOptions, DatasetOptions
from wedefense.data.loader import eval_loader
from wedefense.detect.exportable import Exportable
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.metrics.detection import eer
from wedefense.report.model_card import DESCRIPTION
from wedefense.utils.errors import InputError
from wedefense.utils.files import atomic_write, disk_told

FORMATS = ("torchscript", "onnx")
TOLERANCE = 1e-4
INPUTS = ("wav", "lengths")
_CHECKED_SECONDS = ((3.0,), (0.3, 2.5), (1.0, 0.02, 7.3, 4.1), (0.5, 0.5, 0.5))  # a batch each
_TIMED_SECONDS = 4.0
_OPSET, _ONNX_BYTES = 18, 2**31

Runner = Callable[[np.ndarray, np.ndarray], list[np.ndarray]]


@dataclass(frozen=True)
class Exported:
    """One file that was written, and what was measured on it."""

    path: Path
    megabytes: float
    difference: float        # the largest from the source's LLRs, embeddings and logits, on the checked batches
    seconds: float           # for 4 s of audio, alone
    eer: float | None        # on the labelled list, if one was given

    def summary(self) -> str:
        threads, ms = torch.get_num_threads(), 1000 * self.seconds
        text = (f"`{self.path.name}`: {self.megabytes:.1f} MB, {ms:.{1 if ms < 10 else 0}f} ms for 4 s of audio on "
                f"{threads} CPU thread{'s' * (threads > 1)}, largest difference from the source {self.difference:.2g}")
        return text if self.eer is None else f"{text}, EER {100 * self.eer:.3f} %"


def export(model: LoadedDetector, out: str | os.PathLike, style: str, int8: bool = False,
           data: str | os.PathLike | None = None) -> list[Exported]:
    """The source as it is measured, then `out/model.ts` or `out/model.onnx` and the int8 variant if asked for.

    An export that does not give the source's outputs to 1e-4 at every length tried is refused, and not written.
    `data`: a raw.list on which the EER of each is measured.
    """
    if model.device.type != "cpu":
        raise InputError("export on the CPU: its files run on any device")
    if model.input_policy.trimmed:
        raise InputError("dataset_args.trim_silence cuts recordings in a way that no exported form has; cut them "
                         "yourself (wedefense.data.silence), and set it to False in the experiment's config")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    make = {"torchscript": _torchscript, "onnx": _onnx}[style]
    exportable = Exportable(model)
    batches = [_batch(seconds, model, number) for number, seconds in enumerate(_CHECKED_SECONDS)]
    truth = [_reference(model, wavs) + _frames(model, exportable, wavs) for wavs, *_ in batches]
    alone = _batch((_TIMED_SECONDS,), model, 9)

    def source(wav, lengths):
        return _reference(model, [row[:length] for row, length in zip(wav, lengths)])

    size = sum(tensor.nbytes for tensor in model.detector.state_dict().values()) / 1e6
    written = [_measured(model.weights, size, 0.0, source, alone, model, data)]
    for quantised in (False, True) if int8 else (False,):
        target = out / f"model{'.int8' if quantised else ''}{'.ts' if style == 'torchscript' else '.onnx'}"
        part = target.with_name(f".{target.stem}.part{target.suffix}")
        try:
            with disk_told(target):
                runner = _converted(make, exportable, part, quantised)
            differences = [_difference(runner(wav, lengths), expected, exportable.scale)
                           for (_, wav, lengths), expected in zip(batches, truth)]
            if not quantised and max(differences) > TOLERANCE:
                worst = int(np.argmax(differences))
                raise InputError(f"{model.weights}: not exported, its {style} form differs from it by "
                                 f"{max(differences):.2g} (at {', '.join(map(str, _CHECKED_SECONDS[worst]))} s; at "
                                 f"most {TOLERANCE:g} is let pass)")
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
        written.append(_measured(target, target.stat().st_size / 1e6, max(differences), runner, alone, model, data))
    with atomic_write(out / DESCRIPTION, "w") as stream:
        json.dump(describe(model, exportable, written[1:]), stream, indent=1)
    return written


def _converted(make: Callable[..., Runner], module: Exportable, *arguments) -> Runner:
    try:
        return make(module, *arguments)
    except (InputError, OSError):  # a full disk says nothing of the model
        raise
    except Exception as error:  # exporters and runtimes raise many kinds
        lines = [line.strip() for line in f"{error.__cause__ or error}".splitlines() if line.strip()]
        raise InputError(f"{type(module.detector.backend).__name__} behind {type(module.detector.frontend).__name__} "
                         f"cannot be exported this way: {type(error).__name__}: {' '.join(lines)[:300]}") from error


def _measured(path: Path, megabytes: float, difference: float, runner: Runner, alone, model: LoadedDetector,
              data: str | os.PathLike | None) -> Exported:
    seconds = _least_time(lambda: runner(*alone[1:]))
    return Exported(path, megabytes, difference, seconds, _eer(runner, model, data) if data else None)


def _eer(runner: Runner, model: LoadedDetector, data: str | os.PathLike) -> float:
    model.require_bonafide()
    options = DatasetOptions(resample_rate=model.input_policy.rate)
    llrs, labels = [], []
    for batch in eval_loader(data, "raw", options, DataLoaderOptions(num_workers=0), model.labels.ids()):
        llrs.append(runner(batch.wav.numpy(), batch.lengths.numpy())[0])
        labels.append(batch.labels.numpy())
    scores, labels = np.concatenate(llrs), np.concatenate(labels)
    is_bonafide = model.labels.is_bonafide(labels)
    return eer(scores[(labels >= 0) & is_bonafide], scores[(labels >= 0) & ~is_bonafide])


def describe(model: LoadedDetector, exportable: Exportable, written: list[Exported]) -> dict:
    """What a program needs to run the files."""
    calibration, policy = model.calibration, model.input_policy
    longest = exportable.detector.frontend.longest / policy.rate
    return {
        "sample_rate": model.input_policy.rate, "inputs": list(INPUTS), "outputs": exportable.outputs,
        "wav": "(batch, samples) float32 in [-1, 1], shorter ones padded with anything",
        "lengths": "(batch,) int64, valid samples of each",
        **({"frames": "frames_20ms: (batch, frames) scores, higher: more bona fide, frame i from i x 20 ms on; "
                      "frame_counts_20ms: (batch,) how many are of each"} if exportable.resolutions else {}),
        "llr": "higher: more bona fide" if model.labels.has_bonafide else "always 0: no bona fide class",
        "labels": list(model.labels.names), "calibration": calibration.formula() if calibration else None,
        "hears_samples": policy.fixed, "hears_at_most_samples": policy.longest,
        "windows_beyond_seconds": min(policy.whole, longest),
        "window_seconds": policy.window, "windows": "overlap by half; the score is the mean of their llr",
        "files": [{"name": file.path.name, "megabytes": round(file.megabytes, 3), "largest_difference": file.difference,
                   "seconds_for_4s": file.seconds, "eer": file.eer} for file in written]}


def _torchscript(module: Exportable, path: Path, int8: bool) -> Runner:
    if int8:
        module = _quantised(module)
    with torch.no_grad(), _quiet():  # tracing warns of every shape; the check at other lengths tells which matter
        traced = torch.jit.trace(module, _example(module), check_trace=False)
        with atomic_write(path) as stream:  # told of a full disk; PyTorch's own writer ends the process there
            torch.jit.save(traced, stream)
        loaded = torch.jit.load(str(path))

    def run(wav, lengths):
        with torch.no_grad():
            return [output.numpy() for output in loaded(torch.from_numpy(wav), torch.from_numpy(lengths))]

    return run


def _quantised(module: nn.Module) -> nn.Module:
    """Front-end and back-end; the head, a few numbers that decide, stays as it is."""
    try:
        from torch.ao.quantization import quantize_dynamic
    except ImportError:  # announced by PyTorch
        raise InputError(f"PyTorch {torch.__version__} no longer has torch.ao.quantization, which makes 8-bit weights "
                         "for TorchScript; --format onnx --int8 does without") from None

    module = copy.deepcopy(module)
    with _quiet():
        for part in (module.detector.frontend, module.detector.backend):
            quantize_dynamic(part, {nn.Linear}, dtype=torch.qint8, inplace=True)
    return module


def _onnx(module: Exportable, path: Path, int8: bool) -> Runner:
    """From the trace: PyTorch's newer exporter reasons about every length, for minutes and in some models for ever."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise InputError(f"ONNX needs the package {error.name}: pip install 'wedefense[export]'") from None
    if sum(tensor.nbytes for tensor in module.state_dict().values()) > _ONNX_BYTES:
        raise InputError("a model of over 2 GB does not fit an ONNX file; --format torchscript has no such limit")
    batch = {0: "batch"}
    with torch.no_grad(), _quiet():
        torch.onnx.export(module, _example(module), str(path), dynamo=False, opset_version=_OPSET,
                          input_names=list(INPUTS), output_names=module.outputs,
                          dynamic_axes={"wav": {**batch, 1: "samples"}, "lengths": batch} | {
                              name: {**batch, 1: name} if name.startswith("frames_") else batch
                              for name in module.outputs})
    if int8:
        _quantise_onnx(onnx.load(str(path)), path, {name for name, _ in module.named_buffers()})
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = torch.get_num_threads(), 3
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    return lambda wav, lengths: session.run(module.outputs, {"wav": wav, "lengths": lengths})


def _quantise_onnx(content, path: Path, buffers: set[str]) -> None:
    """The linear layers of front-end and back-end; filter banks, which are buffers, span too wide a range."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    _give_each_gemm_its_weight(content.graph)
    kept = [node.name for node in content.graph.node if node.name.startswith("/projection") or buffers & {*node.input}]
    kept += [f"{name}_MatMul" for name in kept]  # what becomes of a Gemm before it is looked at
    with _quiet():
        quantize_dynamic(content, str(path), weight_type=QuantType.QInt8, per_channel=True,
                         op_types_to_quantize=["MatMul", "Gemm"], nodes_to_exclude=kept)


def _give_each_gemm_its_weight(graph) -> None:
    """onnxruntime before 1.24 transposes the weight of a Gemm for all that read it."""
    readers = Counter(name for node in graph.node for name in node.input)
    weights = {weight.name: weight for weight in graph.initializer if readers[weight.name] > 1}
    for number, node in enumerate(graph.node):
        if node.op_type == "Gemm" and node.input[1] in weights:
            copy = graph.initializer.add()
            copy.CopyFrom(weights[node.input[1]])
            node.input[1] = copy.name = f"{copy.name}.{number}"


@contextlib.contextmanager
def _quiet():
    """Exporters warn at length of what concerns their own authors."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _example(module: Exportable) -> tuple[Tensor, Tensor]:
    rate = module.input_policy.rate
    wav = 0.1 * torch.randn(2, 2 * rate, generator=torch.Generator().manual_seed(0))
    return wav, torch.tensor([2 * rate, rate + 1234])


def _batch(seconds: tuple[float, ...], model: LoadedDetector, seed: int):
    """(recordings, wav (batch, samples), lengths (batch,)) of noise, padded with more that no output may see."""
    rng = np.random.default_rng(seed)
    wavs = [0.1 * rng.standard_normal(round(length * model.input_policy.rate)).astype(np.float32) for length in seconds]
    lengths = np.array([len(wav) for wav in wavs])
    padded = rng.standard_normal((len(wavs), lengths.max() + 57)).astype(np.float32)
    for row, wav in zip(padded, wavs):
        row[:len(wav)] = wav
    return wavs, padded, lengths


def _reference(model: LoadedDetector, wavs: list[np.ndarray]) -> list[np.ndarray]:
    """LLRs, embeddings and logits of the source, as it scores."""
    outputs = [model.embedding_and_logits(model.input_policy.fit(wav)[:model.input_policy.fixed]) for wav in wavs]
    embeddings, logits = (np.stack(part) for part in zip(*outputs))
    return [model.llrs(logits) if model.labels.has_bonafide else np.zeros(len(wavs)), embeddings, logits]


def _frames(model: LoadedDetector, exportable: Exportable, wavs: list[np.ndarray]) -> list[np.ndarray]:
    """The scores of frames of each length, and how many each recording has."""
    frames: list[np.ndarray] = []
    for ms in exportable.resolutions:
        rows = [model.frame_scores(wav, model.input_policy.rate, resolution=round(ms)).llr for wav in wavs]
        counts = np.array([len(row) for row in rows])
        frames += [np.stack([np.pad(row, (0, counts.max() - len(row))) for row in rows]), counts]
    return frames


def _difference(outputs: list[np.ndarray], expected: list[np.ndarray], scale: float) -> float:
    """The largest, absolute up to 1 and relative beyond, of the LLR to the `scale` that its calibration multiplies
    rounding by; infinite where something is not a number."""
    worst = 0.0
    for number, (ours, theirs) in enumerate(zip(outputs, expected, strict=True)):
        if ours.ndim == 2 and ours.shape[1] > theirs.shape[1]:  # frames of what the batch is padded with
            theirs = np.pad(theirs, ((0, 0), (0, ours.shape[1] - theirs.shape[1])))
        unit = max(1.0, np.abs(theirs).max(), abs(scale) if number == 0 else 0.0)
        difference = np.abs(ours - theirs) / unit
        worst = max(worst, float(np.nan_to_num(difference, nan=np.inf).max()))
    return worst


def _least_time(run: Callable, repeats: int = 3) -> float:
    times = []
    for _ in range(repeats + 1):  # the first one warms up
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times[1:])
