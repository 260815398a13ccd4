"""What a detector says of the frames of recordings, and where they are fake."""

from collections.abc import Iterator, Mapping

from wedefense.detect.frames import FrameScores, as_in_one_piece, frame_ms, score_frames
from wedefense.detect.loaded_model import LoadedModel, name_of
from wedefense.detect.located import Located
from wedefense.detect.model_output import or_reason
from wedefense.detect.recordings import Recording
from wedefense.utils.errors import InputError


class Framewise(LoadedModel):
    """The part of `LoadedDetector` that looks at frames.

    `resolution`: ms of a frame, of those whose heads a detector was trained with (None: the shortest). What was never
    taught where it is fake has one: what the back-end says of each frame's part in the embedding (MHFA, CA-MHFA).
    """

    def frame_scores(self, audio, sample_rate: int | None = None, *, resolution: int | None = None) -> FrameScores:
        """A score for each frame of one recording."""
        (name, found), = self._heard([(name_of(audio, 0), audio)], sample_rate, resolution)
        if isinstance(found, str):
            raise InputError(f"{name}: {found}")
        return found[1]

    def frame_files(self, sources: Mapping[str, object], sample_rate: int | None = None, *,
                    resolution: int | None = None) -> Iterator[tuple[str, FrameScores | str]]:
        """The scores of each recording's frames, or why it has none."""
        for name, found in self._heard(sources.items(), sample_rate, resolution):
            yield name, found if isinstance(found, str) else found[1]

    def locate(self, audio, sample_rate: int | None = None, *, threshold: float | None = None, smooth: float = 0.0,
               resolution: int | None = None) -> Located | list[Located]:
        """Where a recording is fake; a list gives a list.

        A frame is fake at or below `threshold` (None: that of the dev set where the experiment's results have one, else
        0). `smooth`: the median of the scores over so many seconds decides.

        >>> found = model.locate("clip.wav", smooth=0.1)
        >>> found.decision, found.seconds
        ('spoof', 1.0)
        >>> found.fake_seconds == sum(span.end - span.start for span in found.spans if span.label == "spoof")
        True
        >>> found.plot("clip.png").name
        'clip.png'
        """
        several = isinstance(audio, (list, tuple))
        items = [(name_of(item, number), item) for number, item in enumerate(audio if several else [audio])]
        results = []
        for name, found in self._located(items, sample_rate, threshold, smooth, resolution):
            if isinstance(found, str):
                raise InputError(f"{name}: {found}")
            results.append(found)
        return results if several else results[0]

    def locate_files(self, sources: Mapping[str, object], *, threshold: float | None = None, smooth: float = 0.0,
                     resolution: int | None = None) -> Iterator[tuple[str, Located | str]]:
        """Where each recording is fake, or why it cannot be told."""
        return self._located(sources.items(), None, threshold, smooth, resolution)

    def frame_threshold(self, resolution: int | None = None) -> float | None:
        """What the dev set told; None where there is no result of it."""
        return self.frame_thresholds.get(round(frame_ms(self.detector, resolution)))

    def _located(self, items, sample_rate: int | None, threshold: float | None, smooth: float, resolution: int | None):
        if threshold is None:
            threshold = self.frame_threshold(resolution) or 0.0
        for name, found in self._heard(items, sample_rate, resolution):
            if not isinstance(found, str):
                recording, scores = found
                exact = as_in_one_piece(self.detector, recording.samples, self.input_policy)
                found = Located.of(recording, scores, self.input_policy.rate, threshold, smooth, exact)
            yield name, found

    def _heard(self, items, sample_rate: int | None, resolution: int | None):
        self.require_bonafide()
        frame_ms(self.detector, resolution)
        for name, audio in items:
            yield name, or_reason(self._frames, name, audio, sample_rate, resolution)

    def _frames(self, name: str, audio, sample_rate: int | None, resolution: int | None) -> tuple[Recording,
                                                                                                  FrameScores]:
        recording = self.open(name, audio, sample_rate)
        with self.arithmetic.scope():
            return recording, score_frames(self.detector, self.labels, recording, self.input_policy, self.device,
                                           resolution)
