"""Pages that are made: commands, Python names, licences, citations."""

import fnmatch
import re
from pathlib import Path

import yaml

from tools.docs import credit_pages, python_pages
from tools.docs.generated import generated
from wedefense.cli import COMMANDS
from wedefense.config.models import BACKENDS
from wedefense.detect.published import MODELS as DETECTORS

ROOT = Path(__file__).parents[2]
PAGES = generated()


def test_every_command_has_its_help_on_the_page():
    for command in COMMANDS:
        section = PAGES["commands.md"].split(f"\n## {command}\n")[1].split("\n## ")[0]
        assert f"usage: wedefense {command} " in section and "examples:" in section


def test_python_names_have_signature_docstring_methods_and_fields():
    page = PAGES["python/detectors.md"]
    section = page.split("\n## Score\n")[1].split("\n## ")[0]
    assert "| `llr` | log-likelihood ratio (natural), the mean over the windows |" in section
    assert "### lowest" in section and "The window that sounds most like a spoof" in section
    assert "### score\n\n```python\nscore(\n    audio,\n    sample_rate: int | None = None,\n    *,\n" in page
    assert "```pycon\n>>> model = load_detector(\"exp/mhfa\")\n" in page and "doctest" not in "".join(PAGES.values())


def test_a_docstring_becomes_markdown():
    def thing():
        """What a <b> is.

        >>> thing()  # doctest: +SKIP

            a *b*
        """
    assert python_pages.docstring(thing) == ("What a &lt;b&gt; is.\n\n```pycon\n>>> thing()\n```\n\n"
                                             "```text\na *b*\n```")


def test_every_encoder_and_corpus_has_its_licence():
    page = PAGES["licences.md"]
    for name in credit_pages.encoders():
        assert re.search(rf"^\| `{name}` \| `\S+` \| [^|]+ \| [^|]*\|$", page, re.MULTILINE), name
    assert re.search(r"\n\| `antideepfake_\w+` \| `nii-yamagishilab/[^|]+ \| CC BY-NC-SA 4.0[^|]+ \| Ge et al", page)
    assert "| `whisper_base` | `openai/whisper-base` | MIT |" in page
    assert "| ASVspoof 2019 LA | ODC-BY | <https://doi.org/10.7488/ds/2555> |" in page and "MUSAN" in page


def test_every_citation_has_what_a_citation_needs():
    found = {key: entry for entries in credit_pages.entries().values() for key, entry in entries.items()}
    assert len(found) == sum(map(len, credit_pages.entries().values())) >= 45
    for key, entry in found.items():
        assert {"author", "title", "year"} <= set(re.findall(r"^  (\w+) = \{", entry, re.MULTILINE)), key
        assert entry.count("{") == entry.count("}")
    titles = " ".join(re.findall(r"title = \{(.+)\}", "\n".join(found.values()))).lower()
    for method in ("ca-mhfa", "sls", "aasist", "nes2net", "ecapa", "rawboost", "wavlm", "redimnet", "hybrid pruning"):
        assert method.replace("redimnet", "reshape dimensions") in titles, method
    assert all(entry in PAGES["citations.md"] for entry in found.values())


def test_each_part_corpus_and_detector_says_what_to_cite_and_each_entry_is_of_something():
    found = {key for entries in credit_pages.entries().values() for key in entries}
    to_cite = credit_pages.to_cite()
    assert {key for names in to_cite.values() for keys in names.values() for key in keys} == found
    assert to_cite["back-ends"].keys() == {*BACKENDS.names()} and to_cite["detectors"].keys() == DETECTORS.keys()
    assert to_cite["encoders"]["xls_r_300m"] == ["babu2022xlsr"] and to_cite["corpora"]["pyara"] == []
    assert "| `df_arena_1b`, `df_arena_500m` | `kulkarni2026raptor` |" in PAGES["citations.md"]
    table = yaml.safe_load((ROOT / "tools/docs/citations.yaml").read_text(encoding="utf-8"))
    unused = [pattern for kind, rows in table.items() for pattern in rows
              if not any(fnmatch.fnmatch(name, pattern) for name in to_cite[kind])]
    assert not unused, unused
