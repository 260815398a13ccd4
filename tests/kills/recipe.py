"""Stages 1 to 8 of a recipe, each command a process of its own, training and embedding one for each rank."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

from tests.corpus import make_list, make_partial
from tests.kills.forked import IMPORTED, call, import_what_commands_did, in_forker, in_session
from tests.kills.snapshots import Watch
from tests.recipes.stages_here import PRUNED, SETS, SSL, Stages
from tools.prepare import corpus
from wedefense.bin import embed, segments, train

MODES = {
    "frozen": SSL | {"dataset_args__ssl_args": {"upstream_args": {"name": "wavlm_tiny"}, "frozen": True}},
    "full": SSL | {"dataset_args__ssl_args": {"upstream_args": {"name": "wavlm_tiny"}}},
    "pruning": SSL | PRUNED,
    "localizing": {"model": "SSL_BACKEND_MHFA", "num_epochs": 1, "num_avg": 1,
                   "model_args": {"embed_dim": 16, "head_nb": 4, "compression_dim": 8},
                   "localization_args": {"resolutions": [20, 160]}},
}
CASES = [f"{data_type}-{mode}" for data_type in ("raw", "shard") for mode in MODES]
TUNED = ("--num_epochs", "1", "--seed", "8")
STAGES = {"corpus": 1, "segments": 1, "make_list": 2, "train": 3, "average": 4, "prune": 4, "embed": 4, "logits": 5,
          "llr": 6, "results": 7}
TABLES = "database/protocols/PartialSpoof_LA_cm_protocols/PartialSpoof.LA.cm"


class Finished(Exception):
    """All that was wanted is done."""


class Recipe(Stages):
    """Runs from the corpus, or from the stage where it was killed, to the end or to the command that is `last`."""

    workers, last = 2, ""

    def __init__(self, folder: Path, case: str, ranks: int = 1, pictures: bool = False):
        data_type, self.mode = case.split("-")
        self.ranks, self.watch, self.log, self.pictures = ranks, None, folder / "log", pictures
        self.imported, self.start = folder / "imported", call
        small = {"num_epochs": 2, "num_avg": 2, "save_step_interval": 1, "dataloader_args__batch_size": 4 // ranks,
                 "gpus": list(range(ranks))}
        super().__init__(folder, data_type, **small | MODES[self.mode])
        self.keep()

    def make_data(self) -> None:
        """A corpus, in the layout of the release of PartialSpoof."""
        self.corpus = self.root / "corpus"
        make = make_partial if self.mode == "localizing" else make_list
        for name in SETS:
            folder = make(self.corpus, name, 8).parent
            audio = self.corpus / f"database/{name}/con_wav"
            audio.mkdir(parents=True)
            for wav in folder.glob("*.wav"):
                wav.rename(audio / wav.name)
            lines = [line.split() for line in (folder / "utt2lab").read_text().splitlines()]
            table = self.corpus / f"{TABLES}.{name}.trl.txt"
            table.parent.mkdir(parents=True, exist_ok=True)
            table.write_text("".join(f"S{number % 3} {key} - - {label}\n" for number, (key, label) in enumerate(lines)))

    def call(self, main: Callable[[list[str]], int], arguments: list[str]) -> None:
        what, command = main.__module__.rpartition(".")[2], self._command(main, arguments)
        if self.watch is not None:
            self.watch.command_begins(command, 8 if "exp-FT" in command else STAGES[what])
        self.start(main, arguments, self.ranks if main in (train.main, embed.main) else 1)
        if self.watch is not None:
            self.watch.command_ends()
        if command == self.last:
            raise Finished

    @staticmethod
    def _command(main: Callable, arguments: list[str]) -> str:
        """`train exp`, `make_list dev`."""
        of = next(Path(arguments[arguments.index(option) + 1]).name for option in ("--exp_dir", "--data_dir", "--out")
                  if option in arguments)
        return f"{main.__module__.rpartition('.')[2]} {of}"

    def run_all(self, start: int = 1, last: str = "") -> None:
        self.last = last
        with contextlib.suppress(Finished):
            self._run_all(start)

    def _run_all(self, start: int) -> None:
        """8 is fine-tuning from the average, with 4 to 7 of its own."""
        if not self.pictures:
            import wedefense.report.write

            wedefense.report.write.write_report = lambda *arguments: None
        if start == 1:
            self._prepare()
        if start < 8:
            self.run(max(2, start))
        self._fine_tune()

    def _prepare(self) -> None:
        self.call(corpus.main, ["partialspoof", "--corpus", str(self.corpus), "--out", str(self.data), "--subset",
                                "--num_workers", str(self.workers)])
        if self.mode == "localizing":
            for name in SETS:
                self.call(segments.main, [str(self.corpus / name / "segments"), "--data_dir", str(self.data / name)])

    def _fine_tune(self) -> None:
        cut = self.exp / "pruned_model"
        whole = cut.exists() and json.loads((cut / "source.json").read_text())
        start = (cut if whole else self.exp) / "models/avg_model.pt"
        off = ("--use_pruning_loss", "false", "--target_sparsity", "0") if whole else ()
        self.run(3, *TUNED, *off, "--model_init", str(start), exp=self.root / "exp-FT")

    def finishes(self, start: int = 1, last: str = "") -> bool:
        return in_session(self.log, self.run_all, start, last) == 0

    def told(self) -> str:
        """The last words of the last run."""
        return " / ".join(self.log.read_text().splitlines()[-3:])

    def finish_watched(self, watch: Watch) -> bool:
        """What it imports is imported by the forker too, for all runs after."""
        done = in_session(self.log, self._watched, watch, **{IMPORTED: str(self.imported)}) == 0
        if self.imported.exists():
            in_forker(import_what_commands_did, self.imported)
        return done

    def killed(self, watch: Watch) -> None:
        in_session(self.log, self._watched, watch)

    def killed_after(self, seconds: float) -> None:
        in_session(self.log, self.run_all, kill_after=seconds)

    def _watched(self, watch: Watch) -> None:
        self.watch = watch
        watch.begin()
        self.run_all()


