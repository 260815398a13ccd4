"""Run by the tests on each rank: the gradients of a first step of each config, over the ranks and of each by itself.

    python rank_gradients.py OUT CONFIG ...
"""

import sys

import torch

from wedefense.config.loader import load_config
from wedefense.train.run import build_trainer
from wedefense.utils import distributed
from wedefense.utils.ending import end_rank, is_rank


def whole(gradient: torch.Tensor | None) -> torch.Tensor | None:
    """That of a sharded parameter from its shares."""
    return gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient


def alone(trainer, batch) -> dict[str, torch.Tensor | None]:
    """What this rank's batch says, without the others."""
    step = trainer.module
    trainer._before_step()
    torch.manual_seed(100 + trainer.world.rank)
    loss, _ = step(batch)
    learnt = {name: parameter for name, parameter in step.named_parameters() if parameter.requires_grad}
    return dict(zip(learnt, torch.autograd.grad(loss, list(learnt.values()), allow_unused=True)))


results = {}
for path in sys.argv[2:]:
    config = load_config(path)
    world = distributed.start(config.gpus, "cpu")
    trainer = build_trainer(config, world)
    trainer.parallel.module.train()
    trainer.loader.set_epoch(0)
    batch = next(iter(trainer.loader))
    own = alone(trainer, batch) if config.sharding == "none" else None
    torch.manual_seed(100 + world.rank)
    trainer._train_batch(batch)
    together = {name: whole(parameter.grad) for name, parameter in trainer.module.named_parameters()}
    results[path] = {"together": distributed.gather(together), "alone": distributed.gather(own)}
if world.is_main:
    torch.save(results, sys.argv[1])
distributed.stop()
if is_rank():
    end_rank(0)
