"""Pickles and PyTorch files put together by hand, as somebody hostile would."""

import io
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np

MAGIC = pickle.dumps(0x1950a86a20f9469cfc6c, protocol=2)


def string(text: str) -> bytes:
    encoded = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def global_(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def legacy(body: bytes, keys: bytes = pickle.dumps([], protocol=2), data: bytes = b"") -> bytes:
    """A file of the older format whose object is the pickle `body` (without its protocol and its stop)."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    return (MAGIC + pickle.dumps(1001, protocol=2) + pickle.dumps(system, protocol=2)
            + b"\x80\x02" + body + pickle.STOP + keys + data)


def tar_that_links(victim: Path) -> bytes:
    """A tar in torch's oldest format: its `storages` is a hard link to a file, and it begins as a newer one does."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT, encoding="latin-1") as archive:
        first = tarfile.TarInfo(MAGIC.decode("latin-1"))
        archive.addfile(first)
        link = tarfile.TarInfo("storages")
        link.type, link.linkname, link.mode = tarfile.LNKTYPE, str(victim), 0o777
        archive.addfile(link)
    return buffer.getvalue()


def with_value(path: Path, value: float) -> None:
    """Put a value into the middle of the first large stored tensor of a zip, its checksum mended."""
    import torch

    content = torch.load(path, weights_only=True)
    tensor = max(content.values(), key=lambda each: each.numel() if each.is_floating_point() else 0)
    tensor.view(-1)[tensor.numel() // 2] = value
    torch.save(content, path)


def corrupt(path: Path, count: int = 4000) -> None:
    """Other bytes in the middle of a file."""
    content = bytearray(path.read_bytes())
    start = len(content) // 2
    content[start:start + count] = np.random.default_rng(0).integers(0, 255, count, dtype=np.uint8).tobytes()
    path.write_bytes(bytes(content))
