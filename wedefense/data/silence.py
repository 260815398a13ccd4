"""Silence cut out of a recording as SUPERB's speaker task does, by SoX: `silence 1 0.1 0.1% -1 0.1 0.1%`.

SoX looks at the root mean square of the last 20 ms. Sound begins where it has stayed above 0.1 % of full scale for
0.1 s, and what came before that is dropped; it ends where the level has stayed at or below for 0.1 s, which are
dropped too. Then the search begins anew, with nothing of the past in the 20 ms.
"""

import numpy as np

GAIN = np.float32(10 ** (-3 / 20))  # SUPERB takes 3 dB off first
_WINDOW, _HOLD = 0.02, 0.1          # seconds
_LEVEL = 1e-3
_STEP = 2.0 ** -31                  # SoX compares whole numbers of 32 bits


def trim(wav: np.ndarray, rate: int) -> np.ndarray:
    """(samples,) -> (samples left,) float32, 3 dB quieter; where nothing is loud enough, none are left."""
    wav = wav * GAIN
    sums = np.concatenate([[0.0], np.cumsum(np.square(wav, dtype=np.float64))])
    window, hold = round(_WINDOW * rate), round(_HOLD * rate)
    everywhere, kept, start = _loud(sums, 0, window), [], 0
    while start < len(wav):
        loud = np.concatenate([_loud(sums[:start + window + 1], start, window), everywhere[start + window:]])
        begin = _held(loud, 0, hold)
        if begin is None:
            break
        end = _held(~loud, begin + hold, hold)
        kept.append(wav[start + begin:len(wav) if end is None else start + end])
        if end is None:
            break
        start += end + hold
    return np.concatenate(kept) if kept else wav[:0]


def _loud(sums: np.ndarray, start: int, window: int) -> np.ndarray:
    """(samples from `start`,) bool: whether the level up to and with each is above; before `start` there is silence."""
    ends = np.arange(start + 1, len(sums))
    energy = sums[ends] - sums[np.maximum(ends - window, start)]
    level = np.sqrt(np.maximum(energy, 0) / window)
    return np.floor(level / _STEP) * _STEP > _LEVEL


def _held(states: np.ndarray, start: int, hold: int) -> int | None:
    """Where the first run of `hold` true values from `start` on begins."""
    states = states[start:]
    changes = np.flatnonzero(np.diff(np.concatenate([[False], states, [False]]).astype(np.int8)))
    for begin, end in zip(changes[::2], changes[1::2]):
        if end - begin >= hold:
            return start + int(begin)
    return None
