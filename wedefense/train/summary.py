"""What is about to be trained, in words."""

from wedefense.config.frontend import adapters_in
from wedefense.config.modes import STANDARD
from wedefense.config.schema import Config
from wedefense.models.cost import multiply_adds, parameters, training_bytes
from wedefense.utils.precision import resolve
from wedefense.utils.tables import first_few


def describe(config: Config, detector, labels, world) -> str:
    """Parameters of each part, cost, classes and their shares, devices, batch: what a person checks first."""
    rows = [f"experiment {config.exp_dir}: {_kind(config, detector)} training, {world.size} "
            f"rank{'s' if world.size > 1 else ''} on {world.device.type}, "
            f"{resolve(config.chosen_precision, world.device).name}"]
    parts = {"front-end": detector.frontend, "back-end": detector.backend, "head": detector.projection,
             "segments": detector.localizer, "total": detector}
    for name, part in parts.items():
        if part is None:
            continue
        rows.append(f"  {name:<9} {type(part).__name__:<16} {parameters(part) / 1e6:9.3f} M parameters, "
                    f"{parameters(part, trained_only=True) / 1e6:9.3f} M trained")
    rows.append(f"  cost      {multiply_adds(detector) / 1e9:.3f} G multiply-adds for 2 s of audio; weights, gradients "
                f"and {config.optimizer} states {training_bytes(detector, config.optimizer) / 2**30:.2f} GiB, "
                "activations on top")
    shares = [f"{name} {count} ({100 * count / sum(labels.counts):.1f} %)"
              for name, count in zip(labels.names, labels.counts)]
    rows.append(f"  classes   {first_few(shares, 4)}")
    rows.append(f"  batch     {config.dataloader_args.batch_size} x {world.size} ranks x {config.accum_grad} "
                f"accumulated, seed {config.seed}")
    return "\n".join(rows)


def _kind(config: Config, detector) -> str:
    """The mode; the standard one is told by what happens to the front-end."""
    if config.chosen_mode != STANDARD:
        return config.chosen_mode
    if (adapters := adapters_in(config.dataset_args.frontend_options)).wanted:
        return adapters.in_words()
    learnt = [parameter.requires_grad for parameter in detector.frontend.parameters()]
    return "frozen" if learnt and not any(learnt) else "full"
