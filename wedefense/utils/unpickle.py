"""Read a pickle without running any code it names.

Tensors and plain containers are rebuilt. Every other class (a fairseq task, an omegaconf node, an argparse
Namespace, an enum) becomes a `Record` that only remembers what was stored, so that a checkpoint can be read
without the package that wrote it. A file that reaches for the system is refused, and so is one that calls or
changes anything but these. What remains is a value: its size is bounded by that of the file.
"""

import collections
import math
import pickle
import struct
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from wedefense.utils.pickled_record import Record

_DANGEROUS_MODULES = frozenset("""
    os posix nt subprocess sys shutil socket importlib runpy ctypes _ctypes pty code codeop webbrowser marshal
    pickle _pickle cPickle dill cloudpickle joblib multiprocessing asyncio commands popen2 imp pkgutil pip
    tempfile urllib http ftplib smtplib requests signal threading _thread gc inspect linecache
""".split())
_DANGEROUS_BUILTINS = frozenset("""
    eval exec execfile compile __import__ open input breakpoint exit quit globals locals vars setattr delattr
    memoryview file apply reload
""".split())


def _numpy_scalar(dtype, data=None):
    """A numpy number as a Python one; of other types the bytes stay."""
    kind = dtype.args[0] if isinstance(dtype, Record) and dtype.args else ""
    formats = {"f8": "d", "f4": "f", "f2": "e", "i8": "q", "i4": "i", "i2": "h", "i1": "b", "u8": "Q", "u4": "I",
               "u2": "H", "u1": "B", "b1": "?"}
    if isinstance(data, str):
        data = data.encode("latin-1")
    if kind not in formats or not isinstance(data, bytes):
        return data
    order = ">" if isinstance(dtype.state, tuple) and ">" in dtype.state[1:2] else "<"
    return struct.unpack(order + formats[kind], data)[0]

