"""The `wedefense` command: one table from subcommands to the mains in `wedefense.bin`."""

import importlib
import os
import sys
from collections.abc import Callable

from wedefense import __version__
from wedefense.utils.ending import end_rank, is_rank, lost_another
from wedefense.utils.errors import InputError, did_you_mean, of_paths
from wedefense.utils.visible import Guarded

COMMANDS = {
    "recipes": "the recipes that came along, and copies of them to run",
    "list": "all components that a config may name, and where they come from",
    "config": "check a config, print what is in use, explain a key, compare two",
    "make_list": "stage 2: raw.list or tar shards from a data folder",
    "segments": "check label files of partly fake speech, turn each kind into every other",
    "train": "stage 3: train a detector",
    "history": "the curves of a training in the terminal",
    "average": "stage 4: average the last epochs",
    "prune": "stage 4: cut what a pruned training closed; or prune a trained experiment",
    "adapters": "adapters of a detector: shown, written for Hugging Face's PEFT, or merged",
    "embed": "stage 4: embeddings of a set",
    "logits": "stage 5: logits of a set",
    "llr": "stage 6: log-likelihood ratios of a set",
    "results": "stage 7: metrics and report of an experiment",
    "classify": "accuracy of a classifier, such as of emotions; the mean over folds",
    "score_trials": "speaker verification trials: scores, metrics and report",
    "check": "whether what earlier stages made is of what is here now",
    "table": "stage 9: an experiment beside a published row",
    "evaluate": "metrics of a score file against its keys",
    "benchmark": "many sets with many detectors: tables, a heat map, leaderboard files",
    "experiments": "experiments side by side: settings that differ, seeds as mean and deviation",
    "compare": "experiments or score files: which is better, and is it significant",
    "calibrate": "turn scores into calibrated log-likelihood ratios",
    "fuse": "combine the scores of several systems",
    "score": "score recordings with a trained or published detector",
    "locate": "where recordings are fake: spans, label files, pictures",
    "demo": "a page in the browser: a file or the microphone, scored and shown",
    "frames": "scores of every frame of recordings",
    "export": "a detector as TorchScript or ONNX, or as a folder for a hub, also as a Space",
    "push": "share a detector on a hub",
    "models": "the published detectors that load by name",
    "info": "what a model, a folder or a file is",
    "augment": "hear and see what training hears",
}


def usage() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    return (f"WeDefense {__version__}: detecting fake speech with self-supervised models\n\n"
            f"usage: wedefense COMMAND [options]      (wedefense COMMAND -h explains one)\n\n{rows}")


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    command, *rest = arguments
    if command in ("-V", "--version"):
        print(f"wedefense {__version__}")
        return 0
    if command not in COMMANDS:
        raise InputError(f"unknown command '{command}'{did_you_mean(command, COMMANDS)}")
    return importlib.import_module(f"wedefense.bin.{command}").main(rest) or 0


def run(entry: Callable[..., int] = main) -> None:
    """Call a main; what the user got wrong is told in one line, without a traceback."""
    # Before torch is loaded: its idle threads sleep instead of spinning, which costs a busy machine 20 times the time,
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # and a GPU's memory grows in place, so that batches of many lengths do not leave it in pieces.
    if not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & os.environ.keys():
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"
    sys.stdout, sys.stderr = Guarded(sys.stdout), Guarded(sys.stderr)  # whatever a name says
    try:
        with of_paths():
            code = entry()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # `wedefense ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if not is_rank():
            raise
        told = lost_another(error)
        if told:
            print(f"error: {told}", file=sys.stderr)
        else:
            sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    finally:
        sys.stdout, sys.stderr = sys.stdout.stream, sys.stderr.stream
    if is_rank():
        end_rank(code)
    sys.exit(code)


if __name__ == "__main__":
    run()
