"""Any loader of headstart in anyone's own Accelerate script: epochs, length, sharding, resume.

Imports no accelerate itself.
"""

import sys
from collections.abc import Generator, Iterator
from typing import Self

from bench import registry
from bench.data.batches import Batch, Loader, LoaderSpec
from bench.data.order import Order
from bench.data.source import Split


class EpochLoader:
    """One rank's training batches, an epoch at each `for`.

    Nothing for `accelerator.prepare`, which would hand it back as it is. Give it to
    `accelerator.register_for_checkpointing`: its state is one number, the same on all ranks.
    Batches that were fetched ahead for the next epoch stay, so no epoch begins with a pause.
    """

    def __init__(
        self,
        split: Split,
        spec: LoaderSpec,
        *,
        batch_size: int,
        rank: int,
        world_size: int,
        seed: int,
        loader: str = "dali",
        last_batch: str = "drop",
    ) -> None:
        """Prepare the loader that is called dali, resident or torch; `batch_size` is global.

        Raises ValueError for what the split, its images or the ranks do not allow.
        """
        loader_class: type[Loader] = registry.resolve("loader", loader)
        spec.augmentation.check(split.images.shape[1:3])
        self._order = Order(
            samples=len(split.labels),
            global_batch_size=batch_size,
            rank=rank,
            world_size=world_size,
            seed=seed,
            last_batch=last_batch,
        )
        self._loader = loader_class(split, spec)
        self._step = 0
        self._batches: Iterator[Batch] | None = None

    def __len__(self) -> int:
        """Count the batches in an epoch, on every rank."""
        return self._order.steps_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the running epoch that are still to come.

        After the last one, the next epoch is the running one.
        """
        if self._batches is None:
            self._batches = self._loader.batches(self._order, self._step, sys.maxsize)
        for batch in self._batches:
            self._step += 1
            yield batch
            if self._step % len(self) == 0:
                return

    def state_dict(self) -> dict[str, int]:
        """Say how many batches were given out, over all epochs."""
        return {"step": self._step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there, in the middle of an epoch too."""
        self.close()
        self._step = state["step"]

    def close(self) -> None:
        """Give up what was fetched ahead, and the threads or processes that fetch."""
        if isinstance(self._batches, Generator):  # other iterators have no end of their own
            self._batches.close()
        self._batches = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
