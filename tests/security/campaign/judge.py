"""What came of a try: taken, refused well, or one of the things that must not happen."""

import contextlib
import io
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wedefense.utils.errors import InputError
from wedefense.utils.visible import visible

SECONDS = 60    # of the processor; or of waiting, in which next to nothing is computed
_COMPUTED = 0.03  # seconds of the processor that a busy machine leaves to whoever does not wait


class Hang(BaseException):
    """Not an Exception, so that no handler of the code under test takes it for one."""


class Wrong(AssertionError):
    """A traceback, a hang, a poor refusal or a silent acceptance."""


class _Clock:
    """Looks every `SECONDS` whether a try still works: a busy machine is no hang."""

    def __init__(self):
        self.started = self.looked = time.process_time()

    def __call__(self, *_):
        now = time.process_time()
        if now - self.started > SECONDS or now - self.looked < _COMPUTED:
            raise Hang
        self.looked = now


def attempt(call: Callable, also: tuple[type[Exception], ...] = ()) -> tuple[str, object]:
    """("taken", result) or ("refused", message). `also`: errors that Python itself has for the case."""
    before = signal.signal(signal.SIGALRM, _Clock())
    signal.setitimer(signal.ITIMER_REAL, SECONDS, SECONDS)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return "taken", call()
    except InputError as error:
        return "refused", _well(str(error))
    except SystemExit as error:  # of argparse
        return ("taken", None) if error.code in (0, None) else ("refused", said.getvalue())
    except also as error:
        return "refused", str(error)
    except Hang:
        raise Wrong(f"a hang of {SECONDS} s") from None
    except Exception as error:
        raise Wrong(f"a traceback:\n{''.join(traceback.format_exception(error)[-6:])}") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _well(message: str) -> str:
    """A refusal that a person can use: it says something, and not without end."""
    if not 10 < len(message) < 30_000 or message.startswith(("None", "<")):
        raise Wrong(f"a poor refusal: {message[:200]!r}")
    return message


def campaign(name: str, budget: int, one: Callable) -> Counter:
    """Draw and try `budget` times; `one(data)` gives what `attempt` gives. The counts are printed."""
    counts = Counter(tried=0, taken=0, refused=0)

    @settings(max_examples=budget, deadline=None, database=None, derandomize=True, print_blob=False,
              suppress_health_check=list(HealthCheck))
    @given(st.data())
    def each(data):
        outcome, _ = one(data)
        counts[outcome] += 1
        counts["tried"] += 1

    each()
    print(f"campaign {name}: {counts['tried']} tried, {counts['taken']} taken, {counts['refused']} refused well, "
          "0 tracebacks, 0 hangs", file=sys.stderr)
    return counts


def harmless(text: str) -> bool:
    return visible(text, but="\n\t") == text
