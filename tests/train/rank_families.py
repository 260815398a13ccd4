"""Run by the tests on each rank: steps of every family's encoder in a mode, and what the ranks have after them.

    python rank_families.py OUT TRAIN_LIST CASE ...
"""

import sys
from pathlib import Path

import torch

from tests.corpus import write_config
from wedefense.config.loader import load_config
from wedefense.frontend.ssl.products import Derived
from wedefense.frontend.ssl.transformer import Transformer
from wedefense.frontend.ssl.zoo import find_model, narrow
from wedefense.frontend.whisper import whisper_architecture
from wedefense.train.run import build_trainer
from wedefense.utils import distributed
from wedefense.utils.ending import end_rank, is_rank

STEPS = 6
WHISPER = {"model_type": "whisper", "d_model": 512, "encoder_layers": 6, "encoder_attention_heads": 8,
           "encoder_ffn_dim": 2048}
UNITS = "conv,head,attlayer,interm,ffnlayer"
ONE_LAYER = {"layer": 1, "layerwise_feature": False, "multilayer_feature": False}
MODES = {
    "frozen": {"frozen": True},
    "frozen, dropping out": {"frozen": True, "frozen_dropout": True},
    "full": {},
    "frozen extractor": {"freeze_extractor": True},
    "checkpointing": {"gradient_checkpointing": True},
    "one layer": ONE_LAYER,
    "a sum": {"layerwise_feature": False},
    "lora": {"adapters": {"type": "lora", "targets": ["q_proj", "v_proj", "output_dense"], "dropout": 0.1}},
    "bottlenecks": {"adapters": {"type": "bottleneck", "dim": 8, "norms": True}},
    "pruning": {"upstream_args": {"pruning_units": UNITS}},
    "gates only": {"upstream_args": {"pruning_units": UNITS}},
}
PRUNING = {"pruning": {"use_pruning_loss": True, "target_sparsity": 0.5},
           "gates only": {"use_pruning_loss": True, "target_sparsity": 0.5, "gates_only": True}}


def architecture_of(name: str):
    """Narrow and shallow, dropouts, layer drop and norms as they were published."""
    whole = whisper_architecture(WHISPER, name) if name == "whisper_base" else find_model(name).architecture
    return narrow(whole)


def config_of(folder: Path, train: str, name: str, mode: str, sharding: str):
    folder.mkdir(parents=True, exist_ok=True)
    frontend = "whisper" if name == "whisper_base" else "ssl"
    options = {**MODES[mode], "upstream_args": {"name": name, **MODES[mode].get("upstream_args", {})}}
    if frontend == "whisper" and "pruning_units" in options["upstream_args"]:
        options["upstream_args"]["pruning_units"] = UNITS.removeprefix("conv,")  # its convolutions cannot be cut
    changes = {f"dataset_args__{frontend}_args": options, **PRUNING.get(mode, {})}
    return load_config(write_config(folder, gpus=[0, 1], train_data=train, dataset_args__num_frms=12, grad_clip=1.0,
                                    dataloader_args__num_workers=0, dataset_args__frontend=frontend, sharding=sharding,
                                    exp_dir=str(folder.parents[1] / "exp"),  # one for both ranks
                                    dataset_args__cmvn=False,  # over time it would leave a mean nothing to tell
                                    dataloader_args__batch_size=2, optimizer="SGD", scheduler_args__initial_lr=0.05,
                                    scheduler_args__final_lr=0.05, **changes))


def main(out: str, train: str, *cases: str) -> None:
    dropped = [0]
    ask = Transformer.dropped

    def counted(self) -> bool:
        found = ask(self)
        dropped[0] += found
        return found

    Transformer.dropped = counted
    world, results = distributed.start((0, 1), "cpu"), {}
    for number, case in enumerate(cases):
        name, mode, sharding = case.split("/")
        folder = Path(out).parent / f"rank{world.rank}" / str(number)
        trainer = build_trainer(config_of(folder, train, name, mode, sharding), world, architecture_of(name))
        before = {key: value.clone() for key, value in trainer.parallel.state(trainer.detector).items()}
        dropped[0] = 0
        torch.manual_seed(7 + world.rank)  # each rank drops what it will
        trainer.parallel.module.train()
        trainer.loader.set_epoch(0)
        losses = [trainer._train_batch(batch)[0].item() for batch, _ in zip(trainer.loader, range(STEPS), strict=False)]
        after = {key: value.clone() for key, value in trainer.parallel.state(trainer.detector).items()}
        moved = [key for key, value in after.items() if not torch.equal(value, before[key])]
        kept = sum(isinstance(value, Derived) and value.value is not None
                   for module in trainer.detector.modules() for value in vars(module).values())
        results[case] = {"weights": distributed.gather(after), "losses": distributed.gather(losses),
                         "dropped": distributed.gather(dropped[0]), "moved": moved, "kept": distributed.gather(kept),
                         "trained": [key for key, p in trainer.detector.named_parameters() if p.requires_grad]}
    if world.is_main:
        torch.save(results, out)
    distributed.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
    if is_rank():
        end_rank(0)
