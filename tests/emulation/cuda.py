"""A CUDA device that is none: tensors that claim to live on `cuda:0` while a CPU computes their values.

    with emulated_cuda() as cuda:
        module.to(cuda.device)
        with cuda.watch() as seen:
            module(wav.to(cuda.device, non_blocking=True))
        seen.check()    # nobody waited, no operation met tensors of two devices
        print(seen)     # launches and bytes

What makes the host wait for a GPU, and what a GPU refuses, is a fault here: copies to the host, values read by
Python, shapes that depend on values, indices and operands on the CPU, copies to the device that block or that lie in
pageable memory beyond what a driver takes along with the command. Launches are operations that run a kernel of their
own, one each, however many kernels a library makes of them.
"""

import contextlib
import inspect
import math
import sys
from types import SimpleNamespace
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.utils._python_dispatch import _disable_current_modes

import wedefense.gpu
from tests.emulation.device import Emulation, OnDevice, each, held, tensors
from tests.emulation.engine import backward, grad, set_materialize_grads
from tests.emulation.recording import Recording, recorded
from wedefense.gpu.graphs import Graphs

# compute capability -> KiB of shared memory that one program may have
SHARED = {80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 103: 227, 120: 99}


class _Emulated(torch.autograd.Function):
    """One launch forward and three back of a function that PyTorch chooses by the hardware that it finds."""

    @staticmethod
    def forward(ctx, name, function, *operands):
        ctx.set_materialize_grads(False)
        seen = Emulation.current.seen
        with _disable_current_modes(), torch.enable_grad():
            inputs = [x.held.detach().requires_grad_(x.is_floating_point()) if isinstance(x, OnDevice) else x
                      for x in operands]
            outputs = function(*inputs)
        if seen is not None:
            seen.launches[name] += 1
        ctx.graph = name, [x for x in inputs if isinstance(x, Tensor) and x.requires_grad], outputs
        ctx.places = [isinstance(x, Tensor) and x.requires_grad for x in inputs]
        return tuple(OnDevice(x.detach()) for x in outputs)

    @staticmethod
    def backward(ctx, *grads):
        name, inputs, outputs = ctx.graph
        if Emulation.current.seen is not None:
            Emulation.current.seen.launches[f"{name} backward"] += 3
        pairs = [(out, grad.held) for out, grad in zip(outputs, grads) if grad is not None]
        with _disable_current_modes():
            found = iter(torch.autograd.grad([p[0] for p in pairs], inputs, [p[1] for p in pairs], allow_unused=True))
        return None, None, *((OnDevice(g) if (g := next(found)) is not None else None) if place else None
                             for place in ctx.places)


def _attention(plain):
    def attention(q, k, v, attn_mask=None, dropout_p=0.0, **options):
        if not isinstance(q, OnDevice):
            return plain(q, k, v, attn_mask=attn_mask, dropout_p=dropout_p, **options)
        assert attn_mask is None or attn_mask.dtype in (torch.bool, q.dtype), "CUDA's kernels take no other mask"
        return _Emulated.apply("attention", lambda q, k, v, mask: (
            plain(q, k, v, attn_mask=mask, dropout_p=dropout_p, **options),), q, k, v, attn_mask)[0]
    return attention


def _lstm(plain):
    def lstm(data, *given):
        if not isinstance(data, OnDevice):
            return plain(data, *given)
        *sizes, state, weights = given[:3] if isinstance(given[0], Tensor) else given[:2]
        assert not any(isinstance(part, OnDevice) for part in sizes), "an LSTM takes the sizes of its steps on the CPU"
        options, operands = given[len(sizes) + 2:], [data, *state, *weights]
        if torch.is_autocast_enabled("cuda"):
            operands = [x.to(torch.get_autocast_dtype("cuda")) for x in operands]
        return _Emulated.apply("lstm", lambda data, h, c, *weights: plain(data, *sizes, (h, c), weights, *options),
                               *operands)
    return lstm


class _Event:
    """Has passed once more work has been queued behind it; waited for at once, the device runs dry."""

    def __init__(self, *args, **kwargs):
        self.at = math.inf

    @staticmethod
    def _now() -> int:
        return Emulation.current.seen.launches.total() if Emulation.current.seen else 0

    def record(self, stream=None) -> None:
        self.at = self._now()

    def query(self) -> bool:
        return self._now() > self.at

    def synchronize(self) -> None:
        if Emulation.current.seen is not None:
            Emulation.current.seen.waits.append(self._now() - self.at)
        if not self.query():
            Emulation.current.fault("wait for an event with nothing queued behind it")


class _Stream:
    """Beside the one that computes; what is queued there has always arrived."""

    def __init__(self, *args, **kwargs):
        pass

    def record_event(self) -> "_Stream":
        return self

    def wait_event(self, event) -> None:
        pass

    def wait_stream(self, stream) -> None:
        pass

    def synchronize(self) -> None:
        pass


