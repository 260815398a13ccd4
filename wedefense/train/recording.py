"""Whether a training run lets the GPU play back what its encoder launches."""

from wedefense.config.frontend import FRONTENDS
from wedefense.config.schema import Config
from wedefense.gpu import kernels_run_on
from wedefense.gpu.graphs import Graphs
from wedefense.models.detector import Detector
from wedefense.utils.distributed import World


def record_encoder(config: Config, detector: Detector, world: World) -> None:
    """Where every batch launches the same kernels: crops of one length and no gates, by one rank.

    Gradients of a recording lie in memory of its own, so they must not be summed over batches. Several ranks exchange
    gradients meanwhile, which a recording must not see.
    """
    recordable = FRONTENDS.row(config.dataset_args.frontend).recordable
    if not (config.cuda_graphs and recordable and kernels_run_on(world.device)):
        return
    trained = any(parameter.requires_grad for parameter in detector.pretrained.upstream.parameters())
    alike = not (config.dataset_args.whole_utt or config.use_pruning_loss or config.compile)
    if alike and world.size == 1 and not (trained and config.accum_grad > 1):
        data = config.dataset_args
        detector.pretrained.upstream.graphs = Graphs(config.dataloader_args.batch_size, data.samples(data.num_frms))
