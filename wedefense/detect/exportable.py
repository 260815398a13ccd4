"""A whole detector as one module in operations that exporters know."""

import torch
from torch import Tensor, nn

from wedefense.detect.export_modules import exportable_copy, exportable_frontend
from wedefense.detect.frames import resolutions
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.frontend.features import LayerFeatures, frame_mask
from wedefense.frontend.ssl.frontend import S3PRL_MINIMUM
from wedefense.models.detector import Detector
from wedefense.models.localizer import Segments, log_odds

_SPARE_FRAMES = 16  # of padding: no layer that shortens time runs out of frames, for exporters know no such exception


class Exportable(nn.Module):
    """wav (batch, samples), lengths (batch,) -> llr (batch,), embedding (batch, embed_dim), logits (batch, classes); of
    a detector that scores frames, for each length of them, their scores (batch, frames) and how many each has.

    Any length from one sample on: what the model needs is repeated inside. The LLR has the priors of training taken
    out and the calibration applied; without bona fide among the classes there is none, and it is 0. Scores of frames
    are not calibrated, and 0 past an utterance's last.
    """

    def __init__(self, model: LoadedDetector):
        super().__init__()
        source, self.input_policy = model.detector, model.input_policy
        self.detector = Detector(exportable_frontend(source.frontend), exportable_copy(source.backend),
                                 exportable_copy(source.projection), source.cmvn, sample_rate=source.sample_rate,
                                 localizer=exportable_copy(source.localizer) if source.localizer else None).eval()
        frames = max(_SPARE_FRAMES, source.backend.min_frames)
        shift = round(source.frontend.frame_shift * model.input_policy.rate / 1000)
        self.room = max(model.input_policy.shortest, S3PRL_MINIMUM) + frames * shift
        self.scored = model.labels.has_bonafide
        bonafide = torch.from_numpy(model.labels.bonafide)
        self.register_buffer("bonafide", bonafide.nonzero()[:, 0])
        self.register_buffer("others", (~bonafide).nonzero()[:, 0])
        self.register_buffer("log_priors", torch.from_numpy(model.labels.log_priors).float())
        calibration = model.calibration
        self.scale, self.bias = (calibration.scales[0], calibration.bias) if calibration else (1.0, 0.0)
        self.resolutions = resolutions(source) if self.scored else []
        self.requires_grad_(False)

    @property
    def outputs(self) -> list[str]:
        return ["llr", "embedding", "logits", *(name.format(ms) for ms in self.resolutions
                                                for name in ("frames_{:g}ms", "frame_counts_{:g}ms"))]

    def forward(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        wav, heard = self._repeated(wav, lengths)
        features = self.detector.features(wav, heard)
        embedding, segments = self.detector.heard(features)
        logits = self.detector.projection(embedding).float()
        llr = self.scale * self._evidence(logits) + self.bias if self.scored else torch.zeros_like(logits[:, 0])
        return llr, embedding.float(), logits, *self._frames(features, segments, lengths)

    def _frames(self, features: LayerFeatures, segments: Segments | None, lengths: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for ms in self.resolutions:
            if segments is not None:
                scores, counts = log_odds(segments.logits[round(ms)]), segments.lengths[round(ms)]
            else:
                logits = self.detector.backend.frame_scores(features, self.detector.projection).float()
                scores, counts = self._evidence(logits), features.lengths
            step = round(ms * self.input_policy.rate / 1000)
            begun = torch.div(lengths + step - 1, step, rounding_mode="floor").clamp(min=1)
            counts = torch.minimum(counts, begun)  # short recordings were repeated
            found += [scores * frame_mask(counts, scores.shape[1]), counts]
        return found

    def _repeated(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        least = self.input_policy.fixed or self.input_policy.shortest
        again = torch.arange(least, device=wav.device)[None] % lengths[:, None]  # (batch, least)
        if self.input_policy.fixed:
            return wav.gather(1, again), torch.full_like(lengths, self.input_policy.fixed)
        start = wav.gather(1, again)
        wav = torch.nn.functional.pad(wav, (0, self.room))
        return torch.cat([start, wav[:, least:]], dim=1), lengths.clamp(min=least)

    def _evidence(self, logits: Tensor) -> Tensor:
        """(..., classes) -> (...): the LLR before any calibration"""
        evidence = logits - self.log_priors
        return (evidence.index_select(-1, self.bonafide).logsumexp(-1)
                - evidence.index_select(-1, self.others).logsumexp(-1))
