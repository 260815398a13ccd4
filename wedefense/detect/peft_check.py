"""Whether Hugging Face's own packages make of a written folder what the encoder here makes of its adapters."""

import os

import torch
from torch import Tensor, nn

from wedefense.detect.loaded_detector import LoadedDetector
from wedefense.frontend.whisper import log_mel
from wedefense.utils.errors import InputError

_SAMPLES, _WINDOW = 32_000, 480_000  # of noise; transformers' Whisper hears 30 seconds whatever there is
_TOLERANCE = 1e-3                    # of the largest output


@torch.no_grad()
def difference(model: LoadedDetector, folder: str | os.PathLike, base: str) -> float:
    """The largest between all layers of ours and of `base` with the adapter of `folder`, by peft and transformers.

    `base`: a folder or hub id of transformers. An error where they are not the same.
    """
    try:
        import peft
        import transformers
    except ImportError as error:
        raise InputError(f"--check needs the package {error.name}: pip install 'wedefense[peft]'") from None
    encoder = model.detector.pretrained.upstream
    try:
        theirs = transformers.AutoModel.from_pretrained(base, dtype=torch.float32).eval()
        theirs = peft.PeftModel.from_pretrained(theirs, os.fspath(folder)).merge_and_unload()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"--check {base}: cannot be loaded by transformers with the adapter of {folder}: "
                         f"{str(error).splitlines()[0][:200]}") from None
    mel = encoder.architecture.mel_bins
    wav = 0.1 * torch.randn(1, _WINDOW if mel else _SAMPLES, generator=torch.Generator().manual_seed(0))
    ours = encoder(wav, [wav.shape[1]]).layers
    heard = log_mel(wav, [wav.shape[1]], mel)[0] if mel else _normalised(wav, encoder.architecture)
    outputs = (theirs.encoder if mel else theirs)(heard, output_hidden_states=True)
    layers = [*outputs.hidden_states[:-1], outputs.last_hidden_state]
    if len(layers) < len(ours) or layers[0].shape != ours[0].shape:
        raise InputError(f"--check {base}: has {len(layers) - 1} blocks of {layers[0].shape[2]}, and the encoder "
                         f"{encoder.architecture.num_blocks} of {encoder.architecture.dim}; give the model that it is")
    if not encoder.architecture.final_norm:  # handed out without its norm, which theirs has
        ours = ours[:-1]
    pairs = list(zip(ours, layers))
    found = max((one - other).abs().max().item() for one, other in pairs)
    largest = max(one.abs().max().item() for one, _ in pairs)
    if not found <= _TOLERANCE * largest:
        raise InputError(f"--check {base}: with the adapter of {folder} its layers differ from ours by {found:.2g} "
                         f"(outputs reach {largest:.2g}); it is not the model that the adapters were trained over")
    return found


def _normalised(wav: Tensor, architecture) -> Tensor:
    if not architecture.normalize_waveform:
        return wav
    return nn.functional.layer_norm(wav, wav.shape[1:], eps=architecture.normalize_eps)
