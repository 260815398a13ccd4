"""What a list of utterances holds: its order, its labels, its audio."""

import os

from wedefense.data.sources import open_source
from wedefense.utils.fingerprint import of_parts


def of_list(path: str | os.PathLike, data_type: str, label_table: str | os.PathLike | None = None) -> dict[str, str]:
    """`utterances` (keys and durations in their order), `labels`, `audio` and, where it has any, `spans`, by content.

    Where the list and the audio lie does not count.
    """
    source = open_source(path, data_type)
    if label_table is not None:
        source.entries.relabel(label_table)
    entries = source.entries
    found = {"utterances": of_parts(f"{key} {duration}" for key, duration in zip(entries.keys, entries.durations)),
            "labels": of_parts(str(entries.label(index)) for index in range(len(entries))),
            "audio": of_parts(source.fingerprints())}
    if source.marked is not None:
        found["spans"] = of_parts(str(source.spans(index)) for index in range(len(entries)))
    return found
