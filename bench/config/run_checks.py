"""Checks of one run's config: keys that only make sense together.

Each raises ValueError with the key, its value and what is allowed, in a sentence that begins with
`where`, e.g. `arm random: `.
"""

from bench import registry
from bench.config.schema import ExperimentConfig


def check_run(config: ExperimentConfig, where: str) -> None:
    """Check the keys of one run: an arm's, with its overrides applied."""
    check_plug_ins(config, where)
    check_grid(config, where)
    check_lr_warmup(config, where)
    check_head_first(config, where)
    check_stem(config, where)
    check_stop(config, where)
    check_parts(config, where)
    check_weights(config, where)


def check_plug_ins(config: ExperimentConfig, where: str) -> None:
    """Check that source, loader, optimizer and schedule exist."""
    registry.check("source", config.data.source, f"{where}data.source")
    registry.check("loader", config.data.loader, f"{where}data.loader")
    registry.check("optimizer", config.optim.name, f"{where}optim.name")
    registry.check("schedule", config.schedule.name, f"{where}schedule.name")


def check_grid(config: ExperimentConfig, where: str) -> None:
    """Check that evaluations come after whole steps, and that the last one ends the run."""
    every = config.evaluation.every_samples
    batch = config.train.global_batch_size
    check_multiple(f"{where}evaluation.every_samples", every, "train.global_batch_size", batch)
    samples = config.train.samples
    check_multiple(f"{where}train.samples", samples, "evaluation.every_samples", every)


def check_multiple(key: str, value: int, unit_key: str, unit: int) -> None:
    """Check that a value is a multiple of another key's; the nearest one is named where not."""
    if value % unit:
        nearest = max(unit, round(value / unit) * unit)
        raise ValueError(f"{key}: {value} is no multiple of {unit_key} {unit}; nearest: {nearest}")


def step_count(config: ExperimentConfig) -> int:
    """Return how many optimizer steps a run takes."""
    return config.train.samples // config.train.global_batch_size


def check_lr_warmup(config: ExperimentConfig, where: str) -> None:
    """Check that the learning rate reaches its highest before the run ends."""
    rising = config.schedule.lr_warmup_steps
    steps = step_count(config)
    if rising >= steps:
        raise ValueError(f"{where}schedule.lr_warmup_steps: {rising} leaves none of {steps} steps")


def check_head_first(config: ExperimentConfig, where: str) -> None:
    """Check that, once the head was trained alone, there are layers and steps left to train."""
    head_steps = config.finetune.head_first_steps
    steps = step_count(config)
    if not head_steps:
        return
    sentence = f"{where}finetune.head_first_steps: {head_steps} of {steps} steps leave"
    if config.finetune.layers == "head":
        raise ValueError(f"{sentence} nothing for finetune.layers head")
    if head_steps >= steps:
        raise ValueError(f"{sentence} no step for the other layers")


def check_stem(config: ExperimentConfig, where: str) -> None:
    """Check that weights are made to fit a 3x3 stem only where the network has one."""
    if config.weights.stem and config.model.stem == "stock":
        raise ValueError(
            f"{where}weights.stem: {config.weights.stem!r} makes a 3x3 stem, "
            "model.stem is 'stock'; allowed: null"
        )


def check_stop(config: ExperimentConfig, where: str) -> None:
    """Check that only a run whose every evaluation may decide can end early."""
    patience = config.train.stop_patience
    if patience and config.kind == "annealed":
        raise ValueError(
            f"{where}train.stop_patience: {patience} would end an annealed run "
            "before its schedule does"
        )


def check_parts(config: ExperimentConfig, where: str) -> None:
    """Check that every batch can be cut into parts of one size."""
    parts = config.train.accumulate_steps
    batch = config.train.global_batch_size
    check_multiple(f"{where}train.global_batch_size", batch, "train.accumulate_steps", parts)
    if parts > 1 and config.data.last_batch == "partial":
        raise ValueError(
            f"{where}data.last_batch: partial batches cannot be cut into {parts} equal parts; "
            "take drop"
        )


def check_weights(config: ExperimentConfig, where: str) -> None:
    """Check that weights from a file or from a recipe name it."""
    weights = config.weights
    if weights.source == "file" and not weights.file:
        raise ValueError(f"{where}weights.source: 'file' needs weights.file, which is null")
    if weights.source == "self" and not weights.recipe:
        raise ValueError(f"{where}weights.source: 'self' needs weights.recipe, which is null")
