"""A cut encoder in the published format of pruned models, and what was cut, in numbers."""

from dataclasses import replace

import torch
from torch import nn

from wedefense.frontend.ssl.architecture import Architecture, BlockShape
from wedefense.frontend.ssl.formats.wedefense import pruned_checkpoint
from wedefense.pruning.surgery import build


def public_form(encoder: nn.Module) -> nn.Module:
    """The encoder as the published format can hold it.

    There WavLM's position bias belongs to block 0's attention and would go with it; a block 0 that lost all its
    heads gets one back that adds exactly zero.
    """
    shape = encoder.architecture
    if not shape.rel_buckets or shape.blocks[0].heads:
        return encoder
    shape = replace(shape, blocks=(BlockShape((0,), shape.blocks[0].ff_dim), *shape.blocks[1:]))
    with torch.device("meta"):
        wanted = {name: value.shape for name, value in type(encoder)(shape).state_dict().items()}
    state = encoder.state_dict()
    return build(encoder, shape, {name: state[name] if name in state else torch.zeros(size)
                                  for name, size in wanted.items()})


def public_checkpoint(encoder: nn.Module) -> dict:
    """The content of `pytorch_model.bin`: `state_dict` and `config` (of an encoder in its `public_form`)."""
    state = {name: value.detach().cpu() for name, value in encoder.state_dict().items()}
    return pruned_checkpoint(encoder.architecture, state)


def kept_units(shape: Architecture) -> dict[str, list[int]]:
    """Units that an encoder has, layer by layer."""
    kept = {} if shape.mel_bins else {"conv": [channels for channels, _, _ in shape.conv_layers]}
    return kept | {"head": [len(block.heads) for block in shape.blocks],
                   "interm": [block.ff_dim for block in shape.blocks]}