_STORAGES = {"FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
             "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
             "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
             "BoolStorage": torch.bool, "ComplexFloatStorage": torch.complex64,
             "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8}
_DTYPES = {name: value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
_VIEWED = 1 << 24         # elements: a tensor may repeat what is stored up to so many
_LONGEST_NUMBER = 64      # bytes
_COPIED = 1 << 27         # characters and items, all together, that calls may be given
_CLASSES = 10_000
_KEYS = (str, bytes, int, float, complex, Record, torch.dtype, type(None))


def _tensor(storage: Tensor, offset: int, size, stride, *_, dtype: torch.dtype | None = None) -> Tensor:
    """A view of what is stored; one that reaches outside of it is an error of torch."""
    storage = storage if dtype is None else storage.view(dtype)
    if math.prod(size) > max(storage.numel(), _VIEWED):
        raise Refused("a tensor of more values than the file holds")
    return torch.as_strided(storage, size, stride, offset)


def _typed_tensor(storage, offset, size, stride, requires_grad, hooks, dtype, *_) -> Tensor:
    return _tensor(storage, offset, size, stride, dtype=dtype)


def _encode(text: str, encoding: str = "latin-1") -> bytes:
    """Bytes as protocol 2 stores them."""
    if encoding not in ("latin-1", "latin1", "utf-8", "utf8", "ascii"):
        raise Refused(f"the encoding {encoding}")
    return text.encode(encoding)


def _of(kind: type, *given: type) -> Callable:
    """`kind`, made of a value of these types alone: a number must not become so many bytes."""
    def make(*arguments):
        if arguments and not isinstance(arguments[0], given):
            raise Refused(f"a {kind.__name__} of a {type(arguments[0]).__name__}")
        if kind in (set, frozenset):
            return kind(map(_key, *arguments))
        if kind in (dict, collections.OrderedDict):
            pairs = arguments[0] if arguments else ()
            return kind((_key(key), item) for key, item in (pairs.items() if isinstance(pairs, dict) else pairs))
        return kind(*arguments)
    return make


def _key(value):
    """What may be looked up: nested tuples could take for ever to hash."""
    for part in value if isinstance(value, tuple) else (value,):
        if not isinstance(part, _KEYS):
            raise Refused(f"a {type(part).__name__} as a key")
    return value


class _Made:
    """Something that a pickle may call; there is nothing about it that a pickle could change."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable):
        self._make = make

    def __call__(self, *arguments):
        return self._make(*arguments)


_SEQUENCE, _NUMBER = (list, tuple, set, frozenset), (int, float, str)
_ALLOWED: dict[tuple[str, str], Callable] = {
    ("collections", "OrderedDict"): _of(collections.OrderedDict, list, tuple, dict),
    ("collections", "defaultdict"): lambda factory=None, *items: _of(dict, list, tuple, dict)(*items),
    ("copyreg", "_reconstructor"): lambda cls, base=None, state=None: cls() if state is None else cls(state),
    ("_codecs", "encode"): _encode,
    ("torch", "Size"): _of(torch.Size, list, tuple),
    ("torch", "device"): _of(torch.device, str),
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _typed_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda tensor, *_: tensor,
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
}
_ALLOWED["copy_reg", "_reconstructor"] = _ALLOWED["copyreg", "_reconstructor"]
_BUILTINS = {
    dict: (list, tuple, dict), list: _SEQUENCE, tuple: _SEQUENCE, set: _SEQUENCE, frozenset: _SEQUENCE,
    int: _NUMBER, float: _NUMBER, complex: (*_NUMBER, complex), bool: _NUMBER, str: (str,),
    bytes: (bytes, str, list), bytearray: (bytes, bytearray, str, list), slice: (int, type(None)), range: (int,)}
_ALLOWED.update({(module, kind.__name__): _of(kind, *given) for module in ("builtins", "__builtin__")
                 for kind, given in _BUILTINS.items()})
_KNOWN = {name: _Made(make) for name, make in _ALLOWED.items()}


class Refused(pickle.UnpicklingError):
    """The file asks for something that no checkpoint needs."""


class Unpickler(pickle._Unpickler):
    """Rebuilds the allowed globals, refuses the dangerous ones, records the rest.

    In Python, where each instruction can be held to what it may be given.
    """

    dispatch: ClassVar[dict[int, Callable]] = dict(pickle._Unpickler.dispatch)
    stack: list  # these four the standard library has, and its types do not tell
    append: Callable[[object], None]
    pop_mark: Callable[[], list]
    read: Callable[[int], bytes]

    def __init__(self, stream, stored: Callable | None = None, records: bool = True):
        """`stored`: what a reference to something outside of the pickle stands for; `records`: see above, or refuse."""
        super().__init__(stream, encoding="utf-8")
        self._stored = stored
        self._records: dict[str, type] | None = {} if records else None
        self._copied = 0

    def persistent_load(self, reference):
        if self._stored is None:
            raise Refused("something outside of it")
        return self._stored(reference)

    def find_class(self, module, name):
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        builtin = module in ("builtins", "__builtin__") and name.split(".")[0] in _DANGEROUS_BUILTINS
        if builtin or module.split(".")[0] in _DANGEROUS_MODULES or self._records is None:
            raise Refused(f"{module}.{name}")
        path = f"{module}.{name}"
        if path not in self._records:
            if len(self._records) == _CLASSES:
                raise Refused(f"more than {_CLASSES} classes")
            self._records[path] = type(name.split(".")[-1], (Record,), {"path": path})
        return self._records[path]

    def _called(self, function, arguments, named=None):
        known = isinstance(function, (_Made, Record)) or isinstance(function, type) and issubclass(function, Record)
        if not known or not isinstance(arguments, tuple) or named:
            raise Refused(f"a call of a {type(function).__name__}")
        self._copied += sum(len(value) for value in arguments if isinstance(value, (str, bytes, bytearray, list)))
        if self._copied > _COPIED:
            raise Refused("more memory than its size explains")
        return function(*arguments)

    def _instantiate(self, klass, args):
        self.append(self._called(klass, tuple(args)))

    def _on_top(self, kinds: tuple, what: str):
        if not isinstance(self.stack[-1], kinds):
            raise Refused(f"{what} to a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    def reduce(self):
        arguments = self.stack.pop()
        self.stack[-1] = self._called(self.stack[-1], arguments)

    def newobj_ex(self):
        named = self.stack.pop()
        arguments = self.stack.pop()
        self.stack[-1] = self._called(self.stack[-1], arguments, named)

    def build(self):
        state = self.stack.pop()
        target = self._on_top((Record, collections.OrderedDict), "attributes given")
        if isinstance(target, Record):
            target.__setstate__(state)

    def setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self._on_top((dict, Record), "an entry given")[_key(key)] = value

    def setitems(self):
        items = self.pop_mark()
        target = self._on_top((dict, Record), "entries given")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_key(key)] = value

    def dictionary(self):
        items = self.pop_mark()
        self.append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def appends(self):
        items = self.pop_mark()
        self._on_top((list, Record), "items given").extend(items)

    def append_one(self):
        item = self.stack.pop()
        self._on_top((list, Record), "an item given").append(item)

    def additems(self):
        items = self.pop_mark()
        target = self._on_top((set, Record), "members given")
        for item in items:
            target.add(_key(item))

    def frozen(self):
        self.append(frozenset(map(_key, self.pop_mark())))

    def long4(self):
        size = struct.unpack("<i", self.read(4))[0]
        if not 0 <= size <= _LONGEST_NUMBER:
            raise Refused(f"a number of {size} bytes")
        self.append(pickle.decode_long(self.read(size)))

    def refused(self):
        raise Refused("an instruction that no checkpoint has")

    for code, handler in ((pickle.REDUCE, reduce), (pickle.NEWOBJ, reduce), (pickle.NEWOBJ_EX, newobj_ex),
                          (pickle.BUILD, build), (pickle.SETITEM, setitem), (pickle.SETITEMS, setitems),
                          (pickle.DICT, dictionary), (pickle.APPEND, append_one), (pickle.APPENDS, appends),
                          (pickle.ADDITEMS, additems), (pickle.FROZENSET, frozen), (pickle.LONG4, long4),
                          (pickle.EXT1, refused), (pickle.EXT2, refused), (pickle.EXT4, refused),
                          (pickle.BYTEARRAY8, refused), (pickle.NEXT_BUFFER, refused),
                          (pickle.READONLY_BUFFER, refused)):
        dispatch[code[0]] = handler
