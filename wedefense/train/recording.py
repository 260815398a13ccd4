"""Whether a training run lets the GPU play back what its encoders launch."""

from typing import Any

from wedefense.config.frontend import FRONTENDS
from wedefense.config.schema import Config
from wedefense.gpu import kernels_run_on
from wedefense.gpu.graphs import Graphs
from wedefense.models.detector import Detector
from wedefense.train.modes import Mode
from wedefense.utils.distributed import World

BLOCKS_AT_ONCE = 4  # whose gradients ranks sum while earlier blocks go back: few, to begin soon, at some launches more


def record_encoders(config: Config, detector: Detector, mode: Mode, world: World) -> None:
    """Where every batch launches the same kernels: crops of one length."""
    recordable = FRONTENDS.row(config.dataset_args.frontend).recordable
    if not (config.cuda_graphs and recordable and kernels_run_on(world.device)):
        return
    if config.dataset_args.whole_utt or config.compile or config.sharding == "full":
        return
    data = config.dataset_args
    for encoder in (detector.pretrained.upstream, *mode.encoders()):
        record(encoder, config.dataloader_args.batch_size, data.samples(data.num_frms), world, config.accum_grad > 1)


def record(encoder: Any, batch: int, samples: int, world: World, summed: bool = False) -> None:
    """An encoder of the wav2vec 2.0 family, for crops of so many samples; `summed`: gradients, over several batches."""
    encoder.graphs = Graphs(batch, samples, summed)
    if world.size > 1:
        encoder.encoder.transformer.blocks_recorded_at_once = BLOCKS_AT_ONCE
