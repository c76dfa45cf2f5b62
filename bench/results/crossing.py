"""When a run reached a threshold: confirmed, terminal, first touch (docs/METHOD.md, section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """The look at which a threshold was reached; it lies in (previous look, this look]."""

    look: int
    kind: Literal["confirmed", "terminal"]


def crossing(accuracies: Sequence[float], threshold: float, *, confirm_looks: int, completed: bool) -> Crossing | None:
    """The first look at or above `threshold` that the next `confirm_looks - 1` looks uphold.

    A look of a completed schedule with fewer looks after it than that counts when all of those uphold it: terminal.
    """
    for look in range(len(accuracies)):
        held = accuracies[look : look + confirm_looks]
        if min(held) < threshold:
            continue
        if len(held) == confirm_looks:
            return Crossing(look=look, kind="confirmed")
        return Crossing(look=look, kind="terminal") if completed else None
    return None


def first_touch(accuracies: Sequence[float], threshold: float) -> int | None:
    """The first look at or above `threshold`, held or not: biased early, shown beside the crossing."""
    return next((look for look, accuracy in enumerate(accuracies) if accuracy >= threshold), None)
