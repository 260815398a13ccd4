"""What every front-end is, whoever wrote it."""

from collections.abc import Iterable
from typing import Protocol

from torch import Tensor

from wedefense.frontend.features import LayerFeatures, Lengths
from wedefense.frontend.ssl.architecture import Architecture


class Frontend(Protocol):
    """A module made by `Class(options, sample_rate)`; what holds before that stands in its row of `FRONTENDS`."""

    feat_dim: int                      # features of a frame, the same in every layer
    num_layers: int                    # layers that come out
    frame_shift: float                 # ms from one frame to the next
    min_samples: int                   # of the shortest audio that it makes a frame of
    architecture: Architecture | None  # of a native encoder, which is `upstream`, and can be built from it alone

    def __call__(self, wav: Tensor, lengths: Lengths) -> LayerFeatures:
        """wav (batch, samples), lengths on the host -> num_layers of (batch, frames, feat_dim)"""


class Served(Protocol):
    """What the class of a front-end says of models, where its row is not `self_contained`."""

    @staticmethod
    def serves(name: str) -> bool:
        """Whether a name, path, hub id or URL is of a model that it runs."""

    @staticmethod
    def is_native(name: str) -> bool:
        """Whether the model of that name runs in an encoder of this toolkit, which its architecture alone can build."""

    @staticmethod
    def model_names() -> Iterable[str]:
        """Names to choose from."""

    @staticmethod
    def summary(name: str, download_dir: str | None) -> dict[str, str]:
        """What a model is, as `wedefense info` prints it."""
