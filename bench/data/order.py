"""Which images a step trains on, and how each may be augmented.

Both are functions of (seed, epoch, sample), at any number of ranks.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from bench.data.source import Indices
from bench.runtime.streams import Stream, permutation


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One rank's part of one global batch: sample numbers [B].

    Their random numbers come from the seed and the epoch.
    """

    seed: int
    epoch: int
    samples: Indices


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random crop from the padded image, then mirroring, then cutout. All lengths in pixels."""

    pad: int
    pad_mode: str  # zero | reflect
    flip: str  # none | random | alternating: a random half in epoch 0, then the other, and so on
    cutout: int  # side of the square; 0: none

    def check(self, size: tuple[int, ...]) -> None:
        """Raise ValueError for what images of size (H, W) do not allow."""
        shorter_side = min(size)
        self._check_length("pad", self.pad, shorter_side - 1, size)
        self._check_length("cutout", self.cutout, shorter_side, size)

    def _check_length(self, key: str, value: int, most: int, size: tuple[int, ...]) -> None:
        if value > most:
            raise ValueError(
                f"data.{key}: {value} is too much for images of {size[1]}x{size[0]}; at most {most}"
            )


@dataclass(kw_only=True)
class Order:
    """The order of `samples` training images in global batches.

    An epoch's incomplete last batch is dropped, or is `partial`. Not for two threads at once.
    """

    samples: int
    global_batch_size: int
    rank: int
    world_size: int
    seed: int
    last_batch: str  # drop | partial
    _permutations: dict[int, Future[Indices]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Raise ValueError for a batch that ranks cannot share or that an epoch does not fill."""
        batch = self.global_batch_size
        ranks = self.world_size
        if batch % ranks:
            nearest = max(ranks, round(batch / ranks) * ranks)
            raise ValueError(
                f"train.global_batch_size: {batch} does not divide over {ranks} processes; "
                f"nearest: {nearest}"
            )
        if batch > self.samples:
            raise ValueError(
                f"train.global_batch_size: {batch} is more than the {self.samples} training images"
            )
        remainder = self.samples % batch
        if self.last_batch == "partial" and remainder % ranks:
            raise ValueError(
                f"data.last_batch: 'partial' leaves {remainder} of {self.samples} images, which "
                f"{ranks} processes cannot share evenly; allowed here: drop, or another "
                "train.global_batch_size"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Count the global batches in an epoch."""
        complete_batches, remainder = divmod(self.samples, self.global_batch_size)
        if self.last_batch == "partial" and remainder > 0:
            return complete_batches + 1
        return complete_batches

    def samples_seen(self, step: int) -> int:
        """Count the images that all ranks together have trained on after so many steps."""
        epochs, batches = divmod(step, self.steps_per_epoch)
        samples_per_epoch = min(self.samples, self.steps_per_epoch * self.global_batch_size)
        return epochs * samples_per_epoch + batches * self.global_batch_size

    def rows(self, step: int) -> Rows:
        """Say what this rank trains on at a step: its contiguous part of the global batch."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        first = batch * self.global_batch_size
        global_batch = self._permutation(epoch)[first : first + self.global_batch_size]
        size = len(global_batch) // self.world_size
        samples = global_batch[self.rank * size : (self.rank + 1) * size]
        return Rows(seed=self.seed, epoch=epoch, samples=samples)

    def _permutation(self, epoch: int) -> Indices:
        """Return the epoch's order, and have the next one's ready in time.

        A permutation takes longer than a step.
        """
        if epoch not in self._permutations or epoch + 1 not in self._permutations:
            self._begin_permutations((epoch, epoch + 1))
        return self._permutations[epoch].result()

    def _begin_permutations(self, epochs: tuple[int, ...]) -> None:
        """Begin the epochs' permutations in a thread; those of other epochs are forgotten."""
        executor = ThreadPoolExecutor(1)
        permutations = {}
        for epoch in epochs:
            pending = self._permutations.get(epoch)
            if pending is None:
                pending = executor.submit(permutation, self.samples, self.seed, Stream.ORDER, epoch)
            permutations[epoch] = pending
        executor.shutdown(wait=False)  # its thread ends with its work
        self._permutations = permutations
