"""The optimiser that a config names."""

import torch

_FUSED_ON_GPU = ("Adam", "AdamW", "SGD")  # whose whole step is one kernel for many parameters
_OWN_WAY = ("fused", "foreach", "differentiable", "capturable")


def build_optimizer(name: str, arguments: dict, groups: list[dict]) -> torch.optim.Optimizer:
    """Its learning rates are 0: the schedule sets them before each step.

    Where every parameter is of floating point and on a GPU the step is fused, unless the `arguments` say how it is to
    be done.
    """
    parameters = [parameter for group in groups for parameter in group["params"]]
    on_gpu = all(parameter.is_cuda and parameter.is_floating_point() for parameter in parameters)
    if on_gpu and name in _FUSED_ON_GPU and not set(_OWN_WAY) & arguments.keys():
        arguments = arguments | {"fused": True}
    return getattr(torch.optim, name)(groups, lr=0.0, **arguments)
