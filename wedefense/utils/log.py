"""One logger, one progress bar."""

import functools
import logging
import sys

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
        handler.setFormatter(logging.Formatter(_FORMAT, datefmt="%Y-%m-%d %H:%M:%S"))
    return logger


def progress(iterable=None, *, total=None, desc="", unit="it", disable=False, **options):
    """A tqdm bar that stays quiet (one line in ten seconds) when standard error is not a terminal."""
    from tqdm import tqdm

    interval = 0.2 if sys.stderr.isatty() else 10.0
    return tqdm(iterable, total=total, desc=desc, unit=unit, disable=disable,
                mininterval=interval, dynamic_ncols=True, leave=False, **options)