def launched(plain, sizes: bool):
    """A kernel of Triton's on the emulated device: the interpreter runs it on what the tensors hold, unless they hold
    nothing."""
    def launch(kernel, *args, grid, warmup, **kwargs):
        given = tensors((args, kwargs))
        if Emulation.current.seen is not None and any(isinstance(tensor, OnDevice) for tensor in given):
            from tests.emulation.programs import note

            note(kernel, args, kwargs, Emulation.current)
        if sizes:
            return None
        bare = each(held, args), {key: each(held, value) for key, value in kwargs.items()}

        def run(*args, **kwargs):
            with _disable_current_modes():
                return plain(kernel, *args, grid=grid, warmup=warmup, **kwargs)

        if Emulation.current.recording is not None:
            Emulation.current.recording.launch(run, *bare)
        return run(*bare[0], **bare[1])
    return launch


HARDWARE = {
    "is_available": lambda: True, "_lazy_init": lambda: None, "current_device": lambda: 0, "Event": _Event,
    "Stream": _Stream, "current_stream": _Stream, "stream": lambda stream: contextlib.nullcontext(),
    "device": lambda device: contextlib.nullcontext(),
    "get_device_name": lambda device=None: "emulated",
    "is_bf16_supported": lambda **_: True, "is_current_stream_capturing": lambda: False,
    "set_device": lambda device: None, "get_rng_state": lambda device=None: torch.get_rng_state(),
    "set_rng_state": lambda state, device=None: torch.set_rng_state(state)}
_RECORDING = (
    (torch.cuda, "CUDAGraph", Recording), (torch.cuda, "graph", recorded), (torch.autograd, "grad", grad))


def forget_what_is_on_devices() -> None:
    """What the package keeps on a device by that device's name: neither ours nor a real one's may serve the other."""
    for name, module in list(sys.modules.items()):
        for kept in list(vars(module).values()) if name.startswith("wedefense.") else ():
            if hasattr(kept, "cache_clear") and "device" in inspect.signature(kept).parameters:
                kept.cache_clear()


@contextlib.contextmanager
def emulated_cuda(kernels: bool = False, sizes: bool = False, capability: int = 90, records: bool = False):
    """-> the `Emulation`; inside, `cuda` is a device like any other. Use one at a time.

    `kernels`: it runs the kernels of `wedefense.gpu`, else the plain code that they stand for. `sizes`: its tensors
    have sizes and no values, so that models of any size take no time; with kernels' launches noted and not run.
    `capability`: 90 for that of an H100. `records`: what a GPU would play back is recorded and played back here too;
    else it is launched each time, and counted.
    """
    torch._C._ensureCUDADeviceGuardSet()
    with contextlib.ExitStack() as patches:
        forget_what_is_on_devices()
        patches.callback(forget_what_is_on_devices)
        patches.enter_context(mock.patch.object(wedefense.gpu, "_capable", lambda device: kernels))
        patches.callback(torch.backends.cuda.enable_cudnn_sdp, torch.backends.cuda.cudnn_sdp_enabled())
        for switch in (torch.backends.cuda.matmul, torch.backends.cudnn):  # a trainer sets them for the process
            patches.callback(setattr, switch, "allow_tf32", switch.allow_tf32)
        if kernels:
            from wedefense.gpu.norm_kernels import gelu_kernel

            launcher = type(gelu_kernel)  # Triton's own, or that of its interpreter
            patches.enter_context(mock.patch.object(launcher, "run", launched(launcher.run, sizes)))
        of_card = {"get_device_capability": lambda device=None: divmod(capability, 10),
                   "get_device_properties": lambda device=None: SimpleNamespace(
                       shared_memory_per_block_optin=1024 * SHARED[capability])}
        for name, value in (HARDWARE | of_card).items():
            patches.enter_context(mock.patch.object(torch.cuda, name, value))
        if records:
            for place, name, new in _RECORDING:
                patches.enter_context(mock.patch.object(place, name, new))
        else:
            patches.enter_context(mock.patch.object(Graphs, "_record", lambda self, encoder, wav, layers, *_: (
                lambda wav, drops: list(layers(wav)))))
        patches.enter_context(mock.patch.object(torch.autograd, "backward", backward))
        patches.enter_context(mock.patch.object(FunctionCtx, "set_materialize_grads", set_materialize_grads))
        patches.enter_context(mock.patch.object(torch._C, "_current_graph_task_id", lambda: 0))  # for checkpoints
        patches.enter_context(mock.patch.object(F, "scaled_dot_product_attention",
                                                _attention(F.scaled_dot_product_attention)))
        patches.enter_context(mock.patch.object(torch._VF, "lstm", _lstm(torch._VF.lstm), create=True))
        patches.enter_context(torch.backends.cudnn.flags(enabled=False))  # it would look for the hardware
        patches.callback(torch.__future__.set_overwrite_module_params_on_conversion,
                         torch.__future__.get_overwrite_module_params_on_conversion())
        torch.__future__.set_overwrite_module_params_on_conversion(True)  # a tensor of ours keeps its class
        patches.callback(torch._C._set_only_lift_cpu_tensors, torch._C._only_lift_cpu_tensors())
        torch._C._set_only_lift_cpu_tensors(True)  # tensors of Python numbers begin on the CPU, in sight
        Emulation.current = emulation = Emulation(sizes)
        patches.enter_context(emulation)
        yield emulation
