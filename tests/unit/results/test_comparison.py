"""The comparison against figures worked out by hand."""

import dataclasses
import math

import pytest

from bench.results.comparison import accuracy_label, answer, bottleneck, summarize, time_to_accuracy_s
from tests.unit.results_factory import make_config, make_result


def timed(accuracies, arm, block=0, *, step_s=1.0, **changes):
    """A run whose looks lie `step_s` seconds of training apart."""
    run = make_result(accuracies, arm, seed=block, block=block, **changes)
    looks = [dataclasses.replace(look, segments_s={"train": n * step_s, "init": 5.0}) for n, look in enumerate(run.looks, 1)]
    return dataclasses.replace(run, looks=looks)


def pair(block, arm_s, baseline_s, curve=(0.5, 0.85, 0.95, 0.95)):
    return [timed(curve, "pretrained", block, step_s=arm_s), timed(curve, "random", block, step_s=baseline_s)]


def comparison(report, threshold=0.9):
    return next(row for row in report["comparisons"] if row["threshold"] == threshold)


def threshold_of(report, arm, threshold=0.9):
    rows = next(row for row in report["arms"] if row["name"] == arm)["thresholds"]
    return next(row for row in rows if row["threshold"] == threshold)


def test_ratio_is_the_geometric_mean_over_blocks_with_its_extremes():
    report = summarize(make_config(), pair(0, 1.0, 2.0) + pair(1, 1.0, 8.0))
    row = comparison(report)
    assert row["ratio"] == pytest.approx(4.0)
    assert (row["low"], row["high"]) == (2.0, 8.0)
    assert (row["arm"], row["baseline"], row["blocks"], row["blocks_sooner"]) == ("pretrained", "random", 2, 2)
    assert row["verdict"] == "undecided"


def test_medians_and_extremes_of_an_arm():
    runs = [timed((0.5, 0.85, 0.95, 0.95), "random", block, step_s=s) for block, s in enumerate((1.0, 4.0, 2.0))]
    row = threshold_of(summarize(make_config(), runs), "random")
    assert (row["reached"], row["runs"]) == (3, 3)
    assert row["time_to_accuracy_s"] == {"median": 6.0, "low": 3.0, "high": 12.0}
    epoch = runs[0].looks[2].epoch
    assert row["epochs_to_accuracy"] == {"median": epoch, "low": epoch, "high": epoch}


def test_a_ratio_is_null_unless_every_run_of_both_reached():
    runs = [*pair(0, 1.0, 2.0), *pair(1, 1.0, 2.0)[:1], timed((0.5, 0.85, 0.85, 0.85), "random", 1)]
    report = summarize(make_config(), runs)
    row = comparison(report)
    assert (row["ratio"], row["low"], row["high"]) == (None, None, None)
    assert (row["blocks"], row["blocks_sooner"]) == (2, 2)
    assert comparison(report, 0.8)["ratio"] == pytest.approx(math.sqrt(2.0 * 1.0))
    assert (threshold_of(report, "random")["reached"], threshold_of(report, "random")["runs"]) == (1, 2)


def test_not_reached_is_null_and_never_a_number():
    report = summarize(make_config(), [timed((0.1, 0.2), "pretrained"), timed((0.1, 0.2), "random")])
    empty = {"median": None, "low": None, "high": None}
    row = threshold_of(report, "pretrained")
    assert (row["time_to_accuracy_s"], row["epochs_to_accuracy"], row["reached"]) == (empty, empty, 0)
    assert (comparison(report)["ratio"], comparison(report)["blocks_sooner"]) == (None, 0)


def test_a_diverged_run_never_reached_though_its_curve_did():
    config = make_config()
    run = timed((0.95, 0.95, 0.95), "pretrained", status="diverged")
    assert time_to_accuracy_s(config, run, 0.9) is None
    report = summarize(config, [run, timed((0.95, 0.95), "random")])
    assert (threshold_of(report, "pretrained")["reached"], threshold_of(report, "pretrained")["runs"]) == (0, 1)
    assert comparison(report)["blocks_sooner"] == 0


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_run_that_broke_is_counted_apart_and_its_block_is_not_compared(status):
    runs = [*pair(0, 1.0, 2.0), *pair(1, 1.0, 9.0)[:1], timed((0.95, 0.95), "random", 1, status=status)]
    report = summarize(make_config(), runs)
    arm = next(row for row in report["arms"] if row["name"] == "random")
    assert arm["runs"] == 1
    assert arm["statuses"] == {"completed": 1, "diverged": 0, "failed": 0, "interrupted": 0, status: 1}
    assert (comparison(report)["blocks"], comparison(report)["ratio"]) == (1, 2.0)


