"""Stored counts of networks (configs/counts.yaml), so that a plan needs no torch."""

from typing import NamedTuple

from bench.config.load import stored
from bench.config.schema import DataConfig, ModelConfig

_NATIVE_SIZE = {"cifar10": 32, "digits": 32, "letters": 32}


class Counts(NamedTuple):
    """Parameters, BatchNorm statistics, and forward multiply-accumulates of one image, in millions."""

    parameters: int
    statistics: int
    forward_mmac: float

    @property
    def flops_per_image(self) -> int:
        """Forward FLOP of one image: two a multiply-accumulate."""
        return round(2e6 * self.forward_mmac)


def input_size(model: ModelConfig, data: DataConfig) -> int | None:
    """Pixels a side of the images that reach the network; None where only the source's files can tell."""
    return model.input_size or data.image_size or _NATIVE_SIZE.get(data.source)


def stored_counts(model: ModelConfig, data: DataConfig) -> Counts | None:
    """Counts of a network at the size of its images; None when they are not stored."""
    known = stored("counts").get(model.name, {}).get(model.stem)
    mmac = known and known["forward_mmac"].get(input_size(model, data))
    return (
        Counts(parameters=known["parameters"], statistics=known["statistics"], forward_mmac=mmac)
        if mmac
        else None
    )
