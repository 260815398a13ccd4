"""Pruning while fine-tuning: which units stay is learnt together with the weights."""

import numpy as np
import torch
from torch import Tensor, nn

from wedefense.config.pruning import PruningOptions
from wedefense.data.batch import Batch
from wedefense.models.detector import Detector, Outputs
from wedefense.pruning.constraint import CONSTRAINTS, sparsity_text
from wedefense.pruning.gates import gated_sites, open_shares, sites
from wedefense.pruning.schedule import target_at
from wedefense.pruning.size import Size, decided_openness, expected_openness, minimal_openness
from wedefense.train.distillation import Teacher
from wedefense.train.modes import Mode
from wedefense.utils.errors import OptionError
from wedefense.utils.log import get_logger

log = get_logger()


class Prune(Mode):
    """Full fine-tuning plus a Lagrangian that holds the encoder's sparsity, the fraction removed, at its target.

    The gates' parameters learn by descent, the multipliers by ascent, both at the constant `initial_reg_lr`,
    without weight decay and, but for `clip_gates`, out of the gradient clipping. With `gates_only` everything else
    stays as it is.
    """

    def __init__(self, options: PruningOptions, detector: Detector):
        super().__init__(options, detector)
        self.options = options
        self.parts = [detector]  # in a list: its weights are not the mode's
        encoder = self.encoder
        self.teacher = Teacher(options.distillation, detector) if options.distillation.wanted else None
        self.distances: dict[str, Tensor] = {}  # of the last batch
        if options.gates_only:
            detector.requires_grad_(False)
            for site in gated_sites(encoder):
                site.gate.requires_grad_(True)
        self.size = Size(encoder, "multiply-adds" if options.target_macs else "parameters")
        self.final = final_target(options, self.size)
        self.lagrangian = CONSTRAINTS[options.constraint]()
        self.target = target_at(0.0, options.sparsity_schedule, options.sparsity_warmup_epochs,
                                min(options.min_sparsity, self.final), self.final)
        log.info("pruning: %s of the encoder's %.3f M %s, reached over %g epochs (%s)", sparsity_text(self.final),
                 self.size.original / 1e6, self.size.measure, options.sparsity_warmup_epochs, options.sparsity_schedule)

    @property
    def encoder(self) -> nn.Module:
        return self.parts[0].pretrained.upstream

    def train(self, mode: bool = True) -> "Prune":
        """Called after the detector's own: with `gates_only` only gates are drawn, nothing else drops or drifts."""
        super().train(mode)
        if mode and self.options.gates_only:
            self.parts[0].eval()
            for site in gated_sites(self.encoder):
                site.gate.train()
        return self

    def groups(self, detector, scheduler_options) -> list[dict]:
        gates = [site.gate.log_alpha for site in gated_sites(self.encoder)]
        theirs = {id(parameter) for parameter in gates}
        groups = super().groups(detector, scheduler_options)
        for group in groups:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in theirs]
        own = {"fixed_lr": self.options.initial_reg_lr, "weight_decay": 0.0}
        return [group for group in groups if group["params"]] + [
            {"name": "gates", "params": gates, **own, "clipped": self.options.clip_gates},
            {"name": "multipliers", "params": list(self.lagrangian.parameters()), "maximize": True, **own}]

    def before_step(self, step: int, steps_per_epoch: int) -> None:
        options = self.options
        self.lagrangian.hold()
        self.target = target_at(step / steps_per_epoch, options.sparsity_schedule, options.sparsity_warmup_epochs,
                                min(options.min_sparsity, self.final), self.final)

    def terms(self, batch: Batch, outputs: Outputs) -> dict[str, Tensor]:
        terms = {} if self.teacher is None else self.teacher.terms(batch, outputs)
        self.distances = {name: term.detach() for name, term in terms.items()}
        return terms | {"penalty": self.lagrangian(self.size.sparsity(expected_openness), self.target)}

    def encoders(self) -> list[nn.Module]:
        return [] if self.teacher is None else [self.teacher.detector.pretrained.upstream]

    @torch.no_grad()
    def scalars(self) -> dict[str, float]:
        """`sparsity` is the expected one, that training steers; `cut_sparsity` what a cut now would remove."""
        sparsity, cut = self.size.sparsity(expected_openness), self.size.sparsity(decided_openness).item()
        return {"target_sparsity": self.target, "sparsity": sparsity.item(), "cut_sparsity": cut, "kept": 1 - cut,
                "penalty": self.lagrangian(sparsity, self.target).item(),
                "l1": self.lagrangian.l1.item(), "l2": self.lagrangian.l2.item(),
                **{name: distance.item() for name, distance in self.distances.items()}}

    def images(self) -> dict[str, np.ndarray]:
        """Open units: a row for each kind of unit, a column for each layer."""
        shares = open_shares(self.encoder)
        image = np.zeros((len(shares), max(map(len, shares.values()))))
        for row, values in enumerate(shares.values()):
            image[row, :len(values)] = values
        return {f"open_units_{'_'.join(shares)}": image.repeat(24, axis=0).repeat(24, axis=1)}


def final_target(options: PruningOptions, size: Size) -> float:
    """The sparsity to end with; a budget becomes the fraction to remove."""
    name, budget = next(((name, getattr(options, name)) for name in ("target_params", "target_macs")
                         if getattr(options, name)), ("target_sparsity", None))
    target = options.target_sparsity if budget is None else 1 - budget / size.original
    most = size.sparsity(minimal_openness).item()
    if target > most:
        others = {site.unit for site in sites(size.encoder)} - {site.unit for site in gated_sites(size.encoder)}
        cure = (f"name more ({', '.join(sorted(others))})" if others else
                "the rest has no units to cut (positions, norms)")
        raise OptionError(name, f"asks to {sparsity_text(target)}, and with these pruning_units no more than "
                                f"{100 * most:.1f} % can be removed; {cure}")
    if target < 0:
        raise OptionError(name, f"the encoder has only {size.original:.4g} {size.measure}; nothing has to be removed")
    return target
