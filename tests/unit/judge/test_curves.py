"""Curves from elsewhere, such as DAWNBench's: judged like runs of our own, and refused in one
sentence where they are none.
"""

import math

import pytest

from bench.judge.comparison import summarize
from bench.judge.curves import read_curves
from bench.judge.outcome import judge
from bench.judge.rules import RULES

HELD = (0.5, 0.93, 0.941, 0.945, 0.95)
FELL_BACK = (0.5, 0.941, 0.93, 0.942, 0.945)  # touches, falls below, crosses again and stays
ENDED_BELOW = (0.5, 0.941, 0.942, 0.93, 0.935)
NEVER = (0.5, 0.91, 0.92, 0.93, 0.939)
HEADER = "arm,run,epoch,seconds,accuracy\n"


def rows(curves, pace_s=10.0):
    """CSV rows of (arm, run) to curve; a look an epoch, each `pace_s` seconds."""
    text = ""
    for (arm, run), curve in curves.items():
        for epoch, accuracy in enumerate(curve, 1):
            text += f"{arm},{run},{epoch},{epoch * pace_s},{accuracy}\n"
    return text


@pytest.fixture
def table(tmp_path):
    """Writes a CSV and reads it: study and results."""

    def read(text, *, thresholds=(0.94,), baseline=None, arm=None, clock="DAWNBench's"):
        path = tmp_path / "curves.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_curves(path, clock=clock, baseline=baseline, arm=arm, thresholds=thresholds)

    return read


@pytest.mark.parametrize(
    ("curve", "crossing_s", "touch_s", "flags"),
    [
        (HELD, (20, 30), (20, 30), (True, False, False)),
        (FELL_BACK, (30, 40), (10, 20), (True, True, False)),
        (ENDED_BELOW, None, (10, 20), (True, True, True)),
        (NEVER, None, None, (False, False, False)),
    ],
    ids=["held", "fell-back", "ended-below", "never"],
)
def test_each_kind_of_curve_under_both_rules(table, curve, crossing_s, touch_s, flags):
    study, results = table(HEADER + rows({("a", "1"): curve}))
    for rules, span in (("headstart", crossing_s), ("dawnbench", touch_s)):
        (row,) = judge(study, results, 0.94, RULES[rules])
        assert (row.time.after, row.time.by) == (span or (50, math.inf))
        assert (row.touched, row.fell_back, row.ended_below) == flags


def test_a_table_of_many_is_counted_as_dawnbench_was(table):
    curves = {}
    for run, curve in enumerate((HELD, FELL_BACK, ENDED_BELOW, NEVER, HELD)):
        curves["a", str(run)] = curve
    study, results = table(HEADER + rows(curves))
    for rules, reached, best_s in (("headstart", 3, 30.0), ("dawnbench", 4, 20.0)):
        (row,) = summarize(study, results, rules).arms[0].thresholds
        assert (row.runs, row.reached, row.time_to_accuracy_s.low) == (5, reached, best_s)
        assert (row.touched, row.fell_back, row.ended_below) == (4, 2, 1)


def test_what_a_table_does_not_tell_is_null(table):
    study, results = table(HEADER + rows({("a", "1"): HELD, ("b", "1"): NEVER}))
    report = summarize(study, results)
    arm = report.arms[0]
    (row,) = arm.thresholds
    for spread in (row.samples_to_accuracy, row.flops_to_accuracy, row.joules_to_accuracy):
        assert spread.median is None
    assert row.epochs_to_accuracy.median == 3.0
    assert (arm.parameters, arm.area_log_flops.median) == (None, None)
    assert (report.clock, report.plan.sha256) == ("DAWNBench's", None)
    assert report.dataset.name == "curves of curves.csv"
    assert results[0].wall_s is None


def test_the_clock_is_the_users_under_other_rules_too(table):
    study, results = table(HEADER + rows({("a", "1"): HELD, ("b", "1"): NEVER}))
    assert summarize(study, results, "dawnbench").clock == "DAWNBench's"


def test_runs_of_one_name_make_a_block(table):
    study, results = table(
        HEADER + rows({("a", "x"): HELD, ("a", "y"): HELD, ("b", "y"): HELD, ("b", "z"): HELD})
    )
    assert [(run.arm, run.block) for run in results] == [("a", 0), ("a", 1), ("b", 1), ("b", 2)]
    (row,) = summarize(study, results).comparisons
    assert (row.arm, row.baseline, row.blocks, row.ratio) == ("a", "b", 1, 1.0)


@pytest.mark.parametrize(
    ("options", "compared"),
    [
        ({}, ("a", "c")),
        ({"baseline": "a"}, ("b", "a")),
        ({"arm": "c"}, ("c", "b")),
        ({"arm": "b", "baseline": "a"}, ("b", "a")),
    ],
)
def test_arms_are_compared_as_asked(table, options, compared):
    study, _ = table(HEADER + rows({(arm, "1"): HELD for arm in "abc"}), **options)
    assert (study.primary_arm, study.baseline) == compared


