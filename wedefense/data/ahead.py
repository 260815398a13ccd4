"""Batches on a device, the audio of each copied there while the step before it runs."""

from collections.abc import Iterator

import torch

from wedefense.data.augment.on_device import finished
from wedefense.data.batch import Batch
from wedefense.utils.log import warn_once


def ahead(loader, device: torch.device) -> Iterator[Batch]:
    """The batches of a loader with their audio on `device`, one of them on its way in advance.

    On the CPU they are the loader's own. What a device has no room for in advance comes on the host. Lengths and
    labels, a few bytes that the host plans with, stay there.
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


class _Sent:
    """A batch on its way; one that a device has no room for stays on the host, for its own turn."""

    def __init__(self, batch: Batch, stream):
        self._lent, self._stream, self._sent = batch, stream, None
        try:
            self._sent = stream.send(batch)
        except torch.OutOfMemoryError:
            _tell()

    def received(self) -> Batch:
        if self._sent is not None:
            try:
                return finished(self._stream.receive(*self._sent))
            except torch.OutOfMemoryError:  # the endings of its audio
                _tell()
        return finished(self._lent.moved(torch.clone))  # lent memory is written over while a step still reads it

    def wait(self) -> None:
        if self._sent is not None:
            self._sent[1].synchronize()


def _tell() -> None:
    warn_once("a GPU without room for the next batch beside the one that it computes: it is copied in its turn, which "
              "takes longer; a lower dataloader_args.batch_size would leave room")


def _ahead(batches: Iterator[Batch], stream) -> Iterator[Batch]:
    sent = None
    try:
        for batch in batches:
            before, sent = sent, _Sent(batch, stream)
            if before:
                yield before.received()
                before.wait()  # copied long ago; a worker may write its memory once one more is asked for
        if sent:
            yield sent.received()
    finally:
        if sent:
            sent.wait()  # so that memory in use is not unlocked when an epoch is left in the middle
