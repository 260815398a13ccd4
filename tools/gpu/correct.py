"""Is it right: the device in every precision beside the CPU in float32, batches beside single files, gradients."""

import copy
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from tools.bench.steps import RATE, built_on, detector_on, noise, our_frontend
from tools.bench.timing import PRECISIONS, precision
from tools.gpu.sections import Check, first_line
from wedefense.config.frontend import WhisperOptions
from wedefense.config.models import BACKENDS
from wedefense.data.batch import Batch
from wedefense.frontend.features import LayerFeatures
from wedefense.frontend.ssl.architecture import Architecture, full_blocks
from wedefense.frontend.ssl.zoo import find_model
from wedefense.frontend.whisper import WhisperFrontend

# ||a - b|| / ||b||: of the device beside the CPU, and of an utterance in a batch beside the same alone. A product's
# inputs are rounded to 24, 11 and 8 bits: 6e-8, 5e-4, 4e-3; a few layers add up to some times that.
BOUNDS = {"float32": (1e-4, 1e-4), "tf32": (5e-3, 2e-3), "bfloat16": (5e-2, 3e-2)}
CHOOSES, WIDER = ("SSL_BACKEND_aasist",), 4  # keeps the nodes that score highest: rounding swaps some that are near
# of a part's gradient in bfloat16 beside float32: 24 untrained blocks that normalise first come to 0.956
COSINE, LENGTH = 0.93, (0.9, 1.1)
FAMILIES = ("wav2vec2_base_960", "xls_r_300m", "hubert_base", "hubert_large_ll60k", "wavlm_base_plus", "wavlm_large",
            "data2vec_base_960", "unispeech_sat_base_plus")
TINY_FAMILIES = ("wav2vec2_tiny", "hubert_tiny", "wavlm_tiny", "wavlm_large_tiny", "data2vec_tiny",
                 "unispeech_sat_tiny")
SMALL = {"compression_dim": 32, "m_channels": 2, "hid_dim": 16, "stats_dim": 24, "bottleneck_dim": 8, "head_nb": 4,
         "num_scale": 2}
LENGTHS = [48000, 16000, 33333, 400]  # samples; the last makes a single frame
STILL = dict.fromkeys(("projection_dropout", "hidden_dropout", "attention_dropout", "activation_dropout", "layer_drop"),
                      0.0)


def whisper_of(dim: int, heads: int, ff_dim: int) -> Architecture:
    return Architecture(
        family="whisper", blocks=full_blocks(3, heads, ff_dim), dim=dim, total_heads=heads,
        conv_layers=((dim, 3, 1), (dim, 3, 2)), conv_bias=True, norm_first=True, mel_bins=80, projection_dropout=0.0,
        hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0)


def frontends(tiny: bool) -> dict[str, Callable[[], nn.Module]]:
    """Three blocks of the real width, random weights."""
    builders = {}
    for name in TINY_FAMILIES if tiny else FAMILIES:
        a = find_model(name).architecture
        a = replace(a, blocks=full_blocks(3, a.total_heads, a.blocks[0].ff_dim), layer_drop=0.0)
        builders[name] = lambda a=a: our_frontend(a, frozen=True)
    sizes = {"whisper, width of tiny": (384, 6, 1536)} if tiny else {
        "whisper, width of base": (512, 8, 2048), "whisper, width of large": (1280, 20, 5120)}
    for name, size in sizes.items():
        builders[name] = lambda size=size: WhisperFrontend(WhisperOptions(frozen=True), RATE, whisper_of(*size))
    return builders


def backends(tiny: bool) -> dict[str, tuple[Callable[[], nn.Module], int, int]]:
    """Every registered one with its default options on 13 layers of 768, or filter banks: builder, width, layers."""
    rows = {}
    for name in one_of_each(BACKENDS.names()) if tiny else sorted(BACKENDS.names()):
        width, layers = (768, 13) if name.startswith("SSL_") else (80, 1)
        options = {}
        if tiny:
            width, layers = 24, min(3, layers)
            options = {key: size for key, size in SMALL.items() if key in BACKENDS.options(name).__dataclass_fields__}
        rows[name] = (lambda name=name, width=width, layers=layers, options=options:
                      BACKENDS.load(name)(BACKENDS.options(name)(**options), width, layers)), width, layers
    return rows


def one_of_each(names: Iterable[str]) -> list[str]:
    """The first of those that differ in size alone: ReDimNetB0 of ReDimNetB0 to B6."""
    first: dict[str, str] = {}
    for name in sorted(names):
        first.setdefault(re.sub(r"_?[A-Zc]?\d+( .*)?$", "", name), name)
    return list(first.values())


def correctness(check: Check, emit: Callable) -> None:
    device = torch.device(check.device)
    lengths = [4000, 1600, 3333, 400] if check.tiny else LENGTHS
    for name, build in frontends(check.tiny).items():
        torch.manual_seed(0)
        model = build().eval()
        compare(name, model, noise(lengths), device, emit)
    frames = [40, 3, 24, 1] if check.tiny else [150, 3, 104, 1]
    for name, (build, width, layers) in backends(check.tiny).items():
        torch.manual_seed(0)
        model = settled(build())
        generator = torch.Generator().manual_seed(2)
        inputs = LayerFeatures([torch.randn(len(frames), max(frames), width, generator=generator)
                                for _ in range(layers)], torch.tensor(frames))
        compare(name, model, inputs, device, emit)


