"""Starts the ranks of a command, with the options of torchrun, and tells in a line which of them ended it.

    python tools/launch.py --standalone --nproc_per_node 2 -m wedefense.bin.train --config ...
"""

import contextlib
import logging
import signal
import sys
import tempfile


def main(argv: list[str] | None = None) -> int:
    from torch.distributed import DistError, run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # it says the same at length
    try:
        with tempfile.TemporaryDirectory(prefix="torchelastic_") as logs:  # its own would stay
            run.main(["--log_dir", logs, *(sys.argv[1:] if argv is None else argv)])
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        how = f"was killed by {_name(-failure.exitcode)}" if failure.exitcode < 0 else \
            f"ended with exit code {failure.exitcode}; what it said stands above"
        print(f"error: rank {rank} {how}", file=sys.stderr)
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    except SignalException as error:
        print(f"stopped by {error.sigval.name}", file=sys.stderr)
        return 128 + error.sigval
    except (DistError, RendezvousError) as error:
        print(f"error: the nodes do not meet, or lost one another ({_first_line(error)}): start all of "
              "them, with one --rdzv_endpoint, a port that is free on the first", file=sys.stderr)
        return 2
    return 0


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)  # some say nothing


def _name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


if __name__ == "__main__":
    sys.exit(main())
