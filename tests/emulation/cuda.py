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
import functools
import inspect
import math
import sys
import traceback
from collections import Counter
from dataclasses import dataclass, field
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

import wedefense.gpu
from tests.emulation.engine import backward

DEVICE = torch.device("cuda", 0)
TAKEN_ALONG = 2**16  # bytes of pageable memory that a copy takes along without waiting for the stream

_READS = {"_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select", "_unique2", "unique_dim",
          "unique_consecutive", "bincount", "repeat_interleave"}  # the host needs their value or their shape
_GRADIENT_READS = {"prod", "cumprod"}  # the gradient looks for zeros
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}
_NO_SCALARS = {"cat", "stack", "mm", "addmm", "bmm", "baddbmm", "index_select", "gather", "scatter", "index_add",
               "index_copy", "index_copy_", "embedding"}  # a number on the CPU is refused as well
_FOR_THE_HOST = {"_pack_padded_sequence"}  # takes counts on the CPU and gives some
_SUMS_WIDE = {"convolution", "convolution_backward", "mm", "addmm", "bmm", "baddbmm"}  # of bfloat16, in float32
_TURNED_IN_PLACE = {"transpose_", "t_", "squeeze_", "unsqueeze_", "as_strided_"}
_ALLOCATE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


@dataclass
class Seen:
    """What happened on the device, by operation; faults by what and where."""

    faults: Counter = field(default_factory=Counter)
    launches: Counter = field(default_factory=Counter)
    bytes: Counter = field(default_factory=Counter)
    waits: list[int] = field(default_factory=list)  # for events: how many launches were queued behind each

    def check(self) -> None:
        assert not self.faults, "\n".join(f"{count} x {fault}" for fault, count in self.faults.most_common())

    def __str__(self) -> str:
        return (f"{self.launches.total():5d} launches, {self.bytes.total() / 1e6:8.1f} MB, "
                f"{self.faults.total()} faults")


class OnDevice(Tensor):
    """`held`, on the emulated device."""

    @staticmethod
    def __new__(cls, held: Tensor):
        shape = torch.empty_strided(held.shape, held.stride(), dtype=held.dtype, device="meta")
        self = Tensor._make_subclass(cls, shape, held.requires_grad, dispatch_device=True,
                                     device_for_backend_keys=DEVICE)
        self.held = held.detach()
        return self

    device, is_cuda, is_cpu = DEVICE, True, False
    __torch_function__ = torch._C._disabled_torch_function_impl

    def record_stream(self, stream) -> None:
        """Memory that nobody else is given needs no note of who uses it."""

    def tolist(self) -> list:
        Emulation.current.fault("tolist")
        return self.held.tolist()

    def __repr__(self) -> str:
        return f"OnDevice({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return Emulation.current.run(func, args, kwargs or {})


