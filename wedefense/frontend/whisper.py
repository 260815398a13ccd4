"""The encoder of Whisper as a front-end: features for an utterance's true length, not for 30 seconds."""

import functools
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wedefense.config.frontend import WhisperOptions
from wedefense.frontend.features import LayerFeatures, Lengths, frame_mask, on_host
from wedefense.frontend.names import WHISPERS, unknown_whisper, whisper_hub_id
from wedefense.frontend.pretrained import PretrainedFrontend
from wedefense.frontend.ssl.adapters import adapt
from wedefense.frontend.ssl.architecture import Architecture, full_blocks
from wedefense.frontend.ssl.attention import attends_packed
from wedefense.frontend.ssl.formats.huggingface import read_weights
from wedefense.frontend.ssl.formats.peft import load_adapter, read_adapter
from wedefense.frontend.ssl.packing import Packing
from wedefense.frontend.ssl.products import Forgetting
from wedefense.frontend.ssl.source import from_reference, looks_like_reference
from wedefense.frontend.ssl.transformer import Block, run_block
from wedefense.utils.devices import numbers_on
from wedefense.utils.errors import InputError, blamed_on
from wedefense.utils.finite import require_finite
from wedefense.utils.json_file import read_json
from wedefense.utils.tables import first_few

N_FFT, HOP, STRIDE = 400, 160, 320
WINDOW = 3000  # mel frames that the positions reach: 30 seconds


def mel_filters(bands: int, sample_rate: int = 16000, n_fft: int = N_FFT) -> Tensor:
    """(frequencies, bands): triangles on Slaney's mel scale, linear to 1 kHz and logarithmic above, of equal area."""
    log_step, last = math.log(6.4) / 27, 15 + 27 * math.log(sample_rate / 2000) / math.log(6.4)
    mel = torch.linspace(0, last, bands + 2, dtype=torch.float64)
    hertz = torch.where(mel < 15, mel * 200 / 3, 1000 * torch.exp(log_step * (mel - 15)))
    frequency = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    left, centre, right = hertz[:-2], hertz[1:-1], hertz[2:]
    triangles = torch.minimum((frequency - left) / (centre - left), (right - frequency) / (right - centre))
    return (triangles.clamp(min=0) * 2 / (right - left)).float()


