"""Learning rate and margin as pure functions of the global step."""

import math

from wedefense.config.train import ExponentialDecreaseOptions, MarginOptions, StepDecreaseOptions, TriAngular2Options


def _warm_up(step: int, warm_steps: float, scale: float, from_zero: bool) -> float:
    """The factor of data-parallel training; `scale` = world size x batch size / 64."""
    if step >= warm_steps:
        return scale
    if from_zero:
        return scale * step / warm_steps
    return 1 + (scale - 1) * step / warm_steps if scale > 1 else scale


class ExponentialDecrease:
    """lr(t) = c(t) * initial * (final / initial)^(t / T)"""

    def __init__(self, options: ExponentialDecreaseOptions, epochs: int, steps_per_epoch: int, scale: float):
        self.options = options
        self.total_steps = epochs * steps_per_epoch
        self.warm_steps = options.warm_up_epoch * steps_per_epoch
        self.scale = scale

    def lr(self, step: int) -> float:
        o = self.options
        factor = _warm_up(step, self.warm_steps, self.scale, o.warm_from_zero)
        return factor * o.initial_lr * math.exp(step / self.total_steps * math.log(o.final_lr / o.initial_lr))


class TriAngular2:
    """Triangles between `final_lr` and a peak that shrinks from cycle to cycle (arXiv 1506.01186)."""

    def __init__(self, options: TriAngular2Options, epochs: int, steps_per_epoch: int, scale: float):
        self.options = options
        self.warm_steps = options.warm_up_epoch * steps_per_epoch
        self.cycle = max(2, options.cycle_step * steps_per_epoch)
        self.scale = scale

    def lr(self, step: int) -> float:
        o = self.options
        cycle, point = divmod(step, self.cycle)
        half = self.cycle // 2
        rise = point / half if point <= half else 1 - (point - half) / half
        height = (o.initial_lr - o.final_lr) * o.reduce_lr_diff_ratio ** cycle
        return _warm_up(step, self.warm_steps, self.scale, False) * (o.final_lr + height * max(0.0, rise))


class StepDecrease:
    """lr(t) = c(t) * max(final, initial * factor^(whole epochs done / every))"""

    def __init__(self, options: StepDecreaseOptions, epochs: int, steps_per_epoch: int, scale: float):
        self.options, self.steps_per_epoch, self.scale = options, steps_per_epoch, scale

    def lr(self, step: int) -> float:
        o = self.options
        lower = o.initial_lr * o.factor ** (step // (o.every_epochs * self.steps_per_epoch))
        return _warm_up(step, o.warm_up_epoch * self.steps_per_epoch, self.scale, False) * max(o.final_lr, lower)


def margin_at(options: MarginOptions, step: int, steps_per_epoch: int) -> float:
    """The margin of a global step; constant when `update_margin` is off."""
    start = (options.increase_start_epoch - 1) * steps_per_epoch
    end = (options.fix_start_epoch - 1) * steps_per_epoch
    if not options.update_margin or step < start:
        return options.initial_margin
    if step >= end:
        return options.final_margin
    done = (step - start) / (end - start)
    ratio = 1 - math.exp(done * math.log(1e-3)) if options.increase_type == "exp" else done
    return options.initial_margin + (options.final_margin - options.initial_margin) * ratio
