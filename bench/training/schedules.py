"""Learning rate as a fraction of its peak: a function of the step alone, so it is right at any world size."""

import math


def _warmup(step: int, warmup_steps: int) -> float:
    """Linear from 1 / warmup_steps to 1."""
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def constant(step: int, warmup_steps: int, total_steps: int) -> float:
    """lr_warmup, then flat: every prefix is a legitimate stop (anytime)."""
    del total_steps
    return _warmup(step, warmup_steps)


def cosine(step: int, warmup_steps: int, total_steps: int) -> float:
    """lr_warmup, then half a cosine to zero at the last step (annealed)."""
    if step < warmup_steps:
        return _warmup(step, warmup_steps)
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))
