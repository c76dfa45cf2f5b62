"""Which images a step trains on and how each is augmented: functions of (seed, epoch, sample), at any world size."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bench.runtime.streams import Stream, below, permutation, words

Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One rank's part of one global batch: sample numbers, crop corners in the padded image, mirrored or not; each [B]."""

    samples: Int64Array
    top: Int64Array
    left: Int64Array
    mirror: npt.NDArray[np.bool_]


@dataclass(kw_only=True)
class Order:
    """The order of `samples` training images in global batches, the incomplete last batch of an epoch dropped."""

    samples: int
    global_batch_size: int
    rank: int
    world_size: int
    seed: int
    pad: int
    flip: str
    _epoch: tuple[int, Int64Array] = field(default=(-1, np.empty(0, np.int64)), init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises ValueError for a batch that the ranks cannot share evenly or that an epoch does not fill."""
        check_batch(self.global_batch_size, self.samples, self.world_size)

    @property
    def steps_per_epoch(self) -> int:
        """Whole global batches in an epoch."""
        return self.samples // self.global_batch_size

    def rows(self, step: int) -> Rows:
        """What this rank trains on at a step: its contiguous part of the global batch, and the augmentation's numbers."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, permutation(self.samples, self.seed, Stream.ORDER, epoch))
        size = self.global_batch_size // self.world_size
        first = batch * self.global_batch_size + self.rank * size
        samples = self._epoch[1][first : first + size]
        drawn = words(self.seed, Stream.AUGMENT, samples, epoch)
        return Rows(
            samples=samples,
            top=below(drawn[:, 0], 2 * self.pad + 1),
            left=below(drawn[:, 1], 2 * self.pad + 1),
            mirror=(drawn[:, 2] >> np.uint32(31)).astype(bool) & (self.flip == "random"),
        )


def check_batch(global_batch_size: int, samples: int, world_size: int) -> None:
    """Raise ValueError where a global batch does not divide by the world size or is larger than the epoch."""
    if global_batch_size % world_size:
        near = max(world_size, round(global_batch_size / world_size) * world_size)
        raise ValueError(
            f"train.global_batch_size: {global_batch_size} does not divide over {world_size} processes; nearest: {near}"
        )
    if global_batch_size > samples:
        raise ValueError(f"train.global_batch_size: {global_batch_size} is more than the {samples} training images")
