"""The examples that the help of each command ends with run as they are typed."""

from pathlib import Path

import pytest

from tests.hub import TOKEN, hub  # noqa: F401, a fixture
from tests.walkthrough import call, typed
from wedefense.cli import COMMANDS, main
from wedefense.utils.examples import EXAMPLES

FIRST = {"adapters": """
train --config conf/mhfa.yaml --exp_dir exp/mhfa_lora --dataset_args.ssl_args.frozen false
  --dataset_args.ssl_args.adapters.type lora --num_epochs 1
average --config exp/mhfa_lora/config.yaml
""",
         "classify": "classify --exp_dir exp/fold2 --data data --sets eval",
         "experiments": """
train --config conf/mhfa.yaml --exp_dir exp/seed43 --seed 43
average --config exp/seed43/config.yaml
embed --exp_dir exp/seed43 --sets dev eval --data data/dev/raw.list data/eval/raw.list
logits --exp_dir exp/seed43 --sets dev eval
llr --exp_dir exp/seed43 --sets dev eval
results --exp_dir exp/seed43 --data data --sets dev eval --bootstrap 0
results --exp_dir exp/mhfa --data data --sets dev eval --bootstrap 0
""",
         "prune": """
train --config conf/mhfa.yaml --exp_dir exp/mhfa_pruned --use_pruning_loss true --target_sparsity 0.3
  --sparsity_warmup_epochs 1 --num_epochs 1 --dataset_args.ssl_args.upstream_args.pruning_units head,interm
average --config exp/mhfa_pruned/config.yaml
"""}
LONG = ("benchmark", "export", "prune", "results", "score_trials", "classify", "augment", "train", "locate")


@pytest.mark.parametrize("command", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG))
                                     for name in COMMANDS])
def test_the_examples_of_a_command_run_as_they_are_typed(command, walkthrough, monkeypatch, capsys, request):
    pytest.importorskip("onnxruntime")
    if command == "push":
        request.getfixturevalue("hub")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    if command == "demo":
        monkeypatch.setattr(pytest.importorskip("gradio").Blocks, "block_thread", lambda self: self.close())
    monkeypatch.chdir(walkthrough)
    assert len(set(EXAMPLES[command])) == 2
    call(FIRST.get(command, ""))
    for text in EXAMPLES[command]:
        words = typed(text)
        assert words[0] == command and main(words) == 0, text
    Path("data/dev/segments").unlink(missing_ok=True)  # with which the lists are not what they were
    capsys.readouterr()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_ends_with_its_examples(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([command, "-h"])
    printed = capsys.readouterr().out
    ends = "examples:\n" + "".join(f"  {text}\n" for text in EXAMPLES[command])
    assert printed.endswith(ends) and max(map(len, printed.splitlines())) <= 80


def test_there_are_no_others():
    assert EXAMPLES.keys() == COMMANDS.keys()