class Emulation(TorchDispatchMode):
    """Runs every operation on what its tensors hold, and writes down what a device would have done."""

    current: "Emulation"
    device = DEVICE

    def __init__(self):
        super().__init__()
        self.seen: Seen | None = None
        self.locked: dict[int, Tensor] = {}  # page-locked memory by address, kept alive so that none is used again

    @contextlib.contextmanager
    def watch(self):
        self.seen = Seen()
        try:
            yield self.seen
        finally:
            self.seen = None

    def fault(self, what: str) -> None:
        if self.seen is not None:
            self.seen.faults[f"{what} in {_place()}"] += 1

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return self.run(func, args, kwargs or {})

    def run(self, func, args, kwargs):
        if func is torch.ops.prim.device.default:
            return DEVICE
        name, works = _kind(func)
        operands = _tensors((args, kwargs))
        ours = [a for a in operands if isinstance(a, OnDevice)]
        target = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        here = bool(ours) if target is None else target.type == "cuda"
        if self.seen is not None and (here or ours):
            self._judge(name, func, args, kwargs, operands, ours, here)
        locks = name == "_pin_memory" or bool(kwargs.get("pin_memory")) and not here
        if name == "is_pinned":
            return self._is_locked(args[0])
        plain = _on_cpu(kwargs)
        bare = _each(_held, args)
        out = args[0].clone() if name == "_pin_memory" else _compute(func, name, bare, plain)
        if locks:
            self.locked[out.untyped_storage().data_ptr()] = out
        if name in _TURNED_IN_PLACE and ours:
            with torch._C._DisableTorchDispatch():  # its outside follows
                func(*args, **kwargs)
        if self.seen is not None and here and works:
            self.seen.launches[name] += 1
            self.seen.bytes[name] += sum(t.numel() * t.element_size() for t in _tensors((bare, plain, out)))
        if not here:
            return out
        if name in _FOR_THE_HOST:
            return OnDevice(out[0]), out[1]
        known = {id(one.held): one for one in ours}  # what works in place gives back its operand
        return _each(lambda x: known[id(x)] if id(x) in known else OnDevice(x), out)

    def _judge(self, name, func, args, kwargs, operands, ours, here) -> None:
        others = [a for a in operands if not isinstance(a, OnDevice) and a.device.type == "cpu"]
        if name == "_to_copy" or name == "copy_" and others:
            self._judge_copy(args[-1] if name == "copy_" else args[0], args[0], name, args, kwargs, here)
        elif name in _READS:
            self.fault(name)
        elif name in _GRADIENT_READS and torch.is_grad_enabled() and args[0].is_floating_point():
            self.fault(f"gradient of {name}")
        elif name in _INDEXED:
            for index in (i for i in args[1] if i is not None):
                if index.dtype in (torch.bool, torch.uint8):
                    self.fault(f"{name} by a mask")
                elif not isinstance(index, OnDevice):
                    self.fault(f"{name} by an index on the CPU")
        elif name not in _FOR_THE_HOST and any(a.dim() or name in _NO_SCALARS for a in others):
            self.fault(f"{name} of tensors on two devices")

    def _judge_copy(self, source, target, name, args, kwargs, here) -> None:
        if name == "copy_":
            source, blocks = args[1], not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
            here = isinstance(target, OnDevice)
        else:
            blocks = not kwargs.get("non_blocking", False)
        if isinstance(source, OnDevice) == here:
            return
        host = source if here else target if name == "copy_" else None
        pageable = host is not None and not self._is_locked(host)
        if blocks or pageable and (not here or host.numel() * host.element_size() > TAKEN_ALONG):
            self.fault(f"{'blocking' if blocks else 'pageable'} copy to the {'device' if here else 'host'}")

    def _is_locked(self, tensor: Tensor) -> bool:
        return not isinstance(tensor, OnDevice) and tensor.untyped_storage().data_ptr() in self.locked


def _compute(func, name: str, args, kwargs):
    if name == "view":  # on the CPU some results have other strides
        return args[0].reshape(args[1])
    if name == "_pack_padded_sequence":
        data, sizes = func(*args, **kwargs)
        return data.contiguous(), sizes
    if name == "mm" and len(args) > 2:  # bfloat16 to float32, which a CPU has not
        return torch.mm(args[0].float(), args[1].float())
    if name in _SUMS_WIDE and args[0].dtype == torch.bfloat16:
        wide = _each(lambda x: x.float() if x.dtype == torch.bfloat16 else x, args)
        if "out" in kwargs:
            return kwargs["out"].copy_(getattr(torch, name)(*wide))
        return _each(lambda x: x.bfloat16(), func(*wide, **kwargs))
    return func(*args, **kwargs)


def _held(x: Tensor) -> Tensor:
    return x.held if isinstance(x, OnDevice) else x


def _each(change, x):
    """`change` of every tensor in x, a tensor or what holds some."""
    if isinstance(x, Tensor):
        return change(x)
    return type(x)([_each(change, part) for part in x]) if isinstance(x, (list, tuple)) else x


def _tensors(x) -> list[Tensor]:
    if isinstance(x, Tensor):
        return [x]
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _on_cpu(kwargs: dict) -> dict:
    plain = {key: _each(_held, value) for key, value in kwargs.items() if key != "pin_memory"}
    return plain | {"device": torch.device("cpu")} if plain.get("device") is not None else plain


