"""The losses of steps: whether they stay finite, found out without waiting, and their mean."""

from torch import Tensor

from bench.runtime.distributed import PendingSum, World


class LossWatch:
    """Tells whether losses stay finite, with the same answer on every rank.

    A check begins to look at a loss, and reads what the check before it began: it never waits for
    the step that was just issued, so that the device's queue does not run empty.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._pending: PendingSum | None = None

    def check(self, loss: Tensor) -> bool:
        """Begin to look at a loss; say whether the one that was looked at before was finite."""
        previous = self._pending
        # 0 times a loss is 0, or not a number where the loss is not finite; and so is the sum.
        self._pending = self._world.begin_sum(0 * loss)
        return previous is None or _is_zero(previous)

    def settle(self, loss: Tensor) -> bool:
        """Say whether a loss and the one looked at before are finite; waits for the device."""
        were_finite = self.check(loss)
        assert self._pending is not None
        return _is_zero(self._pending) and were_finite


class MeanLoss:
    """The mean loss of the steps since it was last read, summed on the device."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sum: Tensor | None = None
        self._steps = 0

    def add(self, loss: Tensor) -> None:
        """Add a step's mean loss on this rank; the device is not waited for."""
        self._sum = loss.double() if self._sum is None else self._sum + loss
        self._steps += 1

    def read(self) -> float | None:
        """Return the mean over steps and ranks, and begin anew; None where there was no step.

        Waits for the device.
        """
        total = self._sum
        if total is None:
            return None
        mean = self._world.sum_of(float(total)) / (self._world.size * self._steps)
        self._sum = None
        self._steps = 0
        return mean


def _is_zero(pending: PendingSum) -> bool:
    return pending.read() == 0
