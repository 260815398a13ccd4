"""Recordings of kinds that libsndfile does not read, by the program ffmpeg where it is installed.

ffmpeg is told what a file is by its suffix: by its content alone it would take playlists too, which name other files.
"""

import functools
import os
import shutil
import subprocess
import tempfile
from typing import IO

from wedefense.data.audio import BadAudio, regular_file
from wedefense.utils.audio_kinds import FORMATS, kind_of

_MINUTES = 30  # that a file may take
_KEPT = 8      # converted files at a time; one that is asked for later is converted again


def is_installed() -> bool:
    return shutil.which("ffmpeg") is not None


def converted(path: str | os.PathLike) -> IO[bytes]:
    """A WAV of the first stream of audio, at its own rate and with all its channels; `BadAudio` if what ffmpeg says is
    more than nothing: half a file is no recording."""
    if not is_installed():
        raise BadAudio(f"a .{kind_of(path)} file needs the program ffmpeg, which is not installed; install it, or "
                       f"convert the file elsewhere, as in: ffmpeg -i a.{kind_of(path)} a.wav")
    place = os.path.abspath(regular_file(path))
    status = os.stat(place)
    return open(_converted(place, kind_of(path), status.st_mtime_ns, status.st_size).name, "rb")


@functools.lru_cache(maxsize=_KEPT)
def _converted(place: bytes, suffix: str, *_when) -> IO[bytes]:
    """A temporary file, there as long as somebody holds it."""
    made = tempfile.NamedTemporaryFile(suffix=".wav")
    command: list[str | bytes] = [
        "ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-protocol_whitelist", "file",
        "-f", FORMATS[suffix], "-i", b"file:" + place, "-map", "0:a:0", "-vn",
        "-c:a", "pcm_f32le", "-rf64", "auto", "-bitexact", "-f", "wav", f"file:{made.name}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60 * _MINUTES)
    except subprocess.TimeoutExpired:
        raise BadAudio(f"ffmpeg was not done with it in {_MINUTES} minutes") from None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode or said:
        raise BadAudio(f"not readable by ffmpeg: {said[-1] if said else f'exit code {done.returncode}'}")
    return made
