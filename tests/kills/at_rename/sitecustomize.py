"""On the path of a process, this kills it (and the launcher of its ranks) at a rename: `KILL_AT` of all that are
counted in the file `KILL_COUNTER`.
"""

import os
import signal

_replace = os.replace


def _counted(source, target, **more):
    with open(os.environ["KILL_COUNTER"], "ab") as stream:
        stream.write(b".")
        stream.flush()
        number = os.fstat(stream.fileno()).st_size
    _replace(source, target, **more)
    if number == int(os.environ["KILL_AT"]):
        if "RANK" in os.environ:
            os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


if "KILL_COUNTER" in os.environ:
    os.replace = _counted
