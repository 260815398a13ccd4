"""PyTorch's files (zip, and the older format), read here: torch's own reader could run, write and link.

Nothing but the values comes out, each byte of a zip is held to its checksum, and what a file claims is held to its
size before memory is taken for it.
"""

import os
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from wedefense.utils.errors import InputError
from wedefense.utils.files import open_regular
from wedefense.utils.unpickle import Refused, Unpickler

_ZIP, _LEGACY = b"PK\x03\x04", pickle.dumps(0x1950a86a20f9469cfc6c, protocol=2)
_LOCAL_HEADER = 30   # bytes of a zip member's, before its name
_READERS = 4         # threads: reading and checksums leave the interpreter
_CURE = "get it again from where it came, or write it again"


class _Damaged(Exception):
    """The message says what is wrong."""


def load_torch(path: str | os.PathLike, records: bool = True):
    """The object saved in a PyTorch file, on the CPU, without running its code.

    `records`: classes that are not rebuilt become `Record`s, as foreign checkpoints need; else they are refused.
    """
    path = Path(path)
    try:
        with open_regular(path) as stream:
            return _read(path, stream, records)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Refused as error:
        raise InputError(f"{path}: refused, it asks for {error}, which no checkpoint needs: the file may be "
                         "malicious; get it again from its publisher") from None
    except InputError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in the reader
        reason = str(error).splitlines()[0] if str(error) else "no details"
        kind = "" if isinstance(error, _Damaged) else f"{type(error).__name__}: "
        raise InputError(f"{path}: truncated or damaged PyTorch file ({kind}{reason}); {_CURE}") from None


def _read(path: Path, stream, records: bool):
    size = os.fstat(stream.fileno()).st_size
    if not size:
        raise InputError(f"{path}: an empty file; {_CURE}")
    start = stream.read(len(_LEGACY))
    stream.seek(0)
    if start.startswith(_ZIP):
        return _read_zip(path, stream, size, records)
    if start == _LEGACY:
        return _read_legacy(stream, size, records)
    if start[:1] == b"\x80":
        raise _Damaged("a pickle that torch.save did not write")
    raise InputError(f"{path}: not a PyTorch file (expected what torch.save writes: .pt, .pth, .bin or .ckpt)")


def _read_zip(path: Path, stream, size: int, records: bool):
    with zipfile.ZipFile(stream) as archive:
        members = {info.filename: info for info in archive.infolist()}
        if any(name.endswith("/constants.pkl") for name in members):
            raise InputError(f"{path}: a TorchScript archive; expected a checkpoint saved by torch.save")
        pickles = [name for name in members if name.endswith("/data.pkl")]
        if len(pickles) != 1 or any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise _Damaged("a zip file that torch.save did not write")
        root = pickles[0].removesuffix("data.pkl")
        order = members.get(f"{root}byteorder")
        if order is not None and archive.read(order) != b"little":
            raise _Damaged("written by a big-endian machine")
        content = archive.open(members[pickles[0]])  # its end checks the checksum
        storages = _Storages(lambda key: members[f"{root}data/{key}"].file_size, size)
        with content:
            value = Unpickler(content, storages.stored, records).load()
            content.read()
        with ThreadPoolExecutor(_READERS) as pool:
            jobs = [pool.submit(_fill, stream.fileno(), members[f"{root}data/{key}"], tensor)
                    for key, tensor in storages.tensors.items()]
            for job in jobs:
                job.result()
    return value


def _read_legacy(stream, size: int, records: bool):
    Unpickler(stream).load()  # the magic number
    if Unpickler(stream).load() != 1001 or not Unpickler(stream).load()["little_endian"]:
        raise _Damaged("of an unknown version, or written by a big-endian machine")
    storages = _Storages(lambda key: None, size)
    value = Unpickler(stream, storages.stored, records).load()
    for key in Unpickler(stream).load():  # in the order of the file
        tensor = storages.tensors.get(key)
        (count,) = struct.unpack("<q", stream.read(8))
        if tensor is None or count != tensor.numel():
            raise _Damaged(f"its part '{key}' is not of the length that it claims")
        if _bytes(tensor).nbytes and stream.readinto(_bytes(tensor)) != tensor.nbytes:
            raise _Damaged(f"its part '{key}' is cut short")
    return value


class _Storages:
    """Memory for what a pickle refers to, filled after it was read."""

    def __init__(self, length: Callable, size: int):
        """`length(key)`: bytes that the file has of it, None where that is not known yet; `size`: of the file."""
        self.tensors: dict[str, Tensor] = {}  # each (values,)
        self._length, self._left = length, size

    def stored(self, reference):
        kind, *parts = reference
        if kind == "module":  # a class, with its source, which is of no interest
            return parts[0]
        dtype, key, _, count, *view = parts
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not isinstance(count, int) or count < 0:
            raise Refused("something that is no tensor")
        if key not in self.tensors:
            needed = count * dtype.itemsize
            self._left -= needed
            if self._left < 0 or self._length(key) not in (None, needed):
                raise _Damaged(f"its part '{key}' is not of the length that it claims")
            self.tensors[key] = torch.empty(count, dtype=dtype)
        tensor = self.tensors[key]
        if view and view[0] is not None:  # of a larger storage, in files of old
            _, offset, count = view[0]
            tensor = tensor.narrow(0, offset, count)
        return tensor


def _bytes(tensor: Tensor) -> memoryview:
    return memoryview(tensor.view(torch.uint8).numpy()) if tensor.numel() else memoryview(b"")


def _fill(descriptor: int, info: zipfile.ZipInfo, tensor: Tensor) -> None:
    """Read a member of a zip into memory, and hold it to its checksum."""
    memory, done = _bytes(tensor), 0
    name, extra = struct.unpack("<HH", os.pread(descriptor, _LOCAL_HEADER, info.header_offset)[26:])
    start = info.header_offset + _LOCAL_HEADER + name + extra
    while done < memory.nbytes:
        count = os.preadv(descriptor, [memory[done:]], start + done)
        if not count:
            raise _Damaged(f"its part '{info.filename}' is cut short")
        done += count
    if zlib.crc32(memory) != info.CRC:
        raise _Damaged(f"the checksum of its part '{info.filename}' is wrong")
