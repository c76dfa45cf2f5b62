"""Confusions over all runs of an arm: accuracies, the pairs most confused, the hardest classes."""

import pytest

from bench.judge.arm_records import ClassSummary, ConfusedPair
from bench.judge.classes import class_order, most_confused
from tests.unit.results_factory import with_fact
from tests.unit.study_factory import RISING, report_of, timed

NAMES = ("cat", "dog", "frog")


def run_of_three(confusion, arm="pretrained", block=0):
    """Make a run of three classes."""
    run = timed(RISING, arm, block, confusion=confusion)
    return with_fact(run, "dataset", classes=NAMES)


def classes_of(runs):
    return report_of(runs).arm("pretrained").classes


def test_confusion_is_counted_over_all_runs():
    first = run_of_three([[8, 1, 1], [3, 7, 0], [0, 0, 10]], block=0)
    second = run_of_three([[9, 1, 0], [0, 10, 0], [4, 0, 6]], block=1)
    assert classes_of([first, second]) == ClassSummary(
        names=NAMES,
        confusion=[[17, 2, 1], [3, 17, 0], [4, 0, 16]],
        accuracy=[17 / 20, 17 / 20, 16 / 20],
        most_confused=[
            ConfusedPair(classes=("frog", "cat"), count=5, share_of_errors=0.5),
            ConfusedPair(classes=("dog", "cat"), count=5, share_of_errors=0.5),
        ],
    )


def test_a_run_without_its_confusion_does_not_count():
    counted = run_of_three([[8, 1, 1], [3, 7, 0], [0, 0, 10]], block=0)
    assert classes_of([counted, run_of_three(None, block=1)]) == classes_of([counted])


def test_classes_without_an_error_or_without_an_image():
    classes = classes_of([timed(RISING, confusion=[[10, 0], [0, 0]])])
    assert classes.accuracy == [1.0, None]
    assert classes.most_confused == []
    assert classes_of([timed(RISING, confusion=None)]) is None


def test_the_most_confused_pairs_are_three_at_most_the_commonest_first():
    confusion = [[0, 1, 2, 0], [3, 0, 7, 0], [0, 0, 0, 5], [0, 0, 2, 0]]
    pairs = most_confused(("a", "b", "c", "d"), confusion)
    assert [(pair.classes, pair.count) for pair in pairs] == [
        (("d", "c"), 7),
        (("c", "b"), 7),
        (("b", "a"), 4),
    ]
    assert [pair.share_of_errors for pair in pairs] == pytest.approx([7 / 20, 7 / 20, 4 / 20])


def test_the_hardest_class_comes_first_by_all_arms_together():
    """Right of ten, cat, dog and frog: 9, 5 and 7 by one arm, 4, 9 and 8 by the other."""
    runs = [
        run_of_three([[9, 1, 0], [5, 5, 0], [3, 0, 7]]),
        run_of_three([[4, 6, 0], [1, 9, 0], [2, 0, 8]], "random"),
    ]
    assert report_of(runs).class_order == ["cat", "dog", "frog"]
    assert report_of(runs[:1]).class_order == ["dog", "frog", "cat"]
    assert report_of(runs[1:]).class_order == ["cat", "frog", "dog"]


def test_without_a_confusion_there_is_no_order_of_classes():
    report = report_of([timed(RISING, confusion=None)])
    assert report.class_order == []
    assert class_order(report.arms) == []
