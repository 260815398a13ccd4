"""`frontend: s3prl`: any upstream of s3prl, with s3prl's frame count, exact on batches of unequal lengths.

The families that the native encoder covers (wav2vec2, HuBERT, WavLM, data2vec, UniSpeech-SAT, under s3prl's names)
run in the native encoder, which equals s3prl's own classes on an utterance alone, in s3prl's setting: no layer drop.
Every other upstream runs in s3prl's classes, utterances of equal length together where that changes nothing, else
one at a time, because s3prl's padding changes features.

s3prl unpickles the files of those other upstreams itself: give it only files that you trust.
"""

import contextlib
import importlib
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.frontend import S3prlOptions
from wedefense.frontend.features import LayerFeatures
from wedefense.frontend.names import is_native, s3prl_folder, unknown_upstream, upstream_names
from wedefense.frontend.pretrained import SAMPLE_RATE, PretrainedFrontend
from wedefense.frontend.ssl.architecture import Architecture
from wedefense.frontend.ssl.encoder import Encoder
from wedefense.frontend.ssl.formats.read import find_checkpoint, load_encoder
from wedefense.frontend.ssl.frontend import S3PRL_MINIMUM, encode_as_s3prl, rename_upstream, without_layer_drop
from wedefense.frontend.ssl.summary import rows
from wedefense.utils.devices import numbers_on
from wedefense.utils.download import cache_dir, fetch, is_url
from wedefense.utils.errors import InputError


class S3prlFrontend(PretrainedFrontend):
    """See the module. `architecture`: of a native encoder whose weights are loaded afterwards."""

    def __init__(self, options: S3prlOptions, sample_rate: int = SAMPLE_RATE, architecture: Architecture | None = None):
        name, path = options.upstream_args.name, options.upstream_args.path_or_url
        if architecture is not None:
            upstream = Encoder(without_layer_drop(architecture))
        elif is_native(name):
            checkpoint = find_checkpoint(name, path, options.download_dir)
            upstream = load_encoder(checkpoint, without_layer_drop(checkpoint.architecture))
        else:
            upstream = Upstream(load_expert(name, path, options.download_dir))
        if isinstance(upstream, Encoder):
            own = upstream.architecture
            super().__init__(options, sample_rate, upstream, own.dim, own.num_blocks + 1, own.stride)
            self.register_load_state_dict_pre_hook(rename_upstream)
        else:
            super().__init__(options, sample_rate, upstream, upstream.dim, upstream.num_layers, upstream.stride)
        self.normalize = options.upstream_args.normalize

    @property
    def architecture(self) -> Architecture | None:
        """Of the native encoder; None where s3prl's own classes run."""
        return self.upstream.architecture if isinstance(self.upstream, Encoder) else None

    @staticmethod
    def serves(name: str) -> bool:
        return s3prl_folder() is not None and name in upstream_names()

    @staticmethod
    def is_native(name: str) -> bool:
        return is_native(name)

    @staticmethod
    def model_names() -> Iterable[str]:
        return ()  # hundreds, and those of the native encoder among them

    @staticmethod
    def summary(name: str, download_dir: str | None) -> dict[str, str]:
        return rows(find_checkpoint(name, None, download_dir))

    def encode(self, wav: Tensor, lengths: list[int]) -> LayerFeatures:
        if isinstance(self.upstream, Encoder):
            features = encode_as_s3prl(self.upstream, wav, lengths)
        else:
            features = self.upstream(wav, lengths)
        if self.normalize:
            mask = features.mask()[:, :, None]
            features.layers = [F.layer_norm(layer, layer.shape[-1:]) * mask for layer in features.layers]
        return features


