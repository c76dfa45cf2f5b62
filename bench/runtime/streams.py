"""Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

Every draw is a function of (seed, stream, sample, epoch), so it depends on neither batch size, world size nor history.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

UInt32Array = npt.NDArray[np.uint32]
_WORD = 0xFFFFFFFF


class Stream(IntEnum):
    """Third word of the counter: what a draw is for. Numbers are part of the method and never reused."""

    INIT = 0
    ORDER = 1
    AUGMENT = 2
    SPLIT = 3
    BLOCK_ORDER = 4
    RENDER = 5


def philox4x32(counter: npt.ArrayLike, key: tuple[int, int]) -> UInt32Array:
    """Ten rounds of Philox4x32 over counters [..., 4] (32-bit words) under one key; random words [..., 4]."""
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter).astype(np.uint64), -1, 0)
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (p1 >> 32) ^ c1 ^ np.uint64(k0),
            p1 & _WORD,
            (p0 >> 32) ^ c3 ^ np.uint64(k1),
            p0 & _WORD,
        )
        k0, k1 = (k0 + 0x9E3779B9) & _WORD, (k1 + 0xBB67AE85) & _WORD
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def words(seed: int, stream: Stream, samples: npt.ArrayLike, epoch: int = 0) -> UInt32Array:
    """Four random words for each sample number: [N] -> [N, 4]. Key = seed (64 bits), counter = (sample, epoch, stream, 0)."""
    index = np.asarray(samples, dtype=np.uint64)
    counter = np.zeros((*index.shape, 4), dtype=np.uint64)
    counter[..., 0], counter[..., 1], counter[..., 2] = index, epoch, int(stream)
    return philox4x32(counter, (seed & _WORD, seed >> 32))


def permutation(n: int, seed: int, stream: Stream, epoch: int = 0) -> npt.NDArray[np.int64]:
    """A permutation of range(n): the order of 64-bit random words, one a sample number."""
    drawn = words(seed, stream, np.arange(n), epoch).astype(np.uint64)
    return np.argsort((drawn[:, 0] << 32) | drawn[:, 1], kind="stable")


def below(word: UInt32Array, n: int) -> npt.NDArray[np.int64]:
    """Map random words to integers in [0, n), by multiply and shift (bias below n / 2^32)."""
    return ((word.astype(np.uint64) * np.uint64(n)) >> 32).astype(np.int64)


def derive_seed(seed: int, stream: Stream, sample: int = 0, epoch: int = 0) -> int:
    """A 63-bit seed for a foreign generator (torch), one a (seed, stream, sample, epoch)."""
    low, high = (int(word) for word in words(seed, stream, sample, epoch)[:2])
    return (high << 32 | low) >> 1
