"""When a curve of accuracies reaches a threshold (docs/METHOD.md, section 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

CrossingKind = Literal["confirmed", "terminal", "touch", "end"]


@dataclass(frozen=True)
class Crossing:
    """The evaluation that reached a threshold, by its place in the curve, and the way it did."""

    place: int
    kind: CrossingKind


def find_crossing(
    accuracies: Sequence[float], threshold: float, *, confirm_looks: int, completed: bool
) -> Crossing | None:
    """Find the first evaluation that reaches a threshold and that the next ones uphold.

    It is confirmed where it and the next `confirm_looks - 1` are all at or above the threshold.
    Where fewer come after it, all of them must be, and the schedule `completed`: terminal.
    """
    for place in range(len(accuracies)):
        upholding = accuracies[place : place + confirm_looks]
        if min(upholding) >= threshold:
            if len(upholding) == confirm_looks:
                return Crossing(place, "confirmed")
            return Crossing(place, "terminal") if completed else None
    return None


def first_touch(accuracies: Sequence[float], threshold: float) -> int | None:
    """Find the place of the first evaluation at or above a threshold, upheld or not.

    Biased early: shown beside the crossing.
    """
    for place, accuracy in enumerate(accuracies):
        if accuracy >= threshold:
            return place
    return None
