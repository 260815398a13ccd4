"""Tiny corpora in the layouts of the official releases: folder names, protocol columns, odd lines."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000


def sound(path: Path, seconds: float = 0.6, buzz: float = 0) -> None:
    """Noise, with a buzz of so many times 800 Hz (True in what is fake); the same for the same name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(path.stem.encode()))
    wav = 0.05 * rng.standard_normal(int(RATE * seconds * rng.uniform(0.8, 1.2)))
    if buzz:
        wav += 0.05 * np.sign(np.sin(2 * np.pi * 800 * buzz * np.arange(len(wav)) / RATE))
    soundfile.write(path, wav, RATE)


def lines(path: Path, *rows: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))


def partialspoof(root: Path, per_set: int = 8) -> None:
    for name, letter in (("train", "T"), ("dev", "D"), ("eval", "E")):
        rows, labels = [], {}
        for number in range(per_set):
            fake = number % 2 == 1
            key = f"CON_{letter}_{number:07d}" if fake else f"LA_{letter}_{1000000 + number}"
            sound(root / name / "con_wav" / f"{key}.wav", buzz=fake)
            frames = int(100 * soundfile.info(root / name / "con_wav" / f"{key}.wav").duration)
            labels[key] = np.where(np.arange(frames) < (frames // 2 if fake else 0), "0", "1")
            rows.append(f"LA_{number % 3:04d} {key} - {'CON' if fake else '-'} {'spoof' if fake else 'bonafide'}")
        lines(root / f"protocols/PartialSpoof_LA_cm_protocols/PartialSpoof.LA.cm.{name}.trl.txt", *rows)
        (root / "segment_labels").mkdir(exist_ok=True)
        np.save(root / f"segment_labels/{name}_seglab_0.01.npy", np.array(labels, dtype=object))


def asvspoof2019(root: Path, per_set: int = 8) -> None:
    for name, letter, kind in (("train", "T", "trn"), ("dev", "D", "trl"), ("eval", "E", "trl")):
        rows = []
        for number in range(per_set):
            key, fake = f"LA_{letter}_{1000000 + number}", number % 2 == 1
            sound(root / f"LA/ASVspoof2019_LA_{name}/flac/{key}.flac", buzz=fake)
            rows.append(f"LA_{number % 3:04d} {key} - {'A01 spoof' if fake else '- bonafide'}")
        lines(root / f"LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{name}.{kind}.txt", *rows)


def asvspoof5(root: Path, per_set: int = 8) -> None:
    for letter, folder, table in (("T", "flac_T", "train"), ("D", "flac_D", "dev.track_1"),
                                  ("E", "flac_E_eval", "eval.track_1")):
        rows = []
        for number in range(per_set):
            key, fake = f"{letter}_{number:010d}", number % 2 == 1
            sound(root / folder / f"{key}.flac", buzz=fake)
            codec = f"C05 3 {letter}_0000000009" if letter == "E" and number > 3 else "- - -"
            rows.append(f"{letter}_485{number % 3} {key} F {codec} "
                        f"{'AC3 A05 spoof' if fake else '- bonafide bonafide'} -")
        lines(root / f"ASVspoof5.{table}.tsv", *rows)


def asvspoof2021(root: Path) -> None:
    la = ["LA_0009 LA_E_9332881 alaw ita_tx A07 spoof notrim eval",
          "LA_0031 LA_E_6866159 none - bonafide bonafide notrim eval",
          "LA_0020 LA_E_5464494 opus sin_tx A09 spoof notrim eval",
          "LA_0020 LA_E_5464495 pstn mad_tx bonafide bonafide notrim eval",
          "LA_0021 LA_E_2834763 none - A10 spoof notrim progress",
          "LA_0021 LA_E_2834764 gsm lux_tx A10 spoof trim hidden"]
    df = ["LA_0023 DF_E_2000011 nocodec asvspoof A14 spoof notrim progress traditional_vocoder - - - -",
          "TEF2 DF_E_2000013 low_m4a vcc2020 Task1-team20 spoof notrim eval neural_vocoder_nonautoregressive Task1 "
          "team20 FF E",
          "TGF1 DF_E_2000024 mp3m4a vcc2020 Task2-team12 spoof notrim eval traditional_vocoder Task2 team12 FF G",
          "LA_0043 DF_E_2000026 mp3m4a asvspoof bonafide bonafide notrim eval bonafide - - - -",
          "LA_0043 DF_E_2000027 high_ogg asvspoof bonafide bonafide notrim eval bonafide - - - -"]
    for track, rows in (("LA", la), ("DF", df)):
        lines(root / f"keys/{track}/CM/trial_metadata.txt", *rows)
        for row in rows:
            sound(root / f"ASVspoof2021_{track}_eval/flac/{row.split()[1]}.flac", buzz=" spoof " in row)


def in_the_wild(root: Path) -> None:
    rows = ["0.wav,Alec Guinness,spoof", "1.wav,Alec Guinness,spoof", "2.wav,Barack Obama,bona-fide",
            "3.wav,Barack Obama,bona-fide"]
    lines(root / "release_in_the_wild/meta.csv", "file,speaker,label", *rows)
    for row in rows:
        sound(root / "release_in_the_wild" / row.split(",")[0], buzz=row.endswith("spoof"))


def spoofceleb(root: Path, per_set: int = 8) -> None:
    for folder in ("train", "development", "evaluation"):
        rows = []
        for number in range(per_set):
            attack, speaker = ("a07", "id10318") if number % 2 else ("a00", f"id1032{number % 3}")
            file = f"{attack}/{speaker}/YYsxcZ5sa{folder[0]}c-00002-{number:03d}.flac"
            sound(root / "flac" / folder / file, buzz=attack != "a00")
            rows.append(f"{file},{speaker},{attack}")
        lines(root / f"metadata/{folder}.csv", "file,speaker,attack", *rows)


def voxceleb(root: Path) -> None:
    """Two test and two dev speakers of VoxCeleb1, four of VoxCeleb2 dev and two of its test set."""
    for part, speakers in (("vox1_test_wav/wav", ("id10270", "id10271")), ("vox1_dev_wav/wav", ("id10001", "id10002")),
                           ("vox2_dev/aac", ("id00012", "id00015", "id00016", "id00018")),
                           ("vox2_test/aac", ("id00017", "id00061"))):
        for speaker in speakers:
            for number in range(1, 5):
                sound(root / part / speaker / f"5r0dWxy17C{number % 2}" / f"{number:05d}.wav",
                      buzz=int(speaker[-1]) / 3)
    trial = "{0} id10270/5r0dWxy17C1/00001.wav {1}"
    lines(root / "veri_test2.txt", trial.format(1, "id10270/5r0dWxy17C0/00002.wav"),
          trial.format(0, "id10271/5r0dWxy17C0/00002.wav"), trial.format(0, "id10271/5r0dWxy17C1/00003.wav"))
    for name in ("list_test_all2.txt", "list_test_hard2.txt", "voxceleb1_test_v2.txt"):
        lines(root / name, trial.format(1, "id10270/5r0dWxy17C1/00003.wav"),
              trial.format(0, "id10001/5r0dWxy17C0/00002.wav"))


def iemocap(root: Path, per_class: int = 5) -> None:
    emotions = ("ang", "hap", "exc", "neu", "sad", "fru", "xxx")
    for session in range(1, 6):
        folder, dialog = root / f"Session{session}", f"Ses0{session}F_impro01"
        rows = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
        for number in range(per_class * len(emotions)):
            emotion, key = emotions[number % len(emotions)], f"{dialog}_{'FM'[number % 2]}{number:03d}"
            rows += [f"[{6 + number}.2901 - {8 + number}.2357]\t{key}\t{emotion}\t[2.5000, 2.5000, 2.5000]",
                     "C-E2:\tNeutral;\t()", "A-F1:\tval 3; act 2; dom  2;\t()", ""]
            if emotion not in ("fru", "xxx"):
                sound(folder / "sentences/wav" / dialog / f"{key}.wav", 0.3, buzz=emotion == "ang")
        lines(folder / "dialog/EmoEvaluation" / f"{dialog}.txt", *rows)
        lines(folder / "dialog/EmoEvaluation/Categorical" / f"{dialog}_e2_cat.txt", "Ses01F_impro01_F000 :Neutral; ()")


def musan(root: Path) -> None:
    for kind, source in (("noise", "free-sound"), ("speech", "librivox"), ("music", "fma")):
        sound(root / "musan" / kind / source / f"{kind}-{source}-0000.wav", 1.0)


def rirs_noises(root: Path) -> None:
    for room in ("smallroom", "mediumroom", "largeroom"):
        sound(root / "RIRS_NOISES/simulated_rirs" / room / "Room001" / "Room001-00001.wav", 0.1)


LAYOUTS: dict[str, Callable[[Path], None]] = {make.__name__: make for make in (
    partialspoof, asvspoof2019, asvspoof5, asvspoof2021, in_the_wild, spoofceleb, voxceleb, iemocap, musan,
    rirs_noises)}
