"""What ranks do together: an error of one is told by all, so that none waits for it."""

from typing import Any

import pytest

from bench.ledger.errors import LedgerError
from bench.runtime.distributed import OtherRankError, World


class Rank(World):
    """One of two ranks; what the other one shares is told beforehand."""

    def __init__(self, rank: int, shared: Any = None) -> None:
        self.rank = rank
        self.is_main = rank == 0
        self.size = 2
        self.shared: list[Any] = [] if shared is None else [shared]
        self.sent: list[Any] = []

    def gather(self, value: Any) -> list[Any]:
        self.sent.append(value)
        other = self.shared.pop(0)
        return [value, other] if self.is_main else [other, value]


def outcome_of(rank: int, work) -> Any:
    """What a rank sends of its work."""
    sender = Rank(rank, shared=Rank)
    with pytest.raises((AttributeError, ValueError, OSError)):
        sender.on_every_rank(work)
    return sender.sent[0]


def fail_with(error: Exception):
    def work() -> None:
        raise error

    return work


def test_this_ranks_own_error_is_raised_as_it_is():
    error = OSError(28, "No space left on device")
    other = outcome_of(1, lambda: 1)
    with pytest.raises(OSError, match="No space") as raised:
        Rank(0, shared=other).on_every_rank(fail_with(error))
    assert raised.value is error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("optim.lr: 0"), ValueError),
        (OSError(28, "No space left"), OtherRankError),
        (LedgerError("line 3"), OtherRankError),
    ],
)
def test_another_ranks_error_is_told_with_its_rank(error, kind):
    other = outcome_of(1, fail_with(error))
    with pytest.raises(kind, match=r"^rank 1: "):
        Rank(0, shared=other).on_every_rank(lambda: 1)


def test_values_come_in_order_of_rank():
    other = outcome_of(0, lambda: "first")
    assert Rank(1, shared=other).on_every_rank(lambda: "second") == ["first", "second"]