def test_confirmation_is_asked_of_every_run():
    run = timed((0.5, 0.95, 0.5, 0.95, 0.95), "pretrained")
    assert time_to_accuracy_s(make_config(), run, 0.9) == 4.0
    assert time_to_accuracy_s(make_config(confirm_looks=1), run, 0.9) == 2.0


def test_the_named_clock_is_read():
    run = timed((0.5, 0.95, 0.95), "pretrained")
    assert time_to_accuracy_s(make_config(clock="airbench"), run, 0.9) == 7.0


@pytest.mark.parametrize(("last", "seconds"), [(0.95, 4.0), (0.5, None)])
def test_an_annealed_schedule_is_judged_only_at_its_end(last, seconds):
    run = timed((0.95, 0.95, 0.95, last), "pretrained")
    assert time_to_accuracy_s(make_config(kind="annealed"), run, 0.9) == seconds


def test_final_accuracy_is_of_test():
    runs = [timed((0.5,), "random", block, test_correct=correct) for block, correct in enumerate((450, 460, 500))]
    report = summarize(make_config(), runs)
    assert report["arms"][1]["final_accuracy"] == {"median": 0.92, "low": 0.9, "high": 1.0}
    assert report["arms"][0]["final_accuracy"] == {"median": None, "low": None, "high": None}


def test_runs_on_different_data_are_refused():
    runs = pair(0, 1.0, 2.0)
    runs[1].start["dataset"] = {**runs[1].start["dataset"], "sha256": "e" * 64}
    with pytest.raises(ValueError, match="2 different data sets"):
        summarize(make_config(), runs)


def test_the_answer_where_the_arm_is_sooner():
    report = summarize(make_config(), pair(0, 1.0, 2.0) + pair(1, 1.0, 8.0))
    assert answer(report) == (
        "pretrained 4.00x sooner to 0.90 on digits than random (train clock; "
        "2.00x to 8.00x by block, sooner in 2 of 2 blocks), undecided"
    )


def test_the_answer_where_the_arm_is_later_turns_ratio_and_extremes():
    report = summarize(make_config(), pair(0, 2.0, 1.0) + pair(1, 8.0, 1.0))
    assert answer(report) == (
        "pretrained 4.00x later to 0.90 on digits than random (train clock; "
        "2.00x to 8.00x by block, sooner in 0 of 2 blocks), undecided"
    )


def test_the_answer_of_one_block_has_no_extremes():
    report = summarize(make_config(), pair(0, 1.0, 3.0))
    assert (
        answer(report) == "pretrained 3.00x sooner to 0.90 on digits than random (train clock; sooner in 1 of 1 block), undecided"
    )


def test_the_answer_where_not_all_reached():
    runs = [*pair(0, 1.0, 2.0), *pair(1, 1.0, 2.0)[:1], timed((0.5, 0.5), "random", 1)]
    assert answer(summarize(make_config(), runs)) == (
        "0.90 on digits reached by pretrained in 2 of 2 runs (median 3.0 s), random in 1 of 2 runs (median 6.0 s); "
        "pretrained sooner in 2 of 2 blocks, undecided"
    )


def test_the_answer_before_a_block_is_complete():
    assert answer(summarize(make_config(), [])) == "pretrained against random: no block is complete yet"
    assert summarize(make_config(), [])["dataset"] is None


def test_the_answer_of_a_single_arm_compares_nothing():
    config = make_config(arms={"random": {}}, primary={"arm": "random", "threshold": 0.9})
    assert (
        answer(summarize(config, pair(0, 1.0, 2.0)[1:]))
        == "0.90 on digits reached by random in 1 of 1 runs (median 6.0 s); nothing to compare with"
    )


@pytest.mark.parametrize(("threshold", "label"), [(0.9, "0.90"), (0.85, "0.85"), (0.925, "0.925"), (0.1 + 0.2, repr(0.1 + 0.2))])
def test_a_threshold_is_never_shown_as_another(threshold, label):
    assert accuracy_label(threshold) == label
    assert float(label) == threshold


def test_the_bottleneck_is_named_from_five_percent_waiting_on():
    assert [bottleneck(fraction) for fraction in (None, 0.0, 0.05, 0.051, 1.0)] == [None, "compute", "compute", "data", "data"]
