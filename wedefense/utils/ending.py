"""How a process ends that is one of several ranks."""

import atexit
import contextlib
import os
import sys
import threading
from typing import NoReturn


def is_rank() -> bool:
    """Of those that torchrun starts."""
    return "WORLD_SIZE" in os.environ


_LOST = ("Connection reset by peer", "Connection closed by peer", "Broken pipe", "ncclRemoteError",
         "remote process exited")


def lost_another(error: Exception) -> str | None:
    """In words, where this rank failed because another one is gone."""
    text = str(error)
    if not isinstance(error, RuntimeError) or not any(sign in text for sign in _LOST):
        return None
    sign = text.splitlines()[0].rpartition("] ")[2]
    return (f"rank {os.environ.get('RANK')}: another rank is gone ({sign}); its own output, on its node, says why. "
            "Once that is mended, make the same call again: a training goes on from its last checkpoint")


def end_rank(code: int) -> NoReturn:
    """What the interpreter does at its end, but for taking itself down.

    A thread of the exchange between ranks that wants the interpreter while it goes down aborts the process (before
    Python 3.14), with everything done and written.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # joins threads, those of a pool once they are told to end
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
