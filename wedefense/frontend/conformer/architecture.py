"""What distinguishes one Conformer from another, as values."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ConformerArchitecture:
    """Mel bands, convolutions that shorten time, blocks. Defaults are those of NeMo's Conformer-CTC large."""

    family: Literal["conformer"] = "conformer"
    num_blocks: int = 18
    dim: int = 512
    heads: int = 8
    ff_dim: int = 2048
    kernel: int = 31                 # of the convolution over time in a block
    conv_norm: Literal["batch_norm", "layer_norm"] = "batch_norm"
    bias: bool = True
    scaled_input: bool = True        # what enters the first block is multiplied by the root of dim
    shortening: Literal["striding", "dw_striding"] = "striding"  # dw: all but the first convolution depthwise
    shorter: int = 4                 # mel frames for one frame
    shortening_channels: int = 512
    mel_bins: int = 80
    n_fft: int = 512
    window: int = 400                # samples
    hop: int = 160                   # samples
    normalized: bool = True          # each band to mean 0 and deviation 1 over an utterance
    dither: float = 1e-5
    dropout: float = 0.1
    dropout_input: float = 0.1
    dropout_attention: float = 0.1

    @property
    def stride(self) -> int:
        """Samples from one frame to the next."""
        return self.hop * self.shorter


LARGE = ConformerArchitecture()
FAST_LARGE = ConformerArchitecture(kernel=9, shortening="dw_striding", shorter=8, shortening_channels=256)
