"""Checkpoints of the authors of localisers under a detector's names; their class 1 is bona fide, ours class 0.

Encoders keep fairseq's and s3prl's names, which the front-end reads. Tensors that no forward looks at are dropped.
"""

from collections.abc import Mapping

from torch import Tensor

BAM_MS = 160
_ENCODERS = ("extracter.model.", "ssl_layer.model.")  # of PartialSpoof's authors, of BAM's
_UNUSED = ("input_mean", "input_std", "output_mean", "output_std", "intra_layer.resnet.downsample.")


def is_published(weights: Mapping[str, Tensor]) -> bool:
    """Whether this is a state dict of PartialSpoof's multi-resolution gMLP or of BAM, as their authors' code has it."""
    names = set(map(_bare, weights))
    return {"out_layer.weight", "b_output_layer.0.weight"} <= names or any(
        name.startswith("m_angle_scales.") for name in names)


def _bare(name: str) -> str:
    return name.removeprefix("module.").removeprefix("model.")


def from_published(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain = {_bare(name): tensor for name, tensor in weights.items()}
    own: dict[str, Tensor] = {}
    for name, tensor in plain.items():
        encoder = next((start for start in _ENCODERS if name.startswith(start)), None)
        if name.startswith(_UNUSED):
            continue
        if encoder:
            own["frontend.upstream." + name.removeprefix(encoder)] = tensor
        elif name.startswith("m_angle_scales."):
            _, tens_of_ms, _ = name.split(".")
            own[f"localizer.heads.{tens_of_ms}0.weight"] = tensor.T.flip(0)
        elif name == "weight_hidd":
            own["backend.layer_sum.weights"] = tensor  # 30, of which the authors read as many as there are layers
        elif name.startswith("out_layer."):
            own[f"localizer.heads.{BAM_MS}.linear.{name.removeprefix('out_layer.')}"] = tensor.flip(0)
        else:
            own["backend." + name.removeprefix("m_transform.0.")] = tensor
    scales = [int(name.split(".")[1]) for name in plain if name.startswith("m_angle_scales.")]
    if scales:  # utterances are scored by the cosines of the coarsest segments
        own["projection.weight"] = own[f"localizer.heads.{max(scales)}0.weight"]
    return own
