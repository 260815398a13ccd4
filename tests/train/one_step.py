"""Run by the tests on each rank: the gradients of the first step, and in how many pieces of memory they lie, written by
rank 0."""

import sys

import torch

from wedefense.config.loader import load_config
from wedefense.train.run import build_trainer
from wedefense.utils import distributed
from wedefense.utils.ending import end_rank, is_rank

config = load_config(sys.argv[1], sys.argv[3:])
world = distributed.start(config.gpus, "cpu")
trainer = build_trainer(config, world)
trainer.parallel.module.train()
trainer.loader.set_epoch(0)
batch = next(iter(trainer.loader))
trainer._train_batch(batch)
gradients = {name: parameter.grad for name, parameter in trainer.detector.named_parameters()
             if parameter.grad is not None or parameter.requires_grad}
everyone = distributed.gather({name: gradient.clone() for name, gradient in gradients.items()})
keys = [key for part in distributed.gather(batch.keys) for key in part]
if world.is_main:
    memory = {gradient.untyped_storage().data_ptr() for gradient in gradients.values() if gradient is not None}
    torch.save({"gradients": everyone, "keys": keys, "pieces": len(memory)}, sys.argv[2])
distributed.stop()
if is_rank():
    end_rank(0)