def test_the_last_threshold_is_the_primary_one_and_each_is_taken_once(table):
    study, _ = table(HEADER + rows({("a", "1"): HELD}), thresholds=(0.95, 0.9, 0.9, 0.94))
    assert (study.thresholds, study.primary_threshold) == ([0.9, 0.94, 0.95], 0.94)


def test_columns_may_be_in_any_order_and_more_of_them(table):
    text = "\ufeffseconds,accuracy,hardware,epoch,run,arm\n10,0.5,V100,1,1,a\n20,0.95,V100,2,1,a\n"
    (run,) = table(text)[1]
    assert [(look.epoch, look.segments_s["train"], look.accuracy) for look in run.evaluations] == [
        (1.0, 10.0, 0.5),
        (2.0, 20.0, 0.95),
    ]


LOOK = "a,1,1,10,0.5\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arm,run,epoch,accuracy\na,1,1,0.5\n",
         r"curves\.csv: no column seconds; expected the columns arm, run, epoch, "),
        ("a,1,1,10,0.5\n", r"curves\.csv: no column arm, run, epoch, seconds, accuracy; "),
        ("", r"curves\.csv: no column arm"),
        (HEADER, r"curves\.csv: no rows"),
        (f"{HEADER}a,1,1,ten,0.5\n",
         r"curves\.csv:2: arm 'a', run '1', epoch '1', seconds 'ten', .* is no look on a curve; "),
        (f"{HEADER}a,1,1,10,94%\n",
         r"curves\.csv:2: .* accuracy '94%' is no look on a curve; "
         r"allowed: .* accuracy from 0 to 1"),
        (f"{HEADER}a,1,1,10\n", r"curves\.csv:2: .* accuracy None is no look"),
        (f"{HEADER}a,1,,10,0.5\n",
         r"curves\.csv:2: .* epoch '', .* is no look on a curve; allowed: .*epoch a number"),
        (f"{HEADER}{LOOK}a,1,2,20,94.1\n", r"curves\.csv:3: .* accuracy '94\.1' is no look"),
        (f"{HEADER}a,1,1,10,nan\n", r"curves\.csv:2: .* accuracy 'nan' is no look"),
        (f"{HEADER}a,1,1,10,-0.1\n", r"curves\.csv:2: .* accuracy '-0\.1' is no look"),
        (f"{HEADER}a,1,1,nan,0.5\n",
         r"curves\.csv:2: .* seconds 'nan', .* is no look on a curve; "
         r"allowed: .* seconds above 0 "),
        (f"{HEADER}a,1,1,inf,0.5\n", r"curves\.csv:2: .* seconds 'inf', .* is no look"),
        (f"{HEADER}a,1,nan,10,0.5\n", r"curves\.csv:2: .* epoch 'nan', .* is no look"),
        (f"{HEADER}a,1,0,0,0.1\n",
         r"curves\.csv:2: .* seconds '0', .* is no look on a curve; allowed: .* seconds above 0 "),
        (f"{HEADER}{LOOK}b,1,1,5,0.5\na,1,2,10,0.6\n",
         r"curves\.csv:4: .* seconds '10', .* allowed: .* seconds above 10 "),
        (f"{HEADER}{LOOK}a,1,2,9.5,0.6\n",
         r"curves\.csv:3: .* seconds '9\.5', .* allowed: .* seconds above 10 "),
        ("clock,arm,run,epoch,seconds,accuracy\nwall,a,1,1,9,0.5\ntrain,b,1,1,9,0.5\n",
         "2 clocks cannot .*: train, wall"),
        (f"{HEADER},1,1,10,0.5\n",
         r"curves\.csv:2: arm '', run '1', .* is no look on a curve; allowed: arm and run named"),
        (f"{HEADER}a,,1,10,0.5\n", r"curves\.csv:2: arm 'a', run '', .* is no look"),
        ("epoch,seconds,accuracy,arm,run\n1,10,0.5\n",
         r"curves\.csv:2: arm None, run None, .* is no look"),
        (b"\xff\xfe\x00\x01",
         r"--curves: '.*curves\.csv' cannot be read: 'utf-8' codec can't decode"),
        (b"PK\x03\x04\x00\x00", r"curves\.csv: no column arm"),
        (f"{HEADER}a,1,1,10,{'9' * 200_000}\n",
         r"--curves: '.*curves\.csv' cannot be read: field larger than field limit"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_curves_is_refused_in_one_sentence(table, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        table(text)
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_named(tmp_path):
    for path, why in (
        (tmp_path / "none.csv", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(ValueError, match=f"^--curves: '{path}' cannot be read: {why}$"):
            read_curves(path, clock="x", baseline=None, arm=None, thresholds=[0.9])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"baseline": "abc"}, "--baseline: no arm 'abc' in .*; allowed: ab, b; did you mean 'ab'"),
        ({"arm": "c"}, "--arm: no arm 'c' in .*; allowed: ab, b"),
        ({"arm": "b", "baseline": "b"}, "--arm: 'b' is the baseline; allowed: ab"),
    ],
)
def test_arms_that_are_not_there_are_refused(table, options, message):
    with pytest.raises(ValueError, match=message):
        table(HEADER + rows({("ab", "1"): HELD, ("b", "1"): HELD}), **options)