@functools.cache
def _kind(func) -> tuple[str, bool]:
    """An operation's name, and whether it runs a kernel."""
    name = func._schema.name.split("::")[1]
    views = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
    return name, not (views or name in _ALLOCATE | _TURNED_IN_PLACE | {"_unsafe_view", "_local_scalar_dense"})


def _place() -> str:
    """The nearest line of the project."""
    stack = [frame for frame in traceback.extract_stack() if "/wedefense/" in frame.filename]
    if not stack:
        return "the backward pass, or a library"
    return f"{stack[-1].filename.rsplit('/wedefense/')[-1]}:{stack[-1].lineno}: {stack[-1].line}"


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

    def synchronize(self) -> None:
        pass


def _launched(plain):
    """A kernel of Triton's on the emulated device: the interpreter runs it on what the tensors hold."""
    def launch(executor, *args, **kwargs):
        given = [tensor for tensor in _tensors((args, kwargs))]
        here = any(isinstance(tensor, OnDevice) for tensor in given)
        if here and Emulation.current.seen is not None:
            for tensor in given:
                if not isinstance(tensor, OnDevice):
                    Emulation.current.fault(f"{executor.fn.__name__} reads the host's memory")
            Emulation.current.seen.launches[executor.fn.__name__] += 1
            Emulation.current.seen.bytes[executor.fn.__name__] += sum(t.numel() * t.element_size() for t in given)
        with _disable_current_modes():
            return plain(executor, *_each(_held, args), **{key: _each(_held, value) for key, value in kwargs.items()})
    return launch


_HARDWARE = {
    "is_available": lambda: True, "_lazy_init": lambda: None, "current_device": lambda: 0, "Event": _Event,
    "Stream": _Stream, "current_stream": _Stream, "stream": lambda stream: contextlib.nullcontext(),
    "get_device_name": lambda device=None: "emulated",
    "is_bf16_supported": lambda **_: True, "is_current_stream_capturing": lambda: False,
    "set_device": lambda device: None, "get_rng_state": lambda device=None: torch.get_rng_state(),
    "set_rng_state": lambda state, device=None: torch.set_rng_state(state)}


def _forget_what_is_on_devices() -> None:
    """What the package keeps on a device by that device's name: neither ours nor a real one's may serve the other."""
    for name, module in list(sys.modules.items()):
        for kept in list(vars(module).values()) if name.startswith("wedefense.") else ():
            if hasattr(kept, "cache_clear") and "device" in inspect.signature(kept).parameters:
                kept.cache_clear()


@contextlib.contextmanager
def emulated_cuda(kernels: bool = False):
    """-> the `Emulation`; inside, `cuda` is a device like any other. Use one at a time.

    `kernels`: it runs the kernels of `wedefense.gpu`, else the plain code that they stand for.
    """
    torch._C._ensureCUDADeviceGuardSet()
    with contextlib.ExitStack() as patches:
        _forget_what_is_on_devices()
        patches.callback(_forget_what_is_on_devices)
        patches.enter_context(mock.patch.object(wedefense.gpu, "_capable", lambda device: kernels))
        patches.callback(torch.backends.cuda.enable_cudnn_sdp, torch.backends.cuda.cudnn_sdp_enabled())
        for switch in (torch.backends.cuda.matmul, torch.backends.cudnn):  # a trainer sets them for the process
            patches.callback(setattr, switch, "allow_tf32", switch.allow_tf32)
        if kernels:
            from triton.runtime.interpreter import GridExecutor

            patches.enter_context(mock.patch.object(GridExecutor, "__call__", _launched(GridExecutor.__call__)))
        for name, value in _HARDWARE.items():
            patches.enter_context(mock.patch.object(torch.cuda, name, value))
        patches.enter_context(mock.patch.object(torch.autograd, "backward", backward))
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
        Emulation.current = emulation = Emulation()
        patches.enter_context(emulation)
        yield emulation
