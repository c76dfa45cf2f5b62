"""Pretrained values taken apart, in each run anew: their order gone, or all but mean and deviation.

A draw depends on the run's seed and the tensor's name alone.
"""

import zlib

import torch
from torch import Tensor

from bench.runtime.streams import Stream, derive_seed

_EPOCH = 1  # these draws' place in the counter, clear of those of the random weights


def transformed(key: str, value: Tensor, seed: int, transform: str) -> Tensor:
    """Return a tensor's values `shuffled` or `random_matched`: normal, of their mean and deviation.

    Integers stay. A variance, which no normal draw may make negative, is shuffled in either case.
    """
    if not value.is_floating_point():
        return value
    generator = _generator(key, seed)
    if transform == "shuffled" or key.endswith("running_var"):
        return _shuffled(value, generator)
    return _random_matched(value, generator)


def _generator(key: str, seed: int) -> torch.Generator:
    tensor_number = zlib.crc32(key.encode())
    return torch.Generator().manual_seed(
        derive_seed(seed, Stream.INIT, tensor_number, epoch=_EPOCH)
    )


def _shuffled(value: Tensor, generator: torch.Generator) -> Tensor:
    order = torch.randperm(value.numel(), generator=generator)
    return value.flatten()[order].view(value.shape)


def _random_matched(value: Tensor, generator: torch.Generator) -> Tensor:
    exact = value.double()
    normal = torch.randn(value.shape, generator=generator, dtype=torch.float64)
    deviation = normal.std(correction=0).clamp_min(1e-300)  # of one number: 0
    standard = (normal - normal.mean()) / deviation
    return (exact.mean() + exact.std(correction=0) * standard).to(value.dtype)