@functools.lru_cache(maxsize=8)
def _constants(bands: int, device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # kept for calls outside of it too
        return mel_filters(bands).to(device), torch.hann_window(N_FFT, device=device)


def _silenced(x: Tensor, counts: list[int]) -> Tensor:
    """x (batch, ..., time), 0 past the end of each utterance."""
    if min(counts) == x.shape[-1]:
        return x
    valid = frame_mask(numbers_on(tuple(counts), x.device), x.shape[-1])
    return x * valid.view(len(x), *[1] * (x.dim() - 2), -1)


def log_mel(wav: Tensor, lengths: Lengths, bands: int) -> tuple[Tensor, np.ndarray]:
    """Whisper's log-mel spectrogram: wav (batch, samples) -> (batch, bands, frames), and the frames of each.

    On the frames of an utterance it equals what Whisper's own extractor computes from the utterance followed by
    silence up to 30 seconds, the range limit below the loudest frame included; past its end it is zero. Longer
    audio is not cut: its limit is below the loudest frame of the whole. Always computed in float32.
    """
    samples = on_host(lengths)
    frames = -(-np.array(samples) // HOP)
    filters, window = _constants(bands, wav.device)
    with torch.autocast(wav.device.type, enabled=False):
        wav = _silenced(wav[:, :max(samples)].float(), samples)
        wav = F.pad(wav, (0, N_FFT))  # silence: the last windows reach into it
        wav = F.pad(wav, (N_FFT // 2, 0), mode="reflect")
        spectrum = torch.stft(wav, N_FFT, HOP, window=window, center=False, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()  # (batch, frequencies, frames)
        log = (filters.t() @ power).clamp(min=1e-10).log10()
        log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8)
        return _silenced((log[:, :, :frames.max()] + 4) / 4, frames.tolist()), frames


class WhisperEncoder(Forgetting):
    """Two convolutions over the log-mel frames, sinusoid positions, pre-norm blocks.

    `forward(wav, lengths)` gives N+1 layers: the input of the first block, then the output of every block, the
    last one through the final layer norm. An utterance alone and in any padded batch gets the same features.
    Audio beyond 30 seconds is encoded in windows of 30 seconds, one after the other.
    """

    blocks_at, convolutions_at = "layers", None  # what can be cut, and where

    def __init__(self, architecture: Architecture, freeze_extractor: bool = False,
                 gradient_checkpointing: bool = False):
        super().__init__()
        self.architecture, dim = architecture, architecture.dim
        self.freeze_extractor, self.gradient_checkpointing = freeze_extractor, gradient_checkpointing
        self.conv1 = nn.Conv1d(architecture.mel_bins, dim, 3, padding=1)
        self.conv2 = nn.Conv1d(dim, dim, 3, stride=2, padding=1)
        self.register_buffer("positions", torch.zeros(WINDOW // 2, dim))
        self.layers = nn.ModuleList(Block(architecture, shape, first=False) for shape in architecture.blocks)
        self.depth = len(self.layers)  # how many blocks run
        self.layer_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(architecture.hidden_dropout)
        if freeze_extractor:
            self.conv1.requires_grad_(False)
            self.conv2.requires_grad_(False)

    def stop_after(self, layer: int) -> None:
        """As `Encoder.stop_after`."""
        self.depth = layer
        self.layers[layer:].requires_grad_(False)
        if layer < len(self.layers):
            self.layer_norm.requires_grad_(False)

    def forward(self, wav: Tensor, lengths: Lengths) -> LayerFeatures:
        """wav (batch, samples), lengths on the host -> N+1 layers (batch, frames, dim), a frame per 320 samples."""
        samples = on_host(lengths)
        if min(samples) < 1:
            raise InputError("an utterance of the batch has no samples; drop it")
        self.begin()
        mel, frames = log_mel(wav, samples, self.architecture.mel_bins)
        windows = [self._window(mel[:, :, start:start + WINDOW], (frames - start).clip(0, WINDOW))
                   for start in range(0, mel.shape[2], WINDOW)]
        layers = [torch.cat(parts, dim=1) for parts in zip(*windows, strict=True)] if len(windows) > 1 else windows[0]
        counts = ((frames + 1) // 2).tolist()
        return LayerFeatures(layers, numbers_on(tuple(counts), wav.device), counts)

    def _window(self, mel: Tensor, lengths: np.ndarray) -> list[Tensor]:
        """Encode the utterances that reach into a window; the others get zeros."""
        reaching = np.flatnonzero(lengths)
        if len(reaching) == len(mel):
            return self.encode(mel, lengths).layers
        index = numbers_on(tuple(reaching.tolist()), mel.device)
        layers = self.encode(mel.index_select(0, index), lengths[reaching]).layers
        return [x.new_zeros(len(mel), *x.shape[1:]).index_copy_(0, index, x) for x in layers]

    def encode(self, mel: Tensor, lengths: Lengths) -> LayerFeatures:
        """mel (batch, bands, frames <= 3000), lengths in mel frames -> N+1 layers (batch, frames / 2, dim)."""
        lengths = on_host(lengths)
        x = F.gelu(self.conv1(_silenced(mel, lengths).to(self.conv1.weight.dtype)))
        x = F.gelu(self.conv2(_silenced(x, lengths))).transpose(1, 2)  # (batch, frames, dim)
        counts = [(length + 1) // 2 for length in lengths]
        packing = Packing.of(counts, mel.device)
        x = x.to(self.positions.dtype) + self.positions[:x.shape[1]]  # under autocast too in the parameters' precision
        x = self.dropout(packing.pack(x))  # (rows, dim)
        spans = packing.spans(x.dtype, packed=attends_packed(self.architecture.head_dim, x.device))
        layers, begun, blocks = [x], None, list(self.layers)[:self.depth]
        for block, following in zip(blocks, [*blocks[1:], None]):
            x, begun = run_block(block, following, x, begun, spans, self.gradient_checkpointing)
            layers.append(x)
        if self.depth == len(self.layers):
            layers[-1] = self.layer_norm(x)
        return LayerFeatures([packing.pad(layer) for layer in layers], packing.lengths, counts)


class WhisperFrontend(PretrainedFrontend):
    """`frontend: whisper`: a Hugging Face folder or hub id; the encoder's tensors alone suffice."""

    def __init__(self, options: WhisperOptions, sample_rate: int = 16000, architecture: Architecture | None = None):
        own = {"freeze_extractor": options.freeze_extractor, "gradient_checkpointing": options.gradient_checkpointing}
        read = architecture is None
        if architecture is not None:
            upstream = WhisperEncoder(architecture, **own)
        else:
            source = find_whisper(options.upstream_args.name, options.upstream_args.path_or_url, options.download_dir)
            upstream = read_whisper(source, **own)
        architecture = upstream.architecture
        super().__init__(options, sample_rate, upstream, architecture.dim, architecture.num_blocks + 1, STRIDE)
        adapt(upstream, options.adapters)
        if options.adapters.path and read:
            load_adapter(upstream, options.adapters, read_adapter(options.adapters.path))

    @property
    def architecture(self) -> Architecture:
        return self.upstream.architecture

    @staticmethod
    def serves(name: str) -> bool:
        """Names of the table, their hub ids, and folders of its kind."""
        config = Path(name) / "config.json"
        if config.is_file():
            return read_json(config).get("model_type") == "whisper"
        return is_known(name) and not Path(name).is_file()

    @staticmethod
    def model_names() -> Iterable[str]:
        return WHISPERS

    @staticmethod
    def summary(name: str, download_dir: str | None) -> dict[str, str]:
        encoder = read_whisper(find_whisper(name, None, download_dir))
        count = sum(value.numel() for name, value in encoder.state_dict().items() if not name.endswith("k_proj.bias"))
        shape = encoder.architecture
        return {"family": "whisper", "format": "Hugging Face", "layers": f"{shape.num_blocks} blocks of {shape.dim}",
                "parameters": f"{count:,}", "input": f"{shape.mel_bins} log-mel bands"}


def is_known(name: str) -> bool:
    return whisper_hub_id(name) is not None or name in WHISPERS.values()


def find_whisper(name: str, path_or_url: str | None, download_dir: str | os.PathLike | None) -> Path:
    """The folder of a name of the table, a path, a hub id."""
    reference = path_or_url or name
    if not path_or_url and not Path(name).exists() and not looks_like_reference(name):
        hub_id = whisper_hub_id(name)
        if hub_id is None:
            raise unknown_whisper(name)
        reference = hub_id
    folder = from_reference(reference, download_dir)
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder with config.json and the weights, as Hugging Face lays it out")
    return folder


def whisper_architecture(config: Mapping, source: str) -> Architecture:
    if config.get("model_type") != "whisper":
        raise InputError(f"{source}: model_type '{config.get('model_type')}' is not 'whisper'")
    if config.get("activation_function", "gelu") != "gelu":
        raise InputError(f"{source}: activation_function '{config['activation_function']}' is not supported "
                         "(expected 'gelu')")
    try:
        dim, heads = config["d_model"], config["encoder_attention_heads"]
        blocks = full_blocks(config["encoder_layers"], heads, config["encoder_ffn_dim"])
    except KeyError as error:
        raise InputError(f"{source}: {error} is missing") from None
    return Architecture(
        family="whisper", blocks=blocks, dim=dim, total_heads=heads, conv_layers=((dim, 3, 1), (dim, 3, 2)),
        conv_bias=True, norm_first=True, mel_bins=config.get("num_mel_bins", 80), projection_dropout=0.0,
        hidden_dropout=config.get("dropout", 0.0), attention_dropout=config.get("attention_dropout", 0.0),
        activation_dropout=config.get("activation_dropout", 0.0))


def read_whisper(folder: Path, **options) -> WhisperEncoder:
    """The encoder of a folder, in float32."""
    with blamed_on(folder, "Whisper model"):
        return _read_whisper(folder, **options)


def _read_whisper(folder: Path, **options) -> WhisperEncoder:
    encoder = WhisperEncoder(whisper_architecture(read_json(folder / "config.json"), f"{folder / 'config.json'}"),
                             **options)
    tensors = read_weights(folder)
    state = {}
    for name, own in encoder.state_dict().items():
        key = _hugging_face_name(name)
        found = next((tensors[prefix + key] for prefix in ("model.encoder.", "encoder.", "")
                      if prefix + key in tensors), None)
        if found is None and key.endswith("k_proj.bias"):  # Whisper has none; it would not change the attention
            found = torch.zeros_like(own)
        if found is None:
            raise InputError(f"{folder}: tensor 'model.encoder.{key}' is missing (found {first_few(tensors)})")
        if found.shape != own.shape:
            raise InputError(f"{folder}: tensor 'model.encoder.{key}' has shape {tuple(found.shape)}, expected "
                             f"{tuple(own.shape)} by its config.json")
        state[name] = found.float()
    require_finite(state, folder)
    encoder.load_state_dict(state)
    return encoder


def _hugging_face_name(name: str) -> str:
    if name == "positions":
        return "embed_positions.weight"
    for ours, theirs in ((".attention.", ".self_attn."), (".feed_forward.intermediate_dense.", ".fc1."),
                         (".feed_forward.output_dense.", ".fc2.")):
        name = name.replace(ours, theirs)
    return name.replace(".layer_norm.", ".self_attn_layer_norm.") if name.startswith("layers.") else name
