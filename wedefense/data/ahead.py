"""Batches on a device, the audio of each copied there while the step before it runs."""

from collections.abc import Iterator

import torch

from wedefense.data.augment.on_device import finished
from wedefense.data.batch import Batch


def ahead(loader, device: torch.device) -> Iterator[Batch]:
    """The batches of a loader with their audio on `device`, one of them on its way in advance.

    On the CPU they are the loader's own. Lengths and labels, a few bytes that the host plans with, stay there.
    """
    return iter(loader) if device.type == "cpu" else _ahead(loader.lent(), SideStream(device))


class SideStream:
    """Copies beside the stream that computes."""

    def __init__(self, device: torch.device):
        self._device, self._stream = device, torch.cuda.Stream(device)

    def send(self, batch: Batch) -> tuple[Batch, torch.cuda.Event]:
        """The batch on the device, and the event of its arrival."""
        with torch.cuda.stream(self._stream):
            moved = batch.moved(lambda part: part.to(self._device, non_blocking=True))
            return moved, self._stream.record_event()

    def receive(self, batch: Batch, arrival: torch.cuda.Event) -> Batch:
        """The batch for the stream that computes, which waits for it on the device; the host does not."""
        computing = torch.cuda.current_stream(self._device)
        computing.wait_event(arrival)
        for tensor in [batch.wav] + ([batch.later.data] if batch.later else []):
            tensor.record_stream(computing)  # its memory is not given to a later batch before this stream is done
        return batch


def _ahead(batches: Iterator[Batch], stream) -> Iterator[Batch]:
    sent = None
    try:
        for batch in batches:
            before, sent = sent, stream.send(batch)
            if before:
                yield finished(stream.receive(*before))
                before[1].synchronize()  # copied long ago; a worker may write its memory once one more is asked for
        if sent:
            yield finished(stream.receive(*sent))
    finally:
        if sent:
            sent[1].synchronize()  # so that memory in use is not unlocked when an epoch is left in the middle
