"""Memory of the machine: how much there is left, and a piece that all its ranks share."""

import ctypes
import os
import sys
import tempfile
from pathlib import Path

from wedefense.utils.distributed import gather
from wedefense.utils.log import get_logger

log = get_logger()

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def keep_freed_memory() -> None:
    """What a batch frees stays with this process for the next one.

    Else the C library gives the system large tensors back at once and fetches the same pages anew, zeroed, at every
    step: a third of the time of a training on a CPU. Where the environment sets how glibc allocates, that holds.
    """
    said = any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    if sys.platform != "linux" or said or (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is None:
        return
    mallopt(_M_MMAP_THRESHOLD, 2**30)
    mallopt(_M_TRIM_THRESHOLD, -1)


def free_memory() -> int:
    """Bytes that this process may still take: of the machine, and of its container where that is less."""
    free = [_container_room(Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
            _container_room(Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes")]
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free.append(int(fields["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError):
        free.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return max(0, min(room for room in free if room is not None))


def _container_room(folder: Path, limit: str, usage: str) -> int | None:
    """What a control group leaves; the files that the system keeps for it can be dropped and count as free."""
    try:
        kept = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        files = int(kept.get("total_inactive_file", kept.get("inactive_file", 0)))
        return int((folder / limit).read_text()) - int((folder / usage).read_text()) + files
    except (OSError, ValueError):  # no such group, or its limit is "max"
        return None


def shared_memory(head: int, size: int) -> int:
    """The descriptor of `head + size` bytes of memory, zeros that are taken up as they are written.

    Ranks that call this together share the piece of the first on their machine, of its size. It has no name in any
    folder, needs no room in /dev/shm, and is gone with the last process that holds it, however that ends.
    A rank that cannot reach it gets its share of `size`.
    """
    own = _anonymous(head + size)
    ranks = gather((_machine(), os.getpid(), own))
    here = [(pid, descriptor) for machine, pid, descriptor in ranks if machine == _machine()]
    joined: int | None = own
    if here[0] != (os.getpid(), own):
        joined = _of_process(*here[0])
    gather(None)  # nobody closes before all have opened
    if joined is None:
        log.warning("this rank cannot reach the memory of another on its machine and keeps a share of its own")
        os.truncate(own, head + size // len(here))
        return own
    if joined != own:
        os.close(own)
    return joined


def _anonymous(size: int) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("wedefense")
    else:
        with tempfile.TemporaryFile() as stream:
            descriptor = os.dup(stream.fileno())
    os.truncate(descriptor, size)
    return descriptor


def _machine() -> str:
    """The same for processes that can see one another."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text() + os.readlink("/proc/self/ns/pid")
    except OSError:
        return f"alone {os.getpid()}"


def _of_process(pid: int, descriptor: int) -> int | None:
    try:
        return os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDWR)
    except OSError:
        return None