class Upstream(nn.Module):
    """One of s3prl's experts on padded batches, as if each utterance were alone."""

    def __init__(self, expert: nn.Module):
        super().__init__()
        self.upstream = expert
        for name, parameter in expert.named_parameters():
            if "mask_emb" in name:  # used in pretraining only
                parameter.requires_grad_(False)
        expert.eval()
        noise = 0.1 * torch.randn(2, SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            pair, alone = self._hidden(list(noise)), self._hidden([noise[1]])
        expert.train()
        self.num_layers, self.dim = len(alone), alone[0].shape[-1]
        rates = expert.get_downsample_rates("hidden_states")
        rates = {rates} if isinstance(rates, int) else set(rates)
        if len(rates) > 1 or len({layer.shape[-1] for layer in alone}) > 1:
            raise InputError(f"this upstream's layers differ in rate or width ({sorted(rates)} samples; "
                             f"{[layer.shape[-1] for layer in alone]}); no back-end takes such layers together")
        self.stride = rates.pop()
        # whether utterances of equal length may share a batch; some upstreams mix them
        self.together = all(torch.allclose(a[1:], b, rtol=1e-4, atol=1e-5) for a, b in zip(pair, alone, strict=True))

    def stop_after(self, layer: int) -> None:
        """s3prl's classes run whole."""

    def _hidden(self, wavs: list[Tensor]) -> list[Tensor]:
        return list(self.upstream(wavs)["hidden_states"])

    def forward(self, wav: Tensor, samples: list[int]) -> LayerFeatures:
        """wav (batch, samples) -> layers (batch, ceil(samples / stride), dim); short ends repeat their last frame."""
        frames = [-(-count // self.stride) for count in samples]
        padded = [F.pad(row[:count], (0, max(S3PRL_MINIMUM - count, 0))) for row, count in zip(wav, samples)]
        layers = [[None] * len(padded) for _ in range(self.num_layers)]
        for group in self._groups(padded):
            for number, hidden in enumerate(self._hidden([padded[i] for i in group])):
                for row, i in enumerate(group):
                    layers[number][i] = _matched(hidden[row], frames[i])
        layers = [nn.utils.rnn.pad_sequence(layer, batch_first=True) for layer in layers]
        return LayerFeatures(layers, numbers_on(tuple(frames), wav.device), frames)

    def _groups(self, wavs: list[Tensor]) -> list[list[int]]:
        """Which utterances go through s3prl together."""
        groups: dict = {}
        for i, wav in enumerate(wavs):
            groups.setdefault(len(wav) if self.together else i, []).append(i)
        return list(groups.values())


def _matched(hidden: Tensor, frames: int) -> Tensor:
    """(found frames, dim) -> (frames, dim): cut, or the last frame repeated."""
    missing = frames - len(hidden)
    return hidden[:frames] if missing <= 0 else torch.cat((hidden, hidden[-1:].expand(missing, -1)))


def load_expert(name: str, path_or_url: str | None, download_dir: str | None) -> nn.Module:
    """An expert of s3prl, importing only the family that it belongs to."""
    names = upstream_names()
    if name not in names:
        raise unknown_upstream(name)
    if path_or_url and not is_url(path_or_url) and not Path(path_or_url).exists() and "/" not in path_or_url:
        raise InputError(f"{path_or_url}: no such file or folder")
    given = {"ckpt": path_or_url} if path_or_url else {}
    try:
        hubconf = importlib.import_module(f"s3prl.upstream.{names[name]}.hubconf")
    except Exception as error:  # whatever a family trips over in the installed packages
        raise InputError(f"s3prl's family '{names[name]}' of upstream '{name}' cannot be imported with the installed "
                         f"packages ({type(error).__name__}: {error})") from None
    try:
        with _own_downloads(download_dir):
            return _last_layer_as_published(getattr(hubconf, name)(**given))
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"s3prl upstream '{name}' cannot be built{f' from {path_or_url}' if path_or_url else ''} "
                         f"({type(error).__name__}: {error})") from error


def _last_layer_as_published(expert: nn.Module) -> nn.Module:
    """Models of transformers (`hf_*`) hand out their last layer as the final norm leaves it.

    So transformers had it up to 4; since 5 the last of the hidden states of norm-first models comes before the norm.
    """
    for part in expert.children():
        if type(part).__module__.startswith("transformers."):
            part.register_forward_hook(_with_last_state)
    return expert


def _with_last_state(model: nn.Module, inputs: tuple, output):
    hidden, last = output.hidden_states, output.last_hidden_state
    if hidden is not None and hidden[-1].shape == last.shape:  # an adapter on top would have other frames
        output.hidden_states = (*hidden[:-1], last)
    return output


@contextlib.contextmanager
def _own_downloads(download_dir: str | None):
    """s3prl's downloads go through ours: resumed, whole or absent, and none when offline."""
    from s3prl.util import download

    before = download._download, download._download_dir
    download.set_dir(cache_dir(download_dir))
    download._download = lambda filepath, url, refresh=False, **_: fetch(url, Path(filepath))
    try:
        yield
    finally:
        download._download = before[0]
        download.set_dir(before[1])
