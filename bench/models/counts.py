"""Counts of networks; some are stored (configs/counts.yaml), so that a plan needs no torch.

counting.py counts a network that is built.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bench.config.load import stored_table
from bench.config.schema import DataConfig, ModelConfig

_SIZE_BY_SOURCE = {"cifar10": 32, "digits": 32, "letters": 32}  # pixels a side


class Counts(NamedTuple):
    """What a network holds, and what a forward pass of one image costs."""

    parameters: int
    statistics: int  # of BatchNorm
    forward_mmac: float  # multiply-accumulates, in millions

    @property
    def flops_per_image(self) -> int:
        """Forward FLOP of one image: two a multiply-accumulate."""
        return round(2e6 * self.forward_mmac)


@dataclass(frozen=True, kw_only=True)
class CountsRow:
    """A network's entry in configs/counts.yaml."""

    parameters: int
    statistics: int
    forward_mmac: dict[int, float]  # by input size in pixels a side


@functools.cache
def counts_table() -> Mapping[str, Mapping[str, CountsRow]]:
    """Read configs/counts.yaml: a row by network and stem."""
    return stored_table("counts", dict[str, dict[str, CountsRow]])


def input_size(model: ModelConfig, data: DataConfig) -> int | None:
    """Return the pixels a side of the images that reach the network.

    None where only the source's files can tell.
    """
    return model.input_size or data.image_size or _SIZE_BY_SOURCE.get(data.source)


def stored_counts(model: ModelConfig, data: DataConfig) -> Counts | None:
    """Return the counts of a network at the size of its images; None when they are not stored."""
    row = counts_table().get(model.name, {}).get(model.stem)
    size = input_size(model, data)
    if row is None or size not in row.forward_mmac:
        return None
    return Counts(
        parameters=row.parameters,
        statistics=row.statistics,
        forward_mmac=row.forward_mmac[size],
    )