def settled(model: nn.Module) -> nn.Module:
    """Batch norms with statistics of their own, so that a padded frame is not the mean by luck."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2.0)
    return model.eval()


@torch.no_grad()
def compare(name: str, model: nn.Module, inputs: Batch | LayerFeatures, device: torch.device, emit: Callable) -> None:
    """A row for each precision; an error on the device is a row too."""
    reference = outputs(model, inputs)
    on_device = copy.deepcopy(model).to(device)
    for kind in PRECISIONS:
        try:
            with precision(kind, device) as forward, forward():
                together = outputs(on_device, moved(inputs, device))
                alone = [outputs(on_device, moved(one(inputs, i), device)) for i in range(len(inputs.lengths))]
        except Exception as error:
            emit("outputs", model=name, precision=kind, verdict="FAIL",
                 words=f"{type(error).__name__}: {first_line(error)}")
            continue
        to_cpu = max(error_of(a, b) for a, b in zip(together, reference, strict=True))
        to_batch = max(error_of(a[i:i + 1, :b.shape[1]] if b.dim() == 3 else a[i:i + 1], b)
                       for i, single in enumerate(alone) for a, b in zip(together, single, strict=True))
        bound, batch_bound = (bound * (WIDER if name in CHOOSES else 1) for bound in BOUNDS[kind])
        right = to_cpu <= bound and to_batch <= batch_bound  # a NaN is not
        emit("outputs", model=name, precision=kind, to_the_CPU=to_cpu, bound=bound, batched_to_alone=to_batch,
             batch_bound=batch_bound, verdict="OK" if right else "FAIL")


def outputs(model: nn.Module, inputs: Batch | LayerFeatures) -> list[Tensor]:
    """The layers of a front-end, each (batch, frames, dim), or the embeddings (batch, dim) of a back-end."""
    if isinstance(inputs, Batch):
        return model(inputs.wav, inputs.lengths).layers
    return [model(inputs)]


def moved(inputs: Batch | LayerFeatures, device: torch.device) -> Batch | LayerFeatures:
    if isinstance(inputs, Batch):
        return inputs.to(device)
    return LayerFeatures([layer.to(device) for layer in inputs.layers], inputs.lengths.to(device))


def one(inputs: Batch | LayerFeatures, i: int) -> Batch | LayerFeatures:
    """An utterance by itself."""
    length = int(inputs.lengths[i])
    if isinstance(inputs, Batch):
        return replace(inputs, keys=inputs.keys[i:i + 1], wav=inputs.wav[i:i + 1, :length],
                       lengths=inputs.lengths[i:i + 1], labels=inputs.labels[i:i + 1])
    return LayerFeatures([layer[i:i + 1, :length] for layer in inputs.layers], inputs.lengths[i:i + 1])


def error_of(a: Tensor, b: Tensor) -> float:
    a, b = a.cpu().double(), b.cpu().double()
    return ((a - b).norm() / b.norm()).item()


def gradients(check: Check, emit: Callable) -> None:
    """bfloat16 beside float32 on the device, per part: cosine and relative length of the gradient."""
    device = torch.device(check.device)
    samples = [4000, 3200, 2000, 1000] if check.tiny else [24000, 21000, 12000, 8000]
    batch = noise(samples, device)
    for name in ("wavlm_tiny", "wavlm_large_tiny") if check.tiny else ("wavlm_base_plus", "wavlm_large"):
        detector = built_on(device, lambda: detector_on(our_frontend(find_model(name).architecture, False, **STILL)))
        detector.train()
        exact, rough = (gradients_of(detector, batch, kind, device) for kind in ("float32", "bfloat16"))
        parts = sorted({part_of(key) for key in exact}, key=natural)
        for part in parts:
            pairs = [(rough[key].double(), exact[key].double()) for key in exact if part_of(key) == part]
            both, a, b = (sum((x * y).sum().item() for x, y in products) for products in (
                pairs, [(x, x) for x, _ in pairs], [(y, y) for _, y in pairs]))
            cosine, length = both / (a * b) ** 0.5, (a / b) ** 0.5
            right = cosine >= COSINE and LENGTH[0] <= length <= LENGTH[1]
            emit("gradients", model=name, part=part, cosine=round(cosine, 4), length=round(length, 3),
                 verdict="OK" if right else "FAIL")


def gradients_of(detector: nn.Module, batch: Batch, kind: str, device: torch.device) -> dict[str, Tensor]:
    detector.zero_grad(set_to_none=True)
    with precision(kind, device) as forward:
        with forward():
            logits = detector(batch.wav, batch.lengths, batch.labels).logits
            loss = nn.functional.cross_entropy(logits.float(), batch.labels)
        loss.backward()
    return {key: value.grad.clone() for key, value in detector.named_parameters() if value.grad is not None}


def part_of(name: str) -> str:
    """`frontend.upstream.encoder.transformer.layers.3.attention...` -> `block 3`."""
    if ".transformer.layers." in name:
        return f"block {name.split('.transformer.layers.')[1].split('.')[0]}"
    for part in ("feature_extractor", "feature_projection", "pos_conv_embed"):
        if part in name:
            return part.replace("_", " ")
    return name.split(".")[0] if not name.startswith("frontend.") else "front-end's norm"


def natural(part: str) -> tuple:
    words = part.split()
    return (words[0] == "block", int(words[1]) if words[0] == "block" else 0, part)
