"""Measured rates of a machine: operations a second in training and evaluation, processor time of loading."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from wedefense.utils.errors import InputError, did_you_mean

RATES = Path(__file__).with_name("rates.yaml")
KINDS = ("frozen", "full", "evaluation")
CROP = 3.0  # seconds that `cpu_ms` is for
SHOWN = {"date": None, "commit": "wedefense commit", "device": "GPU", "torch": "torch", "processor": "processor",
         "cores": "cores used"}


@dataclass(frozen=True)
class Rates:
    """`tflops[precision][kind]`, `cpu_ms[what]`, and what they were measured with."""

    measured: dict
    tflops: dict[str, dict[str, float]]
    cpu_ms: dict[str, float]

    def speed(self, precision: str, kind: str) -> float:
        """Operations a second."""
        try:
            return 1e12 * self.tflops[precision][kind]
        except KeyError:
            known = ", ".join(f"{p} {k}" for p, kinds in self.tflops.items() for k in kinds)
            raise InputError(f"no rate was measured for '{kind}' in {precision} (there are: {known or 'none'}); run "
                             f"tools/gpu_check.sh again with --sections ceilings,{kind}") from None

    def __str__(self) -> str:
        return ", ".join(str(value) for value in self.measured.values() if value not in (None, ""))


def named(name: str, path: Path = RATES) -> Rates:
    """The entry of a device in the file of measured rates."""
    known = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if name not in known:
        raise InputError(f"--device {name}: {path.name} has no rates measured on it{did_you_mean(name, known)}; run "
                         "tools/gpu_check.sh there and give --measured gpu_check.json")
    return Rates(**known[name])


def of_check(path: Path) -> Rates:
    """What a check of this machine measured."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        sections, about = content["sections"], content["about"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a gpu_check.json, as tools/gpu_check.sh writes it ({error})") from None
    if about.get("tiny"):
        raise InputError(f"{path}: a check in miniature measures no rates; run tools/gpu_check.sh without --tiny")
    versions = {row["what"]: row["value"] for row in _rows(sections, "versions", "versions")}
    measured = {name: versions.get(key) if key else about.get(name) for name, key in SHOWN.items()}
    tflops = {}
    for kind in KINDS:
        for row in _rows(sections, kind, "speed"):
            if row["system"] == "ours" and "TFLOP_s" in row:
                tflops.setdefault(row["precision"], {})[kind] = row["TFLOP_s"]
    cpu_ms = {row["what"]: row["cpu_ms_a_crop"] for row in _rows(sections, "loader", "loader")}
    return Rates({**measured, "device": measured["device"] or about["device"]}, tflops, cpu_ms)


def _rows(sections: dict, section: str, table: str) -> list[dict]:
    return sections.get(section, {}).get("tables", {}).get(table, [])


def entry(name: str, rates: Rates) -> str:
    """Rates as they stand in the file."""
    return yaml.safe_dump({name: {"measured": rates.measured, "tflops": rates.tflops, "cpu_ms": rates.cpu_ms}},
                          sort_keys=False, default_flow_style=None, width=118)


def crop_ms(rates: Rates, data, suffix: str) -> float | None:
    """Processor time of a crop under `dataset_args`; None where reading such files was not measured.

    What augmentation costs beyond reading was measured on flac. Steps without a measurement (codecs, ...) are left out.
    """
    if suffix not in rates.cpu_ms:
        return None
    extra = {name: max(0.0, ms - rates.cpu_ms["flac"]) for name, ms in rates.cpu_ms.items() if "flac" in rates.cpu_ms}
    total = rates.cpu_ms[suffix] + data.aug_prob * (extra.get("noise", 0.0) + extra.get("reverb", 0.0)) / 2
    total += data.speed_perturb * extra.get("speed", 0.0)
    total += data.rawboost * data.rawboost_args.prob * extra.get("rawboost", 0.0)
    total += sum(float(step.get("prob", 1.0)) * extra.get(step["type"], 0.0) for step in data.augment)
    return total * data.samples(data.num_frms) / data.resample_rate / CROP
