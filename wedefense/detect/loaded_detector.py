"""A trained detector as a Python user holds it."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from wedefense.data.sampler import length_batches
from wedefense.detect.framewise import Framewise
from wedefense.detect.loaded_model import name_of
from wedefense.detect.model_output import ModelOutput, assembled, level, or_reason
from wedefense.detect.recordings import Recording
from wedefense.detect.score import Score, Window, costs_for, decide, doubts, meaning, posterior
from wedefense.metrics.detection import DetectionCosts
from wedefense.scoring.embed import head_logits
from wedefense.scoring.llr import llr
from wedefense.utils.errors import InputError
from wedefense.utils.hub import Push
from wedefense.utils.log import progress
from wedefense.utils.out_of_memory import in_halves

_READERS = 4
_BATCH, _BATCH_SECONDS = 16, 120.0


class LoadedDetector(Framewise):
    """A detector with all that its scores need.

    >>> model = load_detector("exp/mhfa")
    >>> score = model.score("clip.wav")
    >>> [score.name for score in model.score(["clip.wav", "clip.wav"])]
    ['clip.wav', 'clip.wav']

    Audio is a path, the bytes of a file, a binary stream, or an array or tensor (samples,) or (channels, samples)
    with its `sample_rate`; a list of them gives a list. Any rate, number of channels and length will do.
    """

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike, **options) -> "LoadedDetector":
        """`load_detector` by the name that other libraries have for it."""
        from wedefense.detect.loading import load_detector  # which gives a LoadedDetector

        return load_detector(name, **options)

    def push_to_hub(self, hub_id: str, *, revision: str | None = None, private: bool = False, token: str | None = None,
                    message: str = Push.message, license: str = "", datasets: Sequence[str] = (),
                    onnx: bool = False) -> str:
        """One commit to `owner/model`, made if there is none; returns where it can be looked at.

        `revision`: a branch. `license` and `datasets`: for the card, which has the results of the experiment.
        """
        from wedefense.detect.share import About, push

        return push(self, Push(hub_id, revision, private, token, message), About(license, tuple(datasets)), onnx)

    def save_pretrained(self, folder: str | os.PathLike, *, license: str = "", datasets: Sequence[str] = (),
                        onnx: bool = False) -> Path:
        """What `push_to_hub` pushes, in a folder; returns the path of the card."""
        from wedefense.detect.share import About, share

        return share(self, folder, About(license, tuple(datasets)), onnx)[1]

    def score(self, audio, sample_rate: int | None = None, *, prior: float = DetectionCosts.p_spoof,
              cost_miss: float = DetectionCosts.c_miss, cost_fa: float = DetectionCosts.c_fa,
              window: float | None = None) -> Score | list[Score]:
        """`prior`: of a spoof. `cost_miss`: of a bona fide rejected, `cost_fa`: of an accepted spoof; both decide with
        the prior and change no LLR. `window`: seconds, see `InputPolicy.pieces`.

        >>> score = model.score("clip.wav", prior=0.5, cost_fa=1)
        >>> score.threshold, score.decision == ("bonafide" if score.llr >= 0 else "spoof")
        (0.0, True)
        >>> samples = np.zeros(44100)
        >>> round(model.score(samples, sample_rate=44100).seconds, 2)
        1.0
        """
        costs = costs_for(prior, cost_miss, cost_fa)
        return self._each(audio, sample_rate, window, lambda output: self.score_of(output, costs))

    def embed(self, audio, sample_rate: int | None = None, *, window: float | None = None) -> np.ndarray:
        """(embed_dim,), the mean over the windows of a long recording; a list gives (recordings, embed_dim).

        >>> model.embed(["clip.wav", "clip.wav"]).shape == (2, *model.embed("clip.wav").shape)
        True
        """
        found = self._each(audio, sample_rate, window, lambda output: output.embeddings.mean(axis=0))
        if not isinstance(found, list):
            return found
        return np.stack(found) if found else np.empty((0, self.detector.backend.embed_dim), np.float32)

    def similarity(self, one, other, sample_rate: int | None = None) -> float:
        """The cosine of two recordings' embeddings: how alike the speakers are, to a speaker model.

        >>> round(model.similarity("clip.wav", "clip.wav"), 3)
        1.0
        """
        a, b = self.embed([one, other], sample_rate).astype(np.float64)
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))

    def score_files(self, sources: Mapping[str, object], *, costs: DetectionCosts = DetectionCosts(),
                    window: float | None = None, quiet: bool = False) -> tuple[list[Score], dict[str, str]]:
        """Scores of all that can be read, in the order given, and why the others cannot."""
        self.require_bonafide()
        return self._each_file(sources, window, quiet, lambda output: self.score_of(output, costs))

    def embed_files(self, sources: Mapping[str, object], *, window: float | None = None,
                    quiet: bool = False) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """The embeddings (embed_dim,) of all that can be read, in the order given, and why the others cannot."""
        found, failures = self._each_file(sources, window, quiet, lambda output: (
            output.recording.key, output.embeddings.mean(axis=0)))
        return dict(found), failures

    def _each_file(self, sources: Mapping[str, object], window: float | None, quiet: bool, make):
        with ThreadPoolExecutor(_READERS) as pool:
            opened = list(pool.map(lambda item: or_reason(self.open, *item), sources.items()))
        failures = {key: item for key, item in zip(sources, opened) if isinstance(item, str)}
        found = {}
        for item in self.run([item for item in opened if not isinstance(item, str)], window, quiet):
            if isinstance(item, ModelOutput):
                found[item.recording.key] = make(item)
            else:
                failures[item[0].key] = item[1]
        return [found[key] for key in sources if key in found], {k: failures[k] for k in sources if k in failures}

    @torch.no_grad()
    def run(self, recordings: Sequence[Recording], window: float | None = None,
            quiet: bool = True) -> Iterator[ModelOutput | tuple[Recording, str]]:
        """What the model makes of each recording, or why it cannot be read, as they are finished.

        Windows of like length share a batch, which does not change what comes out.
        """
        pieces = [(number, *piece) for number, recording in enumerate(recordings)
                  for piece in self.input_policy.pieces(recording.samples, window)]
        rows: dict[int, list] = {number: [] for number in range(len(recordings))}
        left = np.bincount([number for number, *_ in pieces], minlength=len(recordings))
        seconds = np.array([length for *_, length in pieces], dtype=float) / self.input_policy.rate
        batches = length_batches(np.maximum(seconds, self._least_seconds()), _BATCH, _BATCH_SECONDS)
        with ThreadPoolExecutor(_READERS) as pool, progress(
                total=len(recordings), desc="scoring", unit="file", delay=2,
                disable=quiet or len(recordings) < 2) as bar:
            read = [pool.submit(or_reason, self._read, recordings, pieces[i]) for i in batches[0]] if batches else []
            for batch, following in itertools.zip_longest(batches, batches[1:], fillvalue=()):
                wavs = [future.result() for future in read]
                read = [pool.submit(or_reason, self._read, recordings, pieces[i]) for i in following]
                output = {index: wav for index, wav in zip(batch, wavs) if not isinstance(wav, str)}
                outputs = self._forward(list(output.values()), [recordings[pieces[index][0]].key for index in output])
                for index, wav in zip(batch, wavs):
                    number, start, length = pieces[index]
                    rows[number].append(wav if isinstance(wav, str)
                                        else ((start, length), *next(outputs), *level(wav)))
                    left[number] -= 1
                    if not left[number]:
                        bar.update()
                        yield assembled(recordings[number], rows.pop(number))

    def score_of(self, output: ModelOutput, costs: DetectionCosts) -> Score:
        self.require_bonafide()
        raw = float(self._raw(output.logits).mean())
        each = self.llrs(output.logits)                              # (windows,)
        rate, value = self.input_policy.rate, float(each.mean())
        windows = tuple(Window(start / rate, (start + length) / rate, float(one))
                        for (start, length), one in zip(output.pieces, each))
        recording = output.recording
        return Score(recording.key, value, posterior(value, costs.p_spoof), decide(value, costs), meaning(value, costs),
                     costs.p_spoof, costs.bayes_threshold, self.calibration is not None, raw, recording.samples / rate,
                     max(window.end for window in windows), windows,
                     doubts(recording.samples, rate, recording.rate, output.peak, output.clipped))

    def _raw(self, logits: np.ndarray) -> np.ndarray:
        """(windows, classes) logits -> (windows,), before any calibration; of a published model what its authors score
        by."""
        if not self.published_score:
            return llr(logits, self.labels)
        chosen = logits
        if self.published_score == "probability":
            from scipy.special import softmax  # takes a tenth of the time to the first score

            chosen = softmax(logits, axis=1)
        return chosen[:, self.labels.bonafide]

    def llrs(self, logits: np.ndarray) -> np.ndarray:
        """(windows, classes) logits -> (windows,), calibrated if the model is."""
        values = llr(logits, self.labels)
        return values if self.calibration is None else self.calibration.apply(values)

    @torch.no_grad()
    def embedding_and_logits(self, wav: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(embedding, logits) of mono samples at the model's rate, of at least the length it needs."""
        return next(self._forward([wav]))

    def _each(self, audio, sample_rate, window, make):
        several = isinstance(audio, (list, tuple))
        inputs = list(audio) if several else [audio]
        recordings = self._opened([name_of(item, number) for number, item in enumerate(inputs)], inputs, sample_rate)
        found = {}
        for item in self.run(recordings, window):
            if not isinstance(item, ModelOutput):
                raise InputError(f"{item[0].key}: {item[1]}")
            found[id(item.recording)] = make(item)
        results = [found[id(recording)] for recording in recordings]
        return results if several else results[0]

    def _opened(self, names: list[str], inputs: list, sample_rate: int | None) -> list[Recording]:
        opened = []
        for name, audio in zip(names, inputs):
            recording = or_reason(self.open, name, audio, sample_rate)
            if isinstance(recording, str):
                raise InputError(f"{name}: {recording}")
            opened.append(recording)
        return opened

    def _read(self, recordings: Sequence[Recording], piece: tuple[int, int, int]) -> np.ndarray:
        number, start, length = piece
        return self.input_policy.fit(recordings[number].read(start, length))

    def _least_seconds(self) -> float:
        return (self.input_policy.fixed or self.input_policy.shortest) / self.input_policy.rate

    def _forward(self, wavs: list[np.ndarray],
                 keys: Sequence[str] = ("audio",)) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(embedding, logits) of each."""
        if not wavs:
            return iter(())
        lengths = [len(wav) for wav in wavs]
        batch = torch.zeros(len(wavs), max(lengths))
        for row, wav in zip(batch, wavs):
            row[:len(wav)] = torch.from_numpy(wav)
        with self.arithmetic.scope():
            embeddings = in_halves(self.detector.embed, batch.to(self.device), lengths, keys,
                                   self.input_policy.rate).float()
            logits = head_logits(self.detector, embeddings)
        return zip(embeddings.cpu().numpy(), logits.numpy())
