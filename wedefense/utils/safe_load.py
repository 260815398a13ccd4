"""Read a PyTorch file without running any code it names.

Tensors and plain containers are rebuilt. Every other class (a fairseq task, an omegaconf node, an argparse
Namespace, an enum) becomes a `Record` that only remembers what was stored, so that a checkpoint can be read
without the package that wrote it. A file that reaches for the system is refused.
"""

import collections
import os
import pickle
import struct
from pathlib import Path

import torch

from wedefense.utils.errors import InputError

_DANGEROUS_MODULES = frozenset("""
    os posix nt subprocess sys shutil socket importlib runpy ctypes _ctypes pty code codeop webbrowser marshal
    pickle _pickle cPickle dill cloudpickle joblib multiprocessing asyncio commands popen2 imp pkgutil pip
    tempfile urllib http ftplib smtplib requests signal threading _thread gc inspect linecache
""".split())
_DANGEROUS_BUILTINS = frozenset("""
    eval exec execfile compile __import__ open input breakpoint exit quit globals locals vars setattr delattr
    memoryview file apply reload
""".split())


class Record:
    """What a pickle stored about an object whose class is not rebuilt."""

    path = ""  # "module.Class" of the class it stands for

    def __new__(cls, *args, **kwargs):
        record = object.__new__(cls)
        record.args, record.state, record.items = args, None, []
        return record

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state):
        self.state = state

    def __setitem__(self, key, value):
        self.items.append((key, value))

    def append(self, value):
        self.items.append(value)

    add = append

    def extend(self, values):
        self.items.extend(values)

    def __call__(self, *args, **kwargs):
        return Record(*args)

    def __repr__(self):
        return f"<record of {self.path}>"


def records_to_builtin(value):
    """Turn records into what they hold: a Namespace or config into a dict, an enum into its value."""
    return _to_builtin(value, {})


def _to_builtin(value, done: dict):
    if not isinstance(value, (dict, list, tuple, Record)):
        return value
    if id(value) not in done:
        done[id(value)] = (value, None)  # a reference to an ancestor becomes None
        done[id(value)] = (value, _opened(value, done))
    return done[id(value)][1]


def _opened(value, done: dict):
    if isinstance(value, dict):
        return {_to_builtin(key, done) if isinstance(key, Record) else key: _to_builtin(item, done)
                for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_builtin(item, done) for item in value]
    state = value.state
    if isinstance(state, tuple) and len(state) == 2:  # (dict, slots)
        state = {**(state[0] or {}), **(state[1] or {})}
    if isinstance(state, dict):
        for key in ("_content", "_val"):  # an omegaconf container, an omegaconf value
            if key in state:
                return _to_builtin(state[key], done)
        return _to_builtin(state, done)
    if value.items:
        pairs = all(isinstance(item, tuple) and len(item) == 2 for item in value.items)
        return _to_builtin(dict(value.items) if pairs else value.items, done)
    return _to_builtin(value.args[-1], done) if value.args else None  # an enum: its value or its name


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


def _encode(text, encoding="latin-1"):
    """Bytes as protocol 2 stores them."""
    return text.encode(encoding)


def _reconstruct(cls, base=None, state=None):
    return cls() if state is None else cls(state)


_ALLOWED = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): lambda factory=None, *items: dict(*items),
    ("copyreg", "_reconstructor"): _reconstruct,
    ("copy_reg", "_reconstructor"): _reconstruct,
    ("_codecs", "encode"): _encode,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("numpy.core.multiarray", "scalar"): _numpy_scalar,
    ("numpy._core.multiarray", "scalar"): _numpy_scalar,
}
_ALLOWED.update({(module, kind.__name__): kind for module in ("builtins", "__builtin__")
                 for kind in (dict, list, tuple, set, frozenset, int, float, complex, bool, str, bytes, bytearray,
                              slice, range)})


class _Refused(pickle.UnpicklingError):
    pass


class Unpickler(pickle.Unpickler):
    """Rebuilds the allowed globals, refuses the dangerous ones, records the rest."""

    def find_class(self, module, name):
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        value = getattr(torch, name, None) if module == "torch" else None
        if isinstance(value, torch.dtype):
            return value
        builtin = module in ("builtins", "__builtin__") and name.split(".")[0] in _DANGEROUS_BUILTINS
        if builtin or module.split(".")[0] in _DANGEROUS_MODULES:
            raise _Refused(f"{module}.{name}")
        return type(name.split(".")[-1], (Record,), {"path": f"{module}.{name}"})


class _PickleModule:
    """What torch.load asks of a pickle module."""

    __name__ = "wedefense.utils.safe_load"
    Unpickler = Unpickler
    UnpicklingError = pickle.UnpicklingError

    @staticmethod
    def load(stream, **options):
        return Unpickler(stream, **options).load()


def load_torch(path: str | os.PathLike):
    """The object saved in a PyTorch file (zip or the older format), on the CPU, without running its code."""
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if start[:4] != b"PK\x03\x04" and start[:1] != b"\x80":
        raise InputError(f"{path}: not a PyTorch file (expected what torch.save writes: .pt, .pth, .bin or .ckpt)")
    if start[:1] != b"\x80" and _is_torchscript(path):
        raise InputError(f"{path}: a TorchScript archive; expected a checkpoint saved by torch.save")
    try:
        return torch.load(path, map_location="cpu", pickle_module=_PickleModule, weights_only=False)
    except _Refused as error:
        raise InputError(f"{path}: refused, it asks for {error}, which no checkpoint needs: the file may be "
                         "malicious; get it again from its publisher") from None
    except Exception as error:  # a damaged file can fail anywhere in the reader
        raise InputError(f"{path}: truncated or damaged PyTorch file ({type(error).__name__}: "
                         f"{str(error).splitlines()[0] if str(error) else 'no details'}); fetch it again") from None


def _is_torchscript(path: Path) -> bool:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False
