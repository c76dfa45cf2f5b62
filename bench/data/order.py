"""Which images a step trains on and how each is augmented: functions of (seed, epoch, sample), at any world size."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from bench.data.source import Indices
from bench.runtime.streams import Stream, permutation


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One rank's part of one global batch: sample numbers [B], and the seed and epoch that their random numbers come from."""

    seed: int
    epoch: int
    samples: Indices


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random crop from the padded image, mirroring and cutout, in this order. All in pixels; cutout 0: none."""

    pad: int
    pad_mode: str  # zero | reflect
    flip: (
        str  # none | random | alternating: a random half in epoch 0, then the other half, and so on
    )
    cutout: int

    def check(self, size: tuple[int, ...]) -> None:
        """Raise ValueError for what images of size (H, W) do not allow."""
        for key, value, most in (
            ("pad", self.pad, min(size) - 1),
            ("cutout", self.cutout, min(size)),
        ):
            if value > most:
                raise ValueError(
                    f"data.{key}: {value} is too much for images of {size[1]}x{size[0]}; at most {most}"
                )


@dataclass(kw_only=True)
class Order:
    """The order of `samples` training images in global batches; an epoch's incomplete last one is dropped, or `partial`."""

    samples: int
    global_batch_size: int
    rank: int
    world_size: int
    seed: int
    last_batch: str  # drop | partial
    _epochs: dict[int, Future[Indices]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises ValueError for a batch that the ranks cannot share evenly or that an epoch does not fill."""
        batch, ranks = self.global_batch_size, self.world_size
        if batch % ranks:
            near = max(ranks, round(batch / ranks) * ranks)
            raise ValueError(
                f"train.global_batch_size: {batch} does not divide over {ranks} processes; nearest: {near}"
            )
        if batch > self.samples:
            raise ValueError(
                f"train.global_batch_size: {batch} is more than the {self.samples} training images"
            )
        left = self.samples % batch
        if self.last_batch == "partial" and left % ranks:
            raise ValueError(
                f"data.last_batch: 'partial' leaves {left} of {self.samples} images, which {ranks} processes cannot "
                "share evenly; allowed here: drop, or another train.global_batch_size"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in an epoch."""
        whole, left = divmod(self.samples, self.global_batch_size)
        return whole + (self.last_batch == "partial" and left > 0)

    def samples_seen(self, step: int) -> int:
        """Images that all ranks together have trained on after so many steps."""
        epochs, batches = divmod(step, self.steps_per_epoch)
        in_epoch = min(self.samples, self.steps_per_epoch * self.global_batch_size)
        return epochs * in_epoch + batches * self.global_batch_size

    def rows(self, step: int) -> Rows:
        """What this rank trains on at a step: its contiguous part of the global batch."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        first = batch * self.global_batch_size
        whole = self._permutation(epoch)[first : first + self.global_batch_size]
        size = len(whole) // self.world_size
        return Rows(
            seed=self.seed, epoch=epoch, samples=whole[self.rank * size : (self.rank + 1) * size]
        )

    def _permutation(self, epoch: int) -> Indices:
        """The epoch's order. The next epoch's is made meanwhile in a thread, for it takes longer than a step."""
        if not {epoch, epoch + 1} <= self._epochs.keys():
            thread, held = ThreadPoolExecutor(1), self._epochs
            self._epochs = {
                due: held.get(due)
                or thread.submit(permutation, self.samples, self.seed, Stream.ORDER, due)
                for due in (epoch, epoch + 1)
            }
            thread.shutdown(wait=False)
        return self._epochs[epoch].result()
