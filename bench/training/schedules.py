"""How fast weights move: learning rates by name, and how a run reacts to its val losses.

A schedule is a fraction of the peak rate and a function of the step alone, so that it is right at
any world size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.config.schema import ExperimentConfig


def constant(step: int, warmup_steps: int, total_steps: int) -> float:
    """Rise from 1 / warmup_steps to 1, then stay: every prefix is a legitimate stop (anytime)."""
    return min(1.0, (step + 1) / max(1, warmup_steps))


def cosine(step: int, warmup_steps: int, total_steps: int) -> float:
    """Rise to 1, then fall by half a cosine to zero at the last step (annealed)."""
    if step < warmup_steps:
        return constant(step, warmup_steps, total_steps)
    fraction_done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * fraction_done))


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """What val losses ask for.

    A factor on the learning rate, whether to end, and which evaluation (from 0 on) had the lowest
    loss.
    """

    lr_scale: float
    stop: bool
    best: int


def react(losses: Sequence[float], config: ExperimentConfig) -> Reaction:
    """Reduce on a plateau and stop early, as Keras does: a function of all losses so far.

    Counted in evaluations without a loss lower than the lowest: the rate falls after every
    plateau_patience of them, and the run ends after stop_patience.
    """
    schedule = config.schedule
    best = 0
    waited = 0
    reductions = 0
    for place, loss in enumerate(losses):
        if place == 0 or loss < losses[best]:
            best = place
            waited = 0
            continue
        waited += 1
        if waited % schedule.plateau_patience == 0:
            reductions += 1
    lowest_scale = min(1.0, schedule.plateau_min_lr / config.optim.lr)
    factor = schedule.plateau_factor or 1.0
    stop_patience = config.train.stop_patience
    return Reaction(
        lr_scale=max(factor**reductions, lowest_scale),
        stop=stop_patience is not None and waited >= stop_patience,
        best=best,
    )
