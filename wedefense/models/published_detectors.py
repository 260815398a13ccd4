"""Whole detectors of authors under a detector's names: each form of theirs is told by its tensors.

A class of theirs is 1 where the recording is bona fide, ours 0: the rows of the output layer change places. Encoders
keep fairseq's or transformers' names, which the front-end reads.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Naming:
    encoder: str              # before the names of its encoder's tensors
    told_by: tuple[str, ...]  # how names of tensors begin that are beside it
    output: str               # its output layer, before .weight and .bias
    inner: str = ""           # before the names of its back-end's tensors
    idle: tuple[str, ...] = ()  # parts of names of tensors that take no part
    layer: str = "linear"     # what the output layer is called in our head

    def beside_the_encoder(self, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Back-end and head, of tensors with bare names."""
        for name, tensor in tensors.items():
            if name.startswith(self.encoder) or any(part in name for part in self.idle):
                continue
            if name.startswith(f"{self.output}."):
                yield f"projection.{self.layer}{name.removeprefix(self.output)}", tensor.flip(0)
            else:
                yield f"backend.{name.removeprefix(self.inner)}", tensor

    def own(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All of a file, under a detector's names."""
        tensors = bare(weights)
        encoder = {f"frontend.upstream.{name.removeprefix(self.encoder)}": tensor
                   for name, tensor in tensors.items() if name.startswith(self.encoder)}
        return encoder | dict(self.beside_the_encoder(tensors))


RAPTOR = Naming("ssl_model.", ("attn_scores.", "conformer."), "conformer.fc5", idle=("conformer.positional_emb",))
AASIST = Naming("ssl_model.model.", ("GAT_layer_", "HtrgGAT_layer_", "pos_S", "LL."), "out_layer", idle=(".0.bn1.",))
NES2NET = Naming("ssl_model.model.", ("Nested_Res2Net_TDNN.",), "Nested_Res2Net_TDNN.fc", inner="Nested_Res2Net_TDNN.")
SLS = Naming("ssl_model.model.", ("fc0.", "fc1.", "fc3.", "first_bn."), "fc3", layer="fc3")
ANTIDEEPFAKE = Naming("m_ssl.model.", ("proj_fc.",), "proj_fc")
NAMINGS = (RAPTOR, AASIST, NES2NET, SLS, ANTIDEEPFAKE)  # the special before the general


def naming_of(content: object) -> Naming | None:
    """Which form a file is meant as: its encoder's prefix, and beside it a tensor that no form before it has."""
    if not isinstance(content, Mapping):
        return None
    names = bare(content)
    for naming in NAMINGS:
        if all(any(name.startswith(start) for name in names) for start in (naming.encoder, naming.told_by)):
            return naming
    return None


def bare(content: Mapping) -> dict[str, Tensor]:
    """Without what wrappers put before names."""
    return {str(name).removeprefix("module.").removeprefix("backbone."): value for name, value in content.items()}
