"""What the runs of an experiment will compute, before any is made. Without torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from bench.config.load import arm_config
from bench.config.schema import ExperimentConfig
from bench.experiment.plan import block_count
from bench.ledger.json_records import Record, stored_as
from bench.models.counts import Counts, stored_counts

PASSES = 3  # of a training image: one forward, two backward


@dataclass(frozen=True, kw_only=True)
class IsoFlops(Record):
    """The input size at which an arm's image costs nearest to what another arm's does."""

    of: str
    input_size: int  # pixels
    flops_ratio: float


@dataclass(frozen=True, kw_only=True)
class ArmCost(Record):
    """What one arm's runs compute; None where the network's counts are not known.

    `memory_bytes` of a rank, by what it holds, and `iso_flops` only where networks were built.
    """

    arm: str
    network: str
    stem: str
    input_size: int | None  # pixels; None: as the images are
    weights: str
    parameters: int | None
    flops_per_image: int | None  # forward
    steps: int  # of a run
    evaluations: Annotated[int, stored_as("looks")]
    train_pflop_all_runs: float | None
    memory_bytes: Mapping[str, int] | None = None
    iso_flops: IsoFlops | None = None


def arm_costs(
    config: ExperimentConfig, counted: Mapping[str, Counts] | None = None
) -> list[ArmCost]:
    """Count what each arm's runs will compute.

    By the counts that were made of an arm's network, else by the stored ones.
    """
    counts_by_arm = counted or {}
    costs = []
    for arm in config.arms:
        run_config = arm_config(config, arm)
        counts = counts_by_arm.get(arm) or stored_counts(run_config.model, run_config.data)
        costs.append(_arm_cost(config, arm, run_config, counts))
    return costs


def _arm_cost(
    config: ExperimentConfig, arm: str, run_config: ExperimentConfig, counts: Counts | None
) -> ArmCost:
    samples = run_config.train.samples
    images_of_a_block = sum(config.budgets) or samples
    parameters = None
    flops_per_image = None
    train_pflop = None
    if counts is not None:
        images = images_of_a_block * block_count(config)
        parameters = counts.parameters
        flops_per_image = counts.flops_per_image
        train_pflop = PASSES * counts.flops_per_image * images / 1e15
    return ArmCost(
        arm=arm,
        network=run_config.model.name,
        stem=run_config.model.stem,
        input_size=run_config.model.input_size,
        weights=run_config.weights.source,
        parameters=parameters,
        flops_per_image=flops_per_image,
        steps=samples // run_config.train.global_batch_size,
        evaluations=samples // run_config.evaluation.every_samples,
        train_pflop_all_runs=train_pflop,
    )
