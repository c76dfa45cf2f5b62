"""Stored counts of networks (configs/counts.yaml), so that a plan needs no torch."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bench.config.load import stored_table
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


@dataclass(frozen=True, kw_only=True)
class CountsRow:
    """A network's entry in configs/counts.yaml; `forward_mmac` is by input size in pixels a side."""

    parameters: int
    statistics: int
    forward_mmac: dict[int, float]


@functools.cache
def counts_table() -> Mapping[str, Mapping[str, CountsRow]]:
    """Read configs/counts.yaml: a row by network and stem."""
    return stored_table("counts", dict[str, dict[str, CountsRow]])


def input_size(model: ModelConfig, data: DataConfig) -> int | None:
    """Pixels a side of the images that reach the network; None where only the source's files can tell."""
    return model.input_size or data.image_size or _NATIVE_SIZE.get(data.source)


def stored_counts(model: ModelConfig, data: DataConfig) -> Counts | None:
    """Counts of a network at the size of its images; None when they are not stored."""
    row = counts_table().get(model.name, {}).get(model.stem)
    size = input_size(model, data)
    if row is None or size not in row.forward_mmac:
        return None
    return Counts(
        parameters=row.parameters,
        statistics=row.statistics,
        forward_mmac=row.forward_mmac[size],
    )
