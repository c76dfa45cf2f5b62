"""Whether what all ranks must hold alike is still alike, to the last bit."""

from collections.abc import Iterable

import torch
from torch import Tensor

from bench.runtime.distributed import World

INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes an element
HASH_FACTOR = 1_000_003


class DriftError(RuntimeError):
    """Ranks that must hold the same numbers do not."""


@torch.no_grad()
def fingerprint(tensors: Iterable[Tensor]) -> int:
    """Hash tensors' bits and their places; waits for the device once.

    Each element counts by an odd multiple of its bits, so that any one bit, and any swap of two
    elements, changes the sum.
    """
    total: Tensor | None = None
    for tensor in tensors:
        bits = tensor.detach().view(INTEGERS[tensor.element_size()]).reshape(-1).to(torch.int64)
        places = torch.arange(bits.numel(), device=bits.device, dtype=torch.int64)
        tensor_sum = (bits * (2 * places + 1)).sum()  # wraps around, the same on every rank
        total = tensor_sum if total is None else total * HASH_FACTOR + tensor_sum
    return 0 if total is None else int(total)


def check_alike(world: World, tensors: Iterable[Tensor], step: int) -> None:
    """Raise DriftError, on every rank, where the tensors differ between ranks."""
    if world.size == 1:
        return
    number = fingerprint(tensors)
    if world.agree_on(number):
        return
    numbers = world.gather(number)
    others = [str(rank) for rank, other in enumerate(numbers) if other != numbers[0]]
    raise DriftError(
        f"at step {step} the parameters of rank {', '.join(others)} are not those of rank 0"
    )
