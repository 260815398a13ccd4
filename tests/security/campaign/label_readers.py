"""Readers of label files of partly fake speech, of tables that name recordings, and of corpora as they are released."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import soundfile

from tests.recipes.layouts import LAYOUTS as OF_RECIPES
from tests.security.campaign.reader import Reader, finite, main_of
from tests.tools.corpus_trees import TREES
from tests.tools.readers import reader as corpus_reader
from tools.prepare import mix, table
from tools.prepare.corpus import LAYOUTS
from wedefense.bin import augment, embed, segments
from wedefense.data.layouts import read_layouts
from wedefense.data.prepare import run
from wedefense.data.spans import Span, read_spans, write_spans
from wedefense.utils.errors import of_paths
from wedefense.utils.tables import read_table

NAMES = {"segments": "marks/segments", "rttm": "marks/x.rttm", "items": "marks/items", "csv": "marks/x.csv",
         "vad": "marks/vad/u0.txt", "audacity": "marks/audacity/u0.txt", "textgrid": "marks/textgrid/u0.TextGrid"}
_AUDIO = {".wav", ".flac", ".mp3", ".m4a", ".ogg", ".npy"}


def good_labels(root: Path) -> None:
    spans = {"u0": [Span(0, 0.1, "bonafide"), Span(0.1, 0.2, "spoof")]}
    for kind, name in NAMES.items():
        place = root / name
        write_spans(place.parent if kind in ("vad", "audacity", "textgrid") else place, spans, kind)
    (root / "marks/utt2dur").write_text("u0 0.2\n")
    (root / "marks/noise.scp").write_text(f"n0 {root / 'a.wav'}\n")
    (root / "own/audio").mkdir(parents=True)
    rows = []
    for number in range(12):
        shutil.copy(root / "a.wav", root / f"own/audio/{number}.wav")
        with soundfile.SoundFile(root / f"own/audio/{number}.wav", "r+") as sound:
            sound.write([number / 100] * 10)  # each has a content of its own
        rows.append({"path": f"{number}.wav", "label": "fake" if number % 2 else "real", "speaker": f"s{number // 4}",
                     "split": ("train", "dev", "test")[number // 4]})
    (root / "own/x.csv").write_text("\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n")
    (root / "own/x.tsv").write_text("\n".join(["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]) + "\n")
    (root / "own/x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("part", "held"):
        shutil.copytree(root / "train", root / "own" / name, ignore=shutil.ignore_patterns("*.wav", "shards", "*.json"))


def _sound(found: dict[str, list[Span]]) -> bool:
    return all(finite(span[:2]) and 0 <= span[0] < span[1] for spans in found.values() for span in spans)


def _converted(kind: str, *more: str) -> Callable[[Path], object]:
    """Through the command, held to how long the recordings are; what it writes is read back."""
    def read(folder: Path):
        shutil.rmtree(folder / "out", ignore_errors=True)
        name = folder / NAMES[kind]
        source = name.parent if kind in ("vad", "audacity", "textgrid") else name
        segments.main([str(source), "--from", kind, "--out", str(folder / "out/segments"), "--to", "segments", *(
            text.replace("{}", str(folder)) for text in more)])
        return read_spans(folder / "out/segments", "segments")

    return read


def _prepared(main: Callable, *arguments: str) -> Callable[[Path], object]:
    """What a reader of corpora wrote: (labels by set, whether every recording is there)."""
    def read(folder: Path):
        out = folder / "prepared"
        shutil.rmtree(out, ignore_errors=True)
        with of_paths():  # as around every main
            main([text.replace("{}", str(folder)) for text in arguments])
        return {made.parent.relative_to(out).as_posix(): (read_table(made), read_table(made.with_name("wav.scp")))
                for made in out.rglob("utt2lab")}

    return read


def whole_sets(found) -> bool:
    """Each set has one recording for each label, and labels are what they may be."""
    return all(labels.keys() == wavs.keys() and all(Path(wav).is_file() for wav in wavs.values())
               and labels for labels, wavs in found.values())


def _labelled(found) -> bool:
    """Of what stage 2 looks for recordings."""
    return all(labels and labels.keys() == wavs.keys() for labels, wavs in found.values())


def _two_classes(found) -> bool:
    return whole_sets(found) and all(set(labels.values()) <= {"bonafide", "spoof"} for labels, _ in found.values())


def _table(name: str) -> Reader:
    return Reader(f"own/{name}", _prepared(table.main, "--table", f"{{}}/own/{name}", "--audio", "{}/own/audio",
                                           "--out", "{}/prepared", "--num_workers", "1"), _two_classes)


_OUT = ["--out", "{}/prepared/all", "--num_workers", "1"]
LABEL_READERS = {
    **{f"spans {kind}": Reader(name, _converted(kind), _sound) for kind, name in NAMES.items()},
    "spans held to durations": Reader("marks/segments", _converted("segments", "--durations", "{}/marks/utt2dur"),
                                      lambda found: _sound(found) and found["u0"][-1].end <= 0.25 + 1e-9),
    "durations": Reader("marks/utt2dur", _converted("segments", "--durations", "{}/marks/utt2dur"), _sound),
    "noises": Reader("marks/noise.scp", main_of(
        augment.main, "{}/a.wav", "{}/heard", "--config", "{}/conf/config.yaml", "--epochs", "1", "--noise_data",
        "{}/marks/noise.scp", "--dataset_args.aug_prob", "1.0", "--reverb_data", "{}/marks/noise.scp"), share=0.5),
    "embedded recordings": Reader("train/wav.scp", main_of(
        embed.main, "{}/train/wav.scp", "--model", "{}/exp", "--out", "{}/e.npz", "--device", "cpu"), share=0.3),
    "own table csv": _table("x.csv"), "own table tsv": _table("x.tsv"), "own table jsonl": _table("x.jsonl"),
    **{f"mixture {name}": Reader(f"own/part/{name}", _prepared(mix.main, "a={}/own/part", *_OUT), _labelled)
       for name in ("wav.scp", "utt2lab")},
}


def _corpus(name: str) -> Callable[[Path], None]:
    return TREES[name].make if name in TREES else OF_RECIPES[name]


ROWS = read_layouts(LAYOUTS)
CORPORA = sorted({*ROWS, *OF_RECIPES})


def corpus(root: Path, name: str) -> tuple[list[Path], Callable[[Path], object]]:
    """A release made in `root/corpus`: its protocols, and what reads it."""
    _corpus(name)(root / "corpus")
    protocols = sorted(path for path in (root / "corpus").rglob("*") if path.is_file() and path.suffix not in _AUDIO)
    main = partial(run, ROWS[name].read, name, {}) if name in ROWS else corpus_reader(name)  # whose rows are read once
    read = _prepared(main, "--corpus", "{}/corpus", "--out", "{}/prepared", "--num_workers", "1")
    return protocols, read
