"""Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "as easy as 1, 2, 3").

Every draw is a function of (seed, stream, sample, epoch), so it depends on neither batch size,
world size nor history.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

UInt32Array = npt.NDArray[np.uint32]
PHILOX_ROUNDS = 10
_WORD = 0xFFFFFFFF


class Stream(IntEnum):
    """What a draw is for, the third word of the counter. Numbers are never reused."""

    INIT = 0
    ORDER = 1
    AUGMENT = 2
    SPLIT = 3
    BLOCK_ORDER = 4
    RENDER = 5
    LAYERS = 6


def philox4x32(counter: npt.ArrayLike, key: tuple[int, int]) -> UInt32Array:
    """Draw random words [..., 4] for counters [..., 4] of 32-bit words under one key of two
    words.
    """
    counter_words = np.moveaxis(np.asarray(counter).astype(np.uint64), -1, 0)
    word_0, word_1, word_2, word_3 = counter_words
    key_0, key_1 = key
    for _ in range(PHILOX_ROUNDS):
        product_0 = 0xD2511F53 * word_0
        product_2 = 0xCD9E8D57 * word_2
        word_0 = (product_2 >> 32) ^ word_1 ^ np.uint64(key_0)
        word_1 = product_2 & _WORD
        word_2 = (product_0 >> 32) ^ word_3 ^ np.uint64(key_1)
        word_3 = product_0 & _WORD
        key_0 = (key_0 + 0x9E3779B9) & _WORD
        key_1 = (key_1 + 0xBB67AE85) & _WORD
    return np.stack([word_0, word_1, word_2, word_3], axis=-1).astype(np.uint32)


def words(seed: int, stream: Stream, samples: npt.ArrayLike, epoch: int = 0) -> UInt32Array:
    """Draw four random words for each sample number: [N] to [N, 4].

    The key is the seed (64 bits), the counter (sample, epoch, stream, 0).
    """
    index = np.asarray(samples, dtype=np.uint64)
    counter = np.zeros((*index.shape, 4), dtype=np.uint64)
    counter[..., 0] = index
    counter[..., 1] = epoch
    counter[..., 2] = int(stream)
    return philox4x32(counter, (seed & _WORD, seed >> 32))


def permutation(n: int, seed: int, stream: Stream, epoch: int = 0) -> npt.NDArray[np.int64]:
    """Permute range(n) by the order of 64-bit random words, one a sample number."""
    drawn = words(seed, stream, np.arange(n), epoch).astype(np.uint64)
    return np.argsort((drawn[:, 0] << 32) | drawn[:, 1], kind="stable")


def below(word: UInt32Array, n: int) -> npt.NDArray[np.int64]:
    """Map random words to integers in [0, n), by multiply and shift (bias below n / 2^32)."""
    return ((word.astype(np.uint64) * np.uint64(n)) >> 32).astype(np.int64)


def derive_seed(seed: int, stream: Stream, sample: int = 0, epoch: int = 0) -> int:
    """Derive a 63-bit seed for a foreign generator (torch), one a (seed, stream, sample, epoch)."""
    drawn = words(seed, stream, sample, epoch)
    low = int(drawn[0])
    high = int(drawn[1])
    return (high << 32 | low) >> 1
