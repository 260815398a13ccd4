"""Adapters: small parts that are trained in the place of a pretrained encoder's own weights."""

from dataclasses import dataclass, fields
from typing import Literal

from wedefense.utils.checks import fraction, positive, within
from wedefense.utils.errors import OptionError

Product = Literal["q_proj", "k_proj", "v_proj", "out_proj", "intermediate_dense", "output_dense"]
MOST = 4096  # of a rank, and of the units of a bottleneck


@dataclass(frozen=True)
class AdapterOptions:
    """With a type other than none the encoder's own weights stay as they are, and beside them are trained:

    lora: for products of a block a change of low rank, weight + alpha / r * up @ down (Hu et al., ICLR 2022).
    bottleneck: after each of a block's two sums a detour x + up(gelu(down(x))) (Houlsby et al., ICML 2019).

    All begin as no change at all.
    """

    type: Literal["none", "lora", "bottleneck"] = "none"
    layers: tuple[int, ...] | None = None  # blocks that have them, from 0; null: all
    r: int = 8                             # of lora: the rank
    alpha: float = 16.0                    # of lora: what it adds is scaled by alpha / r
    rank_stabilised: bool = False          # of lora: by alpha / sqrt(r) instead (Kalajdzievski, 2023)
    dora: bool = False                     # of lora: the length of each row is learnt apart (DoRA, ICML 2024)
    dropout: float = 0.0                   # of lora: of what it multiplies, in training
    targets: tuple[Product, ...] = ("q_proj", "v_proj")  # of lora: these products
    dim: int = 64                          # of bottleneck: its units
    norms: bool = False                    # train the layer norms of these blocks too
    path: str | None = None                # of lora: a folder of Hugging Face's PEFT whose adapter training begins as

    def __post_init__(self):
        within(self, 1, MOST, "r", "dim")
        within(self, 0, 1e6, "alpha")
        positive(self, "alpha")
        fraction(self, "dropout")
        if self.dropout == 1:
            raise OptionError("dropout", "must be below 1, where nothing is left to learn from")
        if self.layers is not None:
            if not self.layers or len(set(self.layers)) < len(self.layers) or min(self.layers) < 0:
                raise OptionError("layers", f"name blocks from 0, each once, or null for all; got {list(self.layers)}")
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise OptionError("targets", f"name products, each once; got {list(self.targets)}")
        if self.dora and self.dropout:
            raise OptionError("dropout", "DoRA scales the changed weight as a whole, which nothing drops out of; set "
                                         "dropout: 0.0, or dora: False")
        if self.path and self.type != "lora":
            raise OptionError("path", "names an adapter of low rank; set type: lora")

    @property
    def wanted(self) -> bool:
        return self.type != "none"

    @property
    def idle(self) -> set[str]:
        """Options that say nothing with this type."""
        of_lora = {"r", "alpha", "rank_stabilised", "dora", "dropout", "targets", "path"}
        return {"none": of_lora | {"dim", "layers", "norms"}, "lora": {"dim"}, "bottleneck": of_lora}[self.type]

    @property
    def scale(self) -> float:
        """Of what low rank adds."""
        return self.alpha / (self.r ** 0.5 if self.rank_stabilised else self.r)

    def computes_as(self, other: "AdapterOptions") -> bool:
        """Whether the same tensors are the same adapter under both."""
        free = self.idle | {"path", "dropout", "norms"}
        return all(getattr(self, field.name) == getattr(other, field.name) for field in fields(self)
                   if field.name not in free)

    def in_words(self) -> str:
        """For a table."""
        where = "all blocks" if self.layers is None else f"blocks {', '.join(map(str, self.layers))}"
        norms = ", and their layer norms" if self.norms else ""
        if self.type == "bottleneck":
            return f"bottlenecks of {self.dim} units in {where}{norms}"
        kind = "DoRA" if self.dora else "LoRA"
        return f"{kind} of rank {self.r}, scale {self.scale:g}, on {', '.join(self.targets)} of {where}{norms}"
