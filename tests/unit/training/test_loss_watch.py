"""Whether losses stay finite is read one check late, and exactly where a run is about to be
judged.
"""

import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from bench.training.loss_watch import LossWatch


@dataclass
class Sum:
    """A sum that counts how often it is waited for."""

    value: float
    reads: int = 0

    def read(self) -> float:
        self.reads += 1
        return self.value


@dataclass
class FakeWorld:
    """One rank, whose sums can be told from one another."""

    sums: list[Sum] = field(default_factory=list)

    def begin_sum(self, value: Tensor) -> Sum:
        self.sums.append(Sum(value.item()))
        return self.sums[-1]


def loss_of(value: float) -> Tensor:
    return torch.tensor(value)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_check_tells_of_the_one_before(bad):
    watch = LossWatch(FakeWorld())
    assert [watch.check(loss_of(value)) for value in (1.0, bad, 3.0, 4.0)] == [
        True,
        True,
        False,
        True,
    ]


def test_a_check_does_not_wait_for_its_own_loss():
    world = FakeWorld()
    watch = LossWatch(world)
    for checks in range(1, 5):
        watch.check(loss_of(1.0))
        assert [pending.reads for pending in world.sums] == [1] * (checks - 1) + [0]


@pytest.mark.parametrize(
    ("losses", "is_finite"),
    [
        ([2.0], True),
        ([math.nan], False),
        ([1.0, -math.inf], False),  # the very last
        ([math.inf, 2.0], False),  # looked at before, and not yet read
        ([-3e38, 3e38], True),
    ],
)
def test_settling_is_exact(losses, is_finite):
    watch = LossWatch(FakeWorld())
    *earlier, last = losses
    for value in earlier:
        watch.check(loss_of(value))
    assert watch.settle(loss_of(last)) == is_finite


def test_after_settling_checks_go_on():
    watch = LossWatch(FakeWorld())
    assert watch.settle(loss_of(1.0))
    assert watch.check(loss_of(math.nan))
    assert not watch.check(loss_of(1.0))


def test_a_loss_is_left_as_it_is():
    loss = loss_of(5.0)
    LossWatch(FakeWorld()).settle(loss)
    assert loss == 5.0
