"""Stage 2 of detection: every label is bona fide or spoof, or the user says which."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from wedefense.metrics.keys import LABELS
from wedefense.utils.bonafide import BONAFIDE_NAMES, SPOOF_NAMES
from wedefense.utils.errors import InputError
from wedefense.utils.tables import count_text, read_table, write_table

GIVEN = "given_labels"  # beside utt2lab, where that was rewritten


def parse(pairs: Sequence[str]) -> dict[str, str]:
    """`ai=spoof` ... -> what each word means."""
    words = dict(pair.rpartition("=")[::2] for pair in pairs)
    for word, meaning in words.items():
        if not word or meaning not in ("bonafide", "spoof"):
            raise InputError(f"--labels {word}={meaning}: write WORD=bonafide or WORD=spoof")
    return words


def settle(folder: str | os.PathLike, words: Mapping[str, str]) -> None:
    """Write what the labels of a data folder mean into its utt2lab; a label that means neither is an error."""
    path = Path(folder) / "utt2lab"
    table = read_table(path)
    meant = {key: words.get(label, label) for key, label in table.items()}
    unknown = Counter(label for label in meant.values() if label.lower() not in LABELS)
    if unknown:
        example = " ".join(f"{label}=spoof" for label in sorted(unknown)[:3])
        raise InputError(f"{path}: labels that are neither bona fide ({', '.join(BONAFIDE_NAMES)}) nor a spoof "
                         f"({', '.join(SPOOF_NAMES)}): {count_text(unknown)}; say what they are: --labels '{example}'")
    counts = Counter(meant.values())
    means = {label: "bonafide" if LABELS[label.lower()] else "spoof" for label in sorted(counts)}
    words_of = Counter(means.values())
    alike = {label: meaning for label, meaning in means.items() if words_of[meaning] > 1}
    if alike:
        written = " ".join(f"{label}={meaning}" for label, meaning in alike.items() if label != meaning)
        raise InputError(f"{path}: one class by several words, which would be trained as several: "
                         f"{count_text({label: counts[label] for label in alike})}; say what they are: "
                         f"--labels '{written}'")
    if meant != table:
        if not (Path(folder) / GIVEN).exists():
            write_table(Path(folder) / GIVEN, table)
        write_table(path, meant)
