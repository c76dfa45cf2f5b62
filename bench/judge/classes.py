"""What the test images of each class were taken for, over an arm's runs, and which are hard."""

from collections.abc import Sequence

from bench.judge.arm_records import ArmSummary, ClassSummary, ConfusedPair
from bench.ledger.result import RunResult

MOST_CONFUSED_PAIRS = 3


def summarize_classes(runs: Sequence[RunResult]) -> ClassSummary | None:
    """Add up the confusions of an arm's runs; None where no run has one."""
    counted = [run.confusion for run in runs if run.confusion]
    if not counted:
        return None
    names = runs[0].start.dataset.classes
    confusion = _sum(counted)
    return ClassSummary(
        names=names,
        confusion=confusion,
        accuracy=[_share_right(row, place) for place, row in enumerate(confusion)],
        most_confused=most_confused(names, confusion),
    )


def most_confused(names: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[ConfusedPair]:
    """Return the pairs of classes that were taken for each other most often, three at most."""
    pairs = []
    for place, name in enumerate(names):
        for earlier_place, earlier_name in enumerate(names[:place]):
            count = confusion[place][earlier_place] + confusion[earlier_place][place]
            pairs.append((count, (name, earlier_name)))
    errors = sum(count for count, _ in pairs)
    pairs.sort(reverse=True)
    return [
        ConfusedPair(classes=classes, count=count, share_of_errors=count / errors)
        for count, classes in pairs[:MOST_CONFUSED_PAIRS]
        if count > 0
    ]


def class_order(arms: Sequence[ArmSummary]) -> list[str]:
    """Return the names of the classes, the hardest first, by the mean of the arms' accuracies.

    An accuracy that is not there counts as 0.
    """
    summaries = [arm.classes for arm in arms if arm.classes is not None]
    if not summaries:
        return []
    names = summaries[0].names
    totals = []
    for place in range(len(names)):
        totals.append(sum(summary.accuracy[place] or 0.0 for summary in summaries))
    places = sorted(range(len(names)), key=totals.__getitem__)
    return [names[place] for place in places]


def _sum(confusions: Sequence[Sequence[Sequence[int]]]) -> list[list[int]]:
    """Add matrices [K, K] of the same size."""
    size = len(confusions[0])
    total = [[0] * size for _ in range(size)]
    for confusion in confusions:
        for row in range(size):
            for column in range(size):
                total[row][column] += confusion[row][column]
    return total


def _share_right(row: Sequence[int], place: int) -> float | None:
    images = sum(row)
    return row[place] / images if images else None
