"""`bench plan --build`: networks built on tensors without data, to count them and a rank's
memory.
"""

from dataclasses import replace

from bench import registry
from bench.config.load import arm_config
from bench.config.schema import ExperimentConfig
from bench.experiment.cost import ArmCost, IsoFlops, arm_costs
from bench.models.counting import count, iso_flop_size
from bench.models.counts import Counts, input_size
from bench.models.memory import memory_bytes

CLASSES = 10


def built_costs(config: ExperimentConfig, iso_flops_arm: str | None) -> list[ArmCost]:
    """Count every arm's network and a rank's memory.

    With `iso_flops_arm` also the input sizes at which the other arms match that one's FLOPs. Raises
    ValueError for an arm that does not exist, and where the size of its images is not known.
    """
    if iso_flops_arm is not None:
        registry.require(iso_flops_arm, config.arms, f"--iso-flops: no arm {iso_flops_arm!r}")
    counts: dict[str, Counts] = {}
    sizes: dict[str, int] = {}
    for arm in config.arms:
        run_config = arm_config(config, arm)
        sizes[arm] = _known_input_size(run_config)
        counts[arm] = count(run_config.model, CLASSES, sizes[arm])
    costs = []
    for cost in arm_costs(config, counts):
        run_config = arm_config(config, cost.arm)
        iso_flops = None
        if iso_flops_arm is not None and cost.arm != iso_flops_arm:
            iso_flops = _iso_flops(
                run_config, sizes[cost.arm], iso_flops_arm, counts[iso_flops_arm]
            )
        bytes_by_use = memory_bytes(run_config, sizes[cost.arm])
        costs.append(replace(cost, memory_bytes=bytes_by_use, iso_flops=iso_flops))
    return costs


def _known_input_size(config: ExperimentConfig) -> int:
    size = input_size(config.model, config.data)
    if size is None:
        raise ValueError(
            f"--build: the size of {config.data.source!r} images is not stored; "
            "give --model.input_size"
        )
    return size


def _iso_flops(config: ExperimentConfig, size: int, arm: str, counts: Counts) -> IsoFlops:
    nearest = iso_flop_size(config.model, CLASSES, size, counts.flops_per_image)
    return IsoFlops(of=arm, input_size=nearest.input_size, flops_ratio=nearest.flops_ratio)
