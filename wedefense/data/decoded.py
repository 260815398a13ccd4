"""Recordings kept decoded in memory over the epochs, for all workers and ranks of a machine.

Only what loses nothing is kept: recordings of 16-bit samples (WAV, FLAC and others), as they are in the file, at its
own rate and with all its channels. What is cut and resampled from them equals what is read from the file, bit by bit.
"""

import contextlib
import fcntl
import mmap
import os
import weakref

import numpy as np

from wedefense.data.audio import BadAudio
from wedefense.data.sources import Source
from wedefense.utils.host_memory import free_memory, shared_memory
from wedefense.utils.log import get_logger

log = get_logger()

_UNKNOWN, _TAKEN, _HELD, _LEFT = range(4)  # not seen yet, being written, in memory, to be read from its file
_SHARE_OF_FREE = 0.8                       # of the memory that is free at the start, at most
_SCALE = np.float32(1 / 32768)


class DecodedSound:
    """What `wedefense.data.audio` asks of an open `SoundFile`, from samples in memory."""

    subtype, format = "PCM_16", "RAW"
    untouched = True

    def __init__(self, samples: np.ndarray, rate: int):
        self._samples, self._place = samples, 0  # (frames, channels) int16
        self.samplerate = rate
        self.frames, self.channels = samples.shape

    def seek(self, frames: int) -> int:
        self._place = frames
        return frames

    def read(self, frames: int, dtype: str, out: np.ndarray | None = None) -> np.ndarray:
        """(frames,) or (frames, channels); int16 of one channel without a copy."""
        part = self._samples[self._place:self._place + frames]
        self._place += len(part)
        part = part[:, 0] if self.channels == 1 else part
        return part if dtype == "int16" else np.multiply(part, _SCALE, out=out)


class Memory:
    """Samples of `count` recordings by number, up to `size` bytes; any process that shares it may fill it."""

    def __init__(self, count: int, size: int):
        head = (8 * (2 + 4 * count) + count + mmap.PAGESIZE) // mmap.PAGESIZE * mmap.PAGESIZE
        self._file = shared_memory(head, size)
        weakref.finalize(self, os.close, self._file)
        self._bytes = np.frombuffer(mmap.mmap(self._file, 0), np.uint8)
        self._used = self._bytes[:8].view(np.int64)                                    # bytes of the samples so far
        self._table = self._bytes[16:16 + 32 * count].view(np.int64).reshape(count, 4)  # start, frames, channels, rate
        self._states = self._bytes[16 + 32 * count:16 + 33 * count]
        self._start, self.size = head, len(self._bytes) - head

    @property
    def held(self) -> int:
        """How many recordings are there."""
        return int((self._states == _HELD).sum())

    @property
    def used(self) -> int:
        return int(self._used[0])

    def new(self, index: int) -> bool:
        return self._states[index] == _UNKNOWN

    def leave(self, index: int) -> None:
        """From now on it is no longer new, and not held."""
        self._states[index] = _LEFT

    def get(self, index: int) -> DecodedSound | None:
        if self._states[index] != _HELD:
            return None
        start, frames, channels, rate = self._table[index].tolist()
        samples = self._bytes[start:start + 2 * frames * channels].view(np.int16)
        return DecodedSound(samples.reshape(frames, channels), rate)

    def keep(self, index: int, sound) -> None:
        """Read a new recording whole, where it is of the kind that is kept and there is room."""
        if sound.subtype != "PCM_16":
            return self.leave(index)
        start = self._take(index, 2 * sound.frames * sound.channels)
        if start is None:
            return None
        self._states[index] = _LEFT  # should this fail
        samples = sound.read(sound.frames, dtype="int16")
        if len(samples) == sound.frames and _write(self._file, samples, start):
            self._table[index] = start, sound.frames, sound.channels, sound.samplerate
            self._states[index] = _HELD

    def _take(self, index: int, size: int) -> int | None:
        """Room of that size for a recording, unless it is taken care of already or there is none left."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 8)  # freed by the system too, when a worker is killed
        try:
            if self._states[index] != _UNKNOWN:
                return None
            begin = int(self._used[0])
            if begin + size > self.size:
                self._states[index] = _LEFT
                return None
            self._used[0] = begin + size
            self._states[index] = _TAKEN
            return self._start + begin
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 8)


def _write(file: int, samples: np.ndarray, start: int) -> bool:
    """By a call that fails where there is no memory; writing to mapped memory would end the process."""
    try:
        return os.pwrite(file, np.ascontiguousarray(samples), start) == samples.nbytes
    except OSError:
        return False


class DecodedSource(Source):
    """A source whose recordings are read once and held, as far as they fit."""

    def __init__(self, source: Source, gib: float):
        self.entries, self.groups, self.marked = source.entries, source.groups, source.marked
        self._source, self._reported = source, False
        bound, room = int(gib * 2**30), int(_SHARE_OF_FREE * free_memory())
        if room < bound:
            log.warning("dataset_args.cache_gib: %.1f GiB are not free; at most %.1f GiB are used",
                        gib, room / 2**30)
        self._memory = Memory(len(source), min(bound, room))

    @contextlib.contextmanager
    def open(self, index: int):
        if self._memory.new(index):
            self._keep(index)
        held = self._memory.get(index)
        if held is not None:
            yield held
        else:
            with self._source.open(index) as sound:
                yield sound

    def _keep(self, index: int) -> None:
        try:
            with self._source.open(index) as sound:
                self._memory.keep(index, sound)
        except BadAudio:  # parts of it may be good; what is asked for is read as if there was no memory
            self._memory.leave(index)

    def report(self) -> None:
        """Say once what is held."""
        if not self._reported:
            memory, self._reported = self._memory, True
            log.info("%s: %d of %d recordings (%.2f GiB) are held decoded in memory, the others are read each time",
                     self.entries.origin, memory.held, len(self), memory.used / 2**30)

    def __reduce__(self):
        return _itself, (self._source,)  # a worker that does not inherit the memory reads the files


def _itself(source: Source) -> Source:
    return source
