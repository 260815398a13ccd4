"""The matrix products that nearly all of the encoder's time goes into, chosen in one place."""

import torch
import torch.nn.functional as F
from torch import Tensor


def working_dtype(weight: Tensor) -> torch.dtype:
    """The precision that products run in: autocast's where it is on, else the weights' own."""
    device = weight.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ weight.T + bias` over the last dimension."""
    return F.linear(x, weight, bias)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`gelu(x @ weight.T + bias)`."""
    return F.gelu(linear(x, weight, bias))


def strided_conv(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """Convolve over time: x (time, in), weight (out, in, kernel) -> (frames, out)."""
    image = x.t()[None, :, None, :]  # (1, in, 1, time): channels-last in memory
    frames = F.conv2d(image, weight[:, :, None, :], bias, stride=(1, stride))
    return frames[0, :, 0].t()  # (frames, out)
