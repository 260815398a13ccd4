"""One logger, one progress bar."""

import functools
import logging
import sys

from wedefense.utils.visible import Guarded, visible

_FORMAT = "%(asctime)s %(levelname)s %(message)s"


def get_logger() -> logging.Logger:
    return logging.getLogger("wedefense")


@functools.lru_cache
def info_once(text: str) -> None:
    get_logger().info("%s", text)


@functools.lru_cache
def warn_once(text: str) -> None:
    get_logger().warning("%s", text)


def setup_logging(log_file=None, rank: int = 0) -> logging.Logger:
    """Log to standard error and, on rank 0, to `log_file` too; other ranks speak only of warnings."""
    logger = get_logger()
    logger.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    logger.propagate = False
    for handler in logger.handlers:
        handler.close()
    logger.handlers = [logging.StreamHandler(sys.stderr)]
    if log_file is not None and rank == 0:
        logger.handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
    for handler in logger.handlers:
        handler.setFormatter(_Formatter(_FORMAT, datefmt="%Y-%m-%d %H:%M:%S"))
    return logger


class _Formatter(logging.Formatter):
    """Names in a message speak to nobody's terminal, neither now nor when the log is read."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record), but="\n\t")


def progress(iterable=None, *, total=None, desc="", unit="it", disable=False, **options):
    """A tqdm bar that stays quiet (one line in ten seconds) when standard error is not a terminal."""
    from tqdm import tqdm

    interval = 0.2 if sys.stderr.isatty() else 10.0
    stream = sys.stderr.stream if isinstance(sys.stderr, Guarded) else sys.stderr  # a bar moves the cursor
    return tqdm(iterable, total=total, desc=visible(desc), unit=unit, disable=disable, file=stream,
                mininterval=interval, dynamic_ncols=True, leave=False, **options)
