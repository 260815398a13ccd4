"""What to do, and to say, when a GPU's memory does not suffice."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from wedefense.utils.errors import InputError
from wedefense.utils.log import warn_once


def lacking(error: torch.OutOfMemoryError) -> str:
    """`2.50 GiB more were asked for, 1.20 GiB are free`, as far as PyTorch says so."""
    patterns = {"more were asked for": r"Tried to allocate ([\d.]+ \w+)", "are free": r"of which ([\d.]+ \w+) is free"}
    found = {label: re.search(pattern, str(error)) for label, pattern in patterns.items()}
    return ", ".join(f"{size[1]} {label}" for label, size in found.items() if size) or str(error).split("\n")[0]


def in_halves(run: Callable[[Tensor, Sequence[int]], Any], wav: Tensor, lengths: Sequence[int], keys: Sequence[str],
              sample_rate: int, whole: bool = False, join: Callable[[list], Any] = torch.cat) -> Any:
    """`run(wav (batch, samples), lengths)` -> (batch, ...), by halves of the batch where memory does not suffice.

    For what does not depend on the batch. `whole`: the batch cannot be cut, all ranks must run alike. `join`: what
    makes one of the halves' answers.
    """
    try:
        return run(wav, lengths)
    except torch.OutOfMemoryError as error:
        lack = lacking(error)  # the error itself holds on to the memory
    seconds, count = wav.shape[1] / sample_rate, len(keys)
    if count == 1:
        raise InputError(f"{keys[0]}: {seconds:.1f} s of audio do not fit in this GPU's memory ({lack}); use --device "
                         "cpu for it, or cut it")
    if whole:
        raise InputError(f"out of memory on {count} utterances x {seconds:.1f} s ({lack}); lower "
                         "dataloader_args.batch_size")
    warn_once("a batch does not fit in this GPU's memory and is done by halves, which changes no result; a lower "
              "dataloader_args.batch_size would be faster")
    torch.cuda.empty_cache()
    parts, half = [], (count + 1) // 2
    for part in (slice(0, half), slice(half, count)):
        own = lengths[part]
        parts.append(in_halves(run, wav[part, :max(own)], own, keys[part], sample_rate, join=join))
    return join(parts)
