"""What an error says of how a run ended: an exception, too little memory, a rank that died."""

from typing import NamedTuple

import torch

from bench.config.schema import ExperimentConfig
from bench.ledger.records import Status
from bench.runtime.distributed import World
from bench.training.drift import DriftError

# Of a CPU's allocator, which raises no type of its own.
OUT_OF_MEMORY_TEXT = "can't allocate memory"


class Ending(NamedTuple):
    """A run's status, and what is told of it."""

    status: Status
    error: str


def ending_of(failure: Exception, config: ExperimentConfig, world: World) -> Ending:
    """Say how a run ended by what was raised on this rank."""
    message = f"{type(failure).__name__}: {' '.join(str(failure).split())}"
    if isinstance(failure, DriftError):
        return Ending("invalid", message)
    if _is_out_of_memory(failure):
        batch = config.train.global_batch_size
        return Ending(
            "oom", f"at train.global_batch_size {batch} on {world.size} rank(s): {message}"
        )
    if world.size > 1:
        lost_ranks = world.lost_ranks()
        if lost_ranks:
            return Ending("rank_lost", f"{', '.join(lost_ranks)}; {message}")
    return Ending("failed", message)


def _is_out_of_memory(failure: Exception) -> bool:
    if isinstance(failure, MemoryError | torch.OutOfMemoryError):
        return True
    return OUT_OF_MEMORY_TEXT in str(failure)
