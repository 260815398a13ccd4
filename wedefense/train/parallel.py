"""How one training step runs over the ranks: alone, with replicated parameters, or with sharded ones."""

import contextlib

import torch
from torch import Tensor, nn

from wedefense.data.batch import Batch
from wedefense.frontend.ssl.products import clear_derived
from wedefense.frontend.ssl.transformer import Transformer
from wedefense.train.optimizer import on_this_device
from wedefense.utils.distributed import World
from wedefense.utils.errors import InputError


class Alone:
    """One rank. Also the interface: `module` is what to call; the rest reads and writes whole states."""

    def __init__(self, step: nn.Module, world: World):
        self.module = step

    def gradients(self, wanted: bool):
        """A context for a backward pass; gradients are summed over the ranks only where `wanted`."""
        return contextlib.nullcontext()

    def before_evaluation(self, module: nn.Module) -> None:
        """Called before `module` is used outside the training step."""

    def state(self, module: nn.Module) -> dict[str, Tensor]:
        """The whole state of a part; every rank must ask for it."""
        return module.state_dict()

    def load(self, module: nn.Module, state: dict[str, Tensor]) -> None:
        module.load_state_dict(state)

    def optimizer_state(self, optimizer) -> dict:
        return optimizer.state_dict()

    def load_optimizer(self, optimizer, state: dict) -> None:
        optimizer.load_state_dict(on_this_device(state, optimizer))


class _Whole(nn.Module):
    """A step whose loss has every parameter among its inputs.

    A rank may leave some of them out (a dropped block, a layer that nobody reads), and the sum over ranks waits for
    each: it counts 0 for those, at no cost, and nothing has to search the graph.
    """

    def __init__(self, step: nn.Module):
        super().__init__()
        self.step = step

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        loss, parts = self.step(batch)
        return _OfAll.apply(loss, *(parameter for parameter in self.step.parameters()
                                    if parameter.requires_grad)), parts


class _OfAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx, loss: Tensor, *parameters: Tensor) -> Tensor:
        ctx.count = len(parameters)
        return loss.view_as(loss)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return gradient, *[None] * ctx.count


class Replicated(Alone):
    """Every rank holds every parameter (DistributedDataParallel)."""

    def __init__(self, step: nn.Module, world: World):
        device_ids = [world.device.index] if world.device.type == "cuda" else None
        # gradients lie in the memory in which they are summed, and not once more beside it
        self.module = nn.parallel.DistributedDataParallel(_Whole(step), device_ids=device_ids,
                                                          gradient_as_bucket_view=True)

    def gradients(self, wanted: bool):
        return contextlib.nullcontext() if wanted else self.module.no_sync()

    def before_evaluation(self, module: nn.Module) -> None:
        _as_on_the_first_rank(module)


class Sharded(Alone):
    """Every rank holds a share of each parameter (FSDP), for models that do not fit on one device."""

    def __init__(self, step: nn.Module, world: World):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        for module in step.detector.frontend.modules():
            if isinstance(module, Transformer):
                module.calls_dropped = True  # a rank that drops a block takes part in gathering it all the same
        mesh = init_device_mesh(world.device.type, (world.size,))
        blocks = [module for name, module in step.detector.frontend.named_modules() if _is_later_block(name)]
        for part in (*blocks, step.detector.projection, step.detector, step):
            if any(True for _ in part.parameters()):
                fully_shard(part, mesh=mesh)
        for method in ("embed", "embed_and_locate"):
            register_fsdp_forward_method(step.detector, method)
        for part in (*blocks, step):
            part.register_forward_hook(_forget)
        self.module, self.step = step, step

    def gradients(self, wanted: bool):
        self.module.set_requires_gradient_sync(wanted)
        return contextlib.nullcontext()

    def before_evaluation(self, module: nn.Module) -> None:
        clear_derived(module)  # gathered parameters come and go at the same addresses
        _as_on_the_first_rank(module)

    def state(self, module: nn.Module) -> dict[str, Tensor]:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

        state = get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
        # torch's DTensors have it, plain tensors have not
        return {name: getattr(value, "full_tensor", lambda value=value: value)() for name, value in state.items()}

    def load(self, module: nn.Module, state: dict[str, Tensor]) -> None:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        if state:  # most modes have none
            set_model_state_dict(module, state, options=StateDictOptions(full_state_dict=True))

    def optimizer_state(self, optimizer) -> dict:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict

        return get_optimizer_state_dict(self.step, optimizer,
                                        options=StateDictOptions(full_state_dict=True, cpu_offload=True))

    def load_optimizer(self, optimizer, state: dict) -> None:
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

        if state["state"]:  # plain SGD keeps none
            set_optimizer_state_dict(self.step, optimizer, on_this_device(state, optimizer),
                                     options=StateDictOptions(full_state_dict=True))


def _forget(module: nn.Module, inputs: object, output: object) -> None:
    """What products keep of a frozen encoder's weights, cast or packed, is whole on each rank, as nothing else is."""
    if not torch.compiler.is_compiling():
        clear_derived(module)


def _as_on_the_first_rank(module: nn.Module) -> None:
    """Its statistics of batches, which are those of each rank's own, as checkpoints have them."""
    for buffer in module.buffers():
        torch.distributed.broadcast(buffer, 0)


def _is_later_block(name: str) -> bool:
    """A transformer block other than the first, whose bias embedding is read from outside it."""
    parent, _, last = name.rpartition(".")
    return parent.endswith("layers") and last.isdigit() and last != "0" and "conv_layers" not in parent


def over_ranks(step: nn.Module, world: World, sharding: str, compiled: bool) -> Alone:
    if sharding == "full" and world.size == 1:
        raise InputError("sharding: full shares parameters among several ranks; name several gpus")
    kind = Alone if world.size == 1 else Sharded if sharding == "full" else Replicated
    parallel = kind(step, world)
    if compiled:
        parallel.module.compile()
    return parallel

