"""One logger, one progress bar."""

import functools
import logging
import sys

from wedefense.utils.visible import Guarded, visible

LINE_SECONDS = 30.0  # between two lines of progress in a log
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
    """A tqdm bar; where standard error is no terminal, a line now and then."""
    from tqdm import tqdm

    shown = {"desc": visible(desc), "unit": unit, "disable": disable, "leave": False, **options}
    if sys.stderr.isatty():
        stream = sys.stderr.stream if isinstance(sys.stderr, Guarded) else sys.stderr  # a bar moves the cursor
        return tqdm(iterable, total=total, file=stream, mininterval=0.2, dynamic_ncols=True, **shown)

    class Lines(tqdm):
        """What a bar would show, in a log: whole lines, none at the start and none where it was all quick."""

        over = False
        monitor_interval = 0  # else every one would leave a thread behind

        def display(self, msg=None, pos=None):
            if not self.over:
                self.fp.write(f"{self}\n")

        def clear(self, nolock=False):
            pass

        def close(self):
            self.over, self.sp = True, lambda _: None  # the bar's last words move the cursor
            super().close()

    return Lines(iterable, total=total, file=sys.stderr, mininterval=LINE_SECONDS, maxinterval=LINE_SECONDS,
                 miniters=1, **shown | {"delay": LINE_SECONDS}, bar_format="{desc}: {n_fmt} of {total_fmt}, {elapsed} "
                 "gone, {remaining} to go, {rate_fmt}{postfix}")
