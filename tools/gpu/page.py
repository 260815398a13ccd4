"""The page of a check: what was found, as Markdown."""

from tools.gpu.sections import FAILED

SHOWN = {"utterances_s": "utterances / s", "TFLOP_s": "TFLOP / s", "share_of_peak": "share of peak",
         "audio_h_s": "audio h / s", "first_step_s": "first step s", "built_in_s": "built in s", "files_s": "files / s",
         "cpu_ms_a_crop": "CPU ms a crop", "words": "remarks", "what": "", "value": ""}
CASES = {"frozen": "(a) WavLM base+ frozen, training step", "full": "(b) WavLM large trained whole, training step",
         "evaluation": "(c) WavLM base+, evaluation batch"}


def page(found: dict, title: str, *remarks: str) -> str:
    """Sections in the order they ran, a summary before them."""
    parts = [f"# {title}", *remarks, summary(found)]
    for entry in found.values():
        parts.append(f"## {entry['title']}")
        if entry["note"]:
            parts.append(entry["note"])
        if entry["status"] != "OK":
            parts.append(f"**{entry['status']}** {entry['words']}".strip())
        parts += [table(SHAPED.get(key, list)(rows)) for key, rows in entry["tables"].items()]
    return "\n\n".join(parts) + "\n"


def summary(found: dict) -> str:
    rows = [{"section": entry["title"], "status": entry["status"], "seconds": entry["seconds"],
             "in a word": in_a_word(name, entry)} for name, entry in found.items()]
    failed = [entry["title"] for entry in found.values() if entry["status"] in FAILED]
    unseen = [entry["title"] for entry in found.values() if entry["status"] in ("SKIPPED", "STOPPED", "RUNNING")]
    verdict = f"**Failed: {'; '.join(failed)}.**" if failed else "**Nothing failed.**"
    if unseen:
        verdict += f" Not or not wholly run: {'; '.join(unseen)}."
    return f"{verdict}\n\n{table(rows)}"


def in_a_word(name: str, entry: dict) -> str:
    """What matters most in a section."""
    tables = entry["tables"]
    if entry["status"] in ("SKIPPED", "DIED", "STOPPED") and entry["words"]:
        return entry["words"]
    judged = [row for rows in tables.values() for row in rows if "verdict" in row]
    if name in CASES and tables.get("speed"):
        return speed_in_a_word(tables)
    if name == "mixed" and tables.get("mixed"):
        rows = {(row["system"], row["way"], row["precision"]): row.get("ms") for row in tables["mixed"]}
        return ratio_text(rows.get(("ours", "batched", "bfloat16")), rows.get(("s3prl", "one at a time", "bfloat16")),
                          "s3prl one file at a time")
    if name == "loader" and tables.get("loader"):
        first = tables["loader"][0]
        return f"{first['utterances_s']} utterances / s of {first['what']} from {first['workers']} workers"
    if name == "versions":
        about = {row["what"]: row["value"] for row in tables.get("versions", ())}
        return f"{about.get('GPU', about.get('processor', ''))}, torch {about.get('torch', '')}"
    if name == "ceilings" and tables.get("ceilings"):
        products = [row for row in tables["ceilings"] if "precision" in row]
        return ", ".join(f"{row['value']} {row['unit']} {row['precision']}" for row in products)
    if name == "tests" and tables.get("count"):
        return tables["count"][-1]["words"]
    if judged:
        wrong = [row for row in judged if row["verdict"] == "FAIL"]
        return f"{len(judged) - len(wrong)} of {len(judged)} right"
    return entry["words"]


def speed_in_a_word(tables: dict) -> str:
    rows = {(row["system"], row.get("precision")): row for row in tables["speed"]}
    ours = rows.get(("ours", "bfloat16"), {})
    words = [f"{ours.get('ms')} ms in bfloat16"] if ours else []
    if "share_of_peak" in ours:
        words.append(f"{ours['share_of_peak']} of the peak")
    words.append(ratio_text(ours.get("ms"), rows.get(("s3prl", "bfloat16"), {}).get("ms"), "s3prl"))
    counted = ("synchronisations", "kernels", "graphs")
    words += [f"{row['value']} {row['what']}" for row in tables.get("host", ()) if row["what"] in counted]
    return ", ".join(word for word in words if word)


def ratio_text(ours: float | None, theirs: float | None, whom: str) -> str:
    return f"{theirs / ours:.2f} times as fast as {whom}" if ours and theirs else ""


def with_ratios(rows: list[dict]) -> list[dict]:
    """Beside each row how many times as fast ours is (batched, in the same precision)."""
    ours = {row.get("precision"): row["ms"] for row in reversed(rows) if row["system"] == "ours" and "ms" in row}
    return [row | {"ours is": f"{row['ms'] / ours[row['precision']]:.2f} x"}
            if row.get("ms") and ours.get(row["precision"]) else row for row in rows]


def by_model(rows: list[dict]) -> list[dict]:
    """A row for each model: its errors in every precision, "beside the CPU / batched beside alone"."""
    models = {}
    for row in rows:
        line = models.setdefault(row["model"], {"model": row["model"], "verdict": "OK"})
        line[row["precision"]] = row.get("words") or f"{row['to_the_CPU']:.1e} / {row['batched_to_alone']:.1e}"
        if row["verdict"] == "FAIL":
            line["verdict"] = "FAIL"
            line[row["precision"]] = f"**{line[row['precision']]}**"
    return list(models.values())


SHAPED = {"speed": with_ratios, "mixed": with_ratios, "outputs": by_model}


def table(rows: list[dict]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    columns.sort(key=lambda name: (name == "words", name == "verdict"))  # these two last
    lines = [[SHOWN.get(name, name) for name in columns], ["---"] * len(columns)]
    lines += [[str(row.get(name, "")).replace("|", "/").replace("\n", " ") for name in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
