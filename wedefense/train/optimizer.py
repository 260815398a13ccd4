"""The optimiser that a config names."""

from typing import Any

import torch

from wedefense.config.train import OPTIMIZERS

_FUSED_ON_GPU = ("Adam", "AdamW", "SGD")  # whose whole step is one kernel for many parameters
_OWN_WAY = ("fused", "foreach", "differentiable", "capturable")


def build_optimizer(name: str, options: Any, groups: list[dict]) -> torch.optim.Optimizer:
    """Its learning rates are 0: the schedule sets them before each step.

    Those of PyTorch take `options` as keyword arguments. Where every parameter is of floating point and on a GPU the
    step is fused, unless they say how it is to be done.
    """
    made = OPTIMIZERS.load(name)
    if not isinstance(options, dict):
        return made(options, groups)
    parameters = [parameter for group in groups for parameter in group["params"]]
    on_gpu = all(parameter.is_cuda and parameter.is_floating_point() for parameter in parameters)
    if on_gpu and name in _FUSED_ON_GPU and not set(_OWN_WAY) & options.keys():
        options = options | {"fused": True}
    return made(groups, lr=0.0, **options)


def on_this_device(state: dict, optimizer: torch.optim.Optimizer) -> dict:
    """A state to load, its steps to be computed as `optimizer` does, not as the device that the state comes from."""
    groups, own = state["param_groups"], optimizer.param_groups
    if len(groups) != len(own):
        return state  # of another kind of training, as PyTorch will say
    return {**state, "param_groups": [group | {way: here[way] for way in _OWN_WAY if way in here}
                                      for group, here in zip(groups, own)]}
