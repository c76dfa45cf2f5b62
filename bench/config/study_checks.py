"""Checks of an experiment as a whole: keys that only make sense together.

Each raises ValueError with the key, its value and what is allowed.
"""

from bench import registry
from bench.config.schema import FACTOR_ROOTS, ExperimentConfig, section_keys


def check_study(config: ExperimentConfig) -> None:
    """Check what an experiment compares, and by what it is judged."""
    check_trackers(config)
    check_compared_arms(config)
    check_other_arms(config)
    check_thresholds(config)
    check_budgets(config)
    check_factors(config)
    check_arms_differ_in_factors(config)


def check_trackers(config: ExperimentConfig) -> None:
    """Check that each tracker exists."""
    for tracker in config.trackers:
        registry.check("tracker", tracker, "trackers")


def check_compared_arms(config: ExperimentConfig) -> None:
    """Check that the compared arms exist, and are two where a third one could have been named."""
    arm = config.primary.arm
    registry.require(config.baseline, config.arms, f"baseline: no arm {config.baseline!r}")
    registry.require(arm, config.arms, f"primary.arm: no arm {arm!r}")
    others = uncompared_arms(config)
    if others and arm == config.baseline:
        raise ValueError(f"primary.arm: {arm!r} is the baseline; allowed: {', '.join(others)}")


def check_other_arms(config: ExperimentConfig) -> None:
    """Check that controls are arms that are not compared, and that references are of arms."""
    for arm in config.controls:
        message = f"controls: no arm {arm!r} that could be one"
        registry.require(arm, uncompared_arms(config), message)
    for arm in config.reference:
        registry.require(arm, config.arms, f"reference: no arm {arm!r} that could be one")


def uncompared_arms(config: ExperimentConfig) -> list[str]:
    """Return the arms that are neither the baseline nor compared with it by primary."""
    return [arm for arm in config.arms if arm not in (config.baseline, config.primary.arm)]


def check_thresholds(config: ExperimentConfig) -> None:
    """Check that thresholds rise, and that the primary one is among them."""
    thresholds = list(config.thresholds)
    if thresholds != sorted(set(thresholds)):
        raise ValueError(f"thresholds: {thresholds} must rise, each once")
    if config.primary.threshold not in thresholds:
        raise ValueError(f"primary.threshold: {config.primary.threshold} is none of {thresholds}")


def check_budgets(config: ExperimentConfig) -> None:
    """Check that budgets are of annealed runs, each at an evaluation, the last at the run's end."""
    budgets = list(config.budgets)
    if not budgets:
        return
    if config.kind != "annealed":
        raise ValueError(
            f"budgets: {budgets} are for kind annealed; "
            f"{config.kind} runs are judged at every look of one budget"
        )
    every = config.evaluation.every_samples
    samples = config.train.samples
    is_rising = budgets == sorted(set(budgets))
    is_on_grid = all(budget % every == 0 for budget in budgets)
    if not is_rising or not is_on_grid or budgets[-1] != samples:
        grid = f"multiples of evaluation.every_samples {every} that rise to train.samples {samples}"
        raise ValueError(f"budgets: {budgets} must be {grid}")


def check_factors(config: ExperimentConfig) -> None:
    """Check that each factor is a key of a run, or a section of such."""
    allowed = list(FACTOR_ROOTS)
    for root in FACTOR_ROOTS:
        allowed += [f"{root}.{key}" for key in section_keys(root)]
    for factor in config.factors:
        registry.require(factor, allowed, f"factors: {factor!r} cannot be one")


def check_arms_differ_in_factors(config: ExperimentConfig) -> None:
    """Check that no arm overrides a key that is not declared as a factor."""
    for arm, overrides in config.arms.items():
        for key in overrides:
            if not is_factor(key, config):
                raise ValueError(
                    f"arm {arm}: {key!r} is not a declared factor, "
                    "so the comparison would be unfair; "
                    f"{registry.nearest(key, config.factors)}"
                )


def is_factor(key: str, config: ExperimentConfig) -> bool:
    """Say whether a dotted key is a factor, or lies in a section that is one."""
    return any(key == factor or key.startswith(f"{factor}.") for factor in config.factors)
