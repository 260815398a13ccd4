"""A whole detector as one module in operations that exporters know."""

import torch
from torch import Tensor, nn

from wedefense.detect.export_modules import exportable_copy, exportable_frontend
from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.frontend.ssl.frontend import S3PRL_MINIMUM
from wedefense.models.detector import Detector

_SPARE_FRAMES = 16  # of padding: no layer that shortens time runs out of frames, for exporters know no such exception


class Exportable(nn.Module):
    """wav (batch, samples), lengths (batch,) -> llr (batch,), embedding (batch, embed_dim), logits (batch, classes).

    Any length from one sample on: what the model needs is repeated inside. The LLR has the priors of training taken
    out and the calibration applied; without bona fide among the classes there is none, and it is 0.
    """

    def __init__(self, model: LoadedDetector):
        super().__init__()
        source, self.input_policy = model.detector, model.input_policy
        self.detector = Detector(exportable_frontend(source.frontend), exportable_copy(source.backend),
                                 exportable_copy(source.projection), source.cmvn, sample_rate=source.sample_rate).eval()
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
        self.requires_grad_(False)

    def forward(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        wav, lengths = self._repeated(wav, lengths)
        embedding = self.detector.embed(wav, lengths)
        logits = self.detector.projection(embedding).float()
        return self._llr(logits), embedding.float(), logits

    def _repeated(self, wav: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        least = self.input_policy.fixed or self.input_policy.shortest
        again = torch.arange(least, device=wav.device)[None] % lengths[:, None]  # (batch, least)
        if self.input_policy.fixed:
            return wav.gather(1, again), torch.full_like(lengths, self.input_policy.fixed)
        start = wav.gather(1, again)
        wav = torch.nn.functional.pad(wav, (0, self.room))
        return torch.cat([start, wav[:, least:]], dim=1), lengths.clamp(min=least)

    def _llr(self, logits: Tensor) -> Tensor:
        if not self.scored:
            return torch.zeros_like(logits[:, 0])
        evidence = logits - self.log_priors
        bonafide = evidence.index_select(1, self.bonafide).logsumexp(1)
        raw = bonafide - evidence.index_select(1, self.others).logsumexp(1)
        return self.scale * raw + self.bias
