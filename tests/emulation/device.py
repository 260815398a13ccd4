"""Tensors that claim to live on `cuda:0`, and what runs the operations on them; see `cuda.py`."""

import contextlib
import functools
import traceback
from collections import Counter
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

DEVICE, CPU = torch.device("cuda", 0), torch.device("cpu")
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
_MAKE = {"new_zeros", "new_ones", "new_full", "zeros_like", "ones_like", "full_like"}  # and do not read the other
ALLOCATE = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


@dataclass
class Seen:
    """What happened on the device, by operation; faults by what and where."""

    faults: Counter = field(default_factory=Counter)
    launches: Counter = field(default_factory=Counter)
    bytes: Counter = field(default_factory=Counter)
    waits: list[int] = field(default_factory=list)  # for events: how many launches were queued behind each
    flops: Counter = field(default_factory=Counter)  # of products: multiplications and additions
    programs: Counter = field(default_factory=Counter)  # of Triton, each compiled when it comes first: launches

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

    def data_ptr(self) -> int:
        return self.held.data_ptr()

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

    def __init__(self, sizes: bool = False):
        super().__init__()
        self.memory = torch.device("meta" if sizes else "cpu")  # where what the device's tensors hold lies
        self.seen: Seen | None = None
        self.recording = None  # what the device is told now, see `recording.py`
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
        operands = tensors((args, kwargs))
        ours = [a for a in operands if isinstance(a, OnDevice)]
        target = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        here = bool(ours) if target is None else target.type == "cuda"
        if self.seen is not None and (here or ours):
            self._judge(name, func, args, kwargs, operands, ours, here)
        if self.recording is not None:
            self._refuse_in_recording(name, operands, ours, here)
        locks = name == "_pin_memory" or bool(kwargs.get("pin_memory")) and not here
        if name == "is_pinned":
            return self._is_locked(args[0])
        plain = _elsewhere(kwargs, self.memory if here else CPU)
        bare = each(held, args)
        with self._recorded_as_one():
            out = args[0].clone() if name == "_pin_memory" else compute(func, name, bare, plain)
        if locks:
            self.locked[out.untyped_storage().data_ptr()] = out
        if self.recording is not None and here:
            self.recording.operation(func, name, bare, plain, out)
        if name in _TURNED_IN_PLACE and ours:
            with torch._C._DisableTorchDispatch():  # its outside follows
                func(*args, **kwargs)
        if self.seen is not None and here and works:
            self.seen.launches[name] += 1
            touched = out if name in _MAKE else (bare, plain, out, _written(func, bare))
            self.seen.bytes[name] += sum(t.numel() * t.element_size() for t in tensors(touched))
            self.seen.flops[name] += _flops(func, bare, out)
        if not here:
            return out
        if name in _FOR_THE_HOST:
            return OnDevice(out[0]), out[1]
        known = {id(one.held): one for one in ours}  # what works in place gives back its operand
        return each(lambda x: known[id(x)] if id(x) in known else OnDevice(x), out)

    @contextlib.contextmanager
    def _recorded_as_one(self):
        """What an operation of ours launches is no command of its own."""
        recording, self.recording = self.recording, None
        try:
            yield
        finally:
            self.recording = recording

    def _refuse_in_recording(self, name: str, operands: list, ours: list, here: bool) -> None:
        across = name in ("copy_", "_to_copy") and (len(ours) < len(operands) or bool(ours) != here)
        if ours and (name in _READS or across) or here and across:
            raise RuntimeError(f"{name} while a stream records, in {_place()}")

    def _judge(self, name, func, args, kwargs, operands, ours, here) -> None:
        others = [a for a in operands if not isinstance(a, OnDevice) and a.device == CPU]
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


def compute(func, name: str, args, kwargs):
    if name == "view" and not isinstance(args[1], torch.dtype):  # on the CPU some results have other strides
        return args[0].reshape(args[1])
    if name == "_pack_padded_sequence":
        data, sizes = func(*args, **kwargs)
        return data.contiguous(), sizes
    if name == "mm" and len(args) > 2:  # bfloat16 to float32, which a CPU has not
        return torch.mm(args[0].float(), args[1].float())
    if name in _SUMS_WIDE and args[0].dtype == torch.bfloat16:
        wide = each(lambda x: x.float() if x.dtype == torch.bfloat16 else x, args)
        if "out" in kwargs:
            return kwargs["out"].copy_(getattr(torch, name)(*wide))
        return each(lambda x: x.bfloat16(), func(*wide, **kwargs))
    return func(*args, **kwargs)


def held(x: Tensor) -> Tensor:
    return x.held if isinstance(x, OnDevice) else x


def each(change, x):
    """`change` of every tensor in x, a tensor or what holds some."""
    if isinstance(x, Tensor):
        return change(x)
    return type(x)([each(change, part) for part in x]) if isinstance(x, (list, tuple)) else x


def tensors(x) -> list[Tensor]:
    if isinstance(x, Tensor):
        return [x]
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def _elsewhere(kwargs: dict, memory: torch.device) -> dict:
    plain = {key: each(held, value) for key, value in kwargs.items() if key != "pin_memory"}
    return plain | {"device": memory} if plain.get("device") is not None else plain


def _written(func, args) -> list:
    """What an operation reads and writes to without giving it back."""
    written = [argument.alias_info is not None and argument.alias_info.is_write for argument in func._schema.arguments]
    given_back = bool(func._schema.returns) or "copy" in func._schema.name
    return [] if given_back else [one for one, is_written in zip(args, written) if is_written]


def _flops(func, bare, out) -> int:
    count = flop_registry.get(func._overloadpacket)
    return count(*(bare[:2] if func._schema.name == "aten::mm" else bare), out_val=out) if count else 0


@functools.cache
def _kind(func) -> tuple[str, bool]:
    """An operation's name, and whether it runs a kernel."""
    name = func._schema.name.split("::")[1]
    views = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
    return name, not (views or name in ALLOCATE | _TURNED_IN_PLACE | {"_unsafe_view", "_local_scalar_dense"})


def _place() -> str:
    """The nearest line of the project."""
    stack = [frame for frame in traceback.extract_stack() if "/wedefense/" in frame.filename]
    if not stack:
        return "the backward pass, or a library"
    return f"{stack[-1].filename.rsplit('/wedefense/')[-1]}:{stack[-1].lineno}: {stack[-1].line}"
