"""How numbers, ratios and answers read."""

import dataclasses

import pytest

from bench.judge.arm_records import Spread
from bench.judge.comparison import summarize
from bench.judge.records import (
    ArmTuning,
    Comparison,
    Interval,
    Report,
    TrialSummary,
    TuningSummary,
)
from bench.report.words import (
    NOTHING,
    accuracy_label,
    answer,
    ends_text,
    number,
    number_form,
    plain,
    ratio_text,
    seconds,
    spread_text,
    tuning_text,
    value_text,
    verdict_label,
)
from tests.unit.results_factory import make_study
from tests.unit.study_factory import FLAT, RISING, losses, pairs, report_of, wins

TIMES = number_form("{:.2f}x")


@pytest.mark.parametrize(
    ("threshold", "label"), [(0.9, "0.90"), (0.94, "0.94"), (0.945, "0.945"), (0.9999, "0.9999")]
)
def test_a_threshold_is_never_rounded_to_another(threshold, label):
    assert accuracy_label(threshold) == label


@pytest.mark.parametrize(
    ("value", "text"), [(9.994, "9.99"), (10.0, "10.0"), (999.9, "999.9"), (1234.5, "1,234")]
)
def test_seconds_have_the_digits_that_a_reader_needs(value, text):
    assert seconds(value) == text


def test_a_number_that_is_not_known_has_a_stand_in():
    assert number(0.25, "{:.1f} %", scale=100) == "25.0 %"
    assert number(None, "{:.1f}") == NOTHING
    assert number(None, "{:.1f}", missing="never") == "never"


def test_values_of_a_config_read_as_in_json_but_text():
    values = ["adamw", None, True, 0.001, ["a", 1]]
    assert [value_text(value) for value in values] == [
        "adamw",
        "null",
        "true",
        "0.001",
        '["a", 1]',
    ]


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (1.0, 2.0, "1.00x to 2.00x"),
        (1.0, None, "over 1.00x"),
        (None, 2.0, "under 2.00x"),
        (None, None, ""),
    ],
)
def test_an_interval_may_be_open(low, high, text):
    assert ends_text(low, high, TIMES) == text


@pytest.mark.parametrize(
    ("median", "low", "high", "text"),
    [
        (1.5, 1.0, 2.0, "1.50x (1.00x to 2.00x)"),
        (1.5, None, None, "1.50x"),
        (1.5, 1.499, 1.501, "1.50x"),
        (1.5, 1.2, None, "1.50x (over 1.20x)"),
        (None, 1.0, 2.0, "not reached"),
    ],
)
def test_a_median_stands_alone_where_nothing_else_is_known(median, low, high, text):
    spread = Spread(median=median, low=low, high=high)
    assert spread_text(spread, TIMES, missing="not reached") == text


def comparison(report: Report) -> Comparison:
    """Return the primary comparison of a report that has one."""
    assert report.primary_comparison is not None
    return report.primary_comparison


def with_comparison(report: Report, **changes: object) -> Report:
    """Return a report whose primary comparison says other things."""
    changed = dataclasses.replace(comparison(report), **changes)
    return dataclasses.replace(report, comparisons=[changed])


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        (None, NOTHING),
        (Interval(low=2.0, high=None), "over 2.00x, with restarts"),
        (Interval(low=0.001, high=5.0), "under 5.00x, with restarts"),
        (Interval(low=0.001, high=1000.0), NOTHING),
        (Interval(low=0.01, high=999.0), "0.01x to 999.00x, with restarts"),
    ],
)
def test_a_bound_is_told_where_it_tells_anything(bound, text):
    row = dataclasses.replace(comparison(report_of(wins(1))), ratio=None, bound=bound)
    assert ratio_text(row) == text


def test_an_interval_that_says_nothing_is_not_shown():
    row = dataclasses.replace(comparison(report_of(wins(7))), ratio=3.0, low=1e-9, high=1e9)
    assert ratio_text(dataclasses.replace(row, too_wide=True)) == "3.00x"
    assert "to" in ratio_text(row)


def test_the_answer_tells_ratio_interval_blocks_and_verdict():
    report = report_of(wins(7))
    row = comparison(report)
    assert answer(report) == (
        f"pretrained {row.ratio:.2f}x sooner to 0.90 on digits than random (train clock; "
        f"95 % interval {row.low:.2f}x to {row.high:.2f}x, sooner in 7 of 7 blocks; "
        "verdict: pretrained sooner)"
    )


def test_a_ratio_below_one_is_said_the_other_way_round():
    report = with_comparison(report_of(losses(7)), ratio=0.25, low=0.2, high=0.5)
    assert answer(report) == (
        "pretrained 4.00x later to 0.90 on digits than random (train clock; "
        "95 % interval 2.00x to 5.00x, sooner in 0 of 7 blocks; verdict: random sooner)"
    )


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        (Interval(low=2.0, high=None), "at least 2.00x sooner with restarts, "),
        (Interval(low=None, high=0.5), "at least 2.00x later with restarts, "),
        (Interval(low=0.5, high=2.0), ""),
        (None, ""),
    ],
)
def test_where_runs_missed_the_answer_tells_who_reached(bound, words):
    runs = pairs(1, 1.0, 1.0, RISING, FLAT)
    report = with_comparison(report_of(runs), bound=bound)
    assert answer(report) == (
        "0.90 on digits reached by pretrained in 1 of 1 runs (median 3.0 s), "
        f"random in 0 of 1 runs; pretrained {words}sooner in 1 of 1 block; verdict: undecided"
    )


def test_the_answer_before_a_block_is_complete_and_of_one_arm():
    assert answer(report_of([])) == "pretrained against random: no block is complete yet"
    study = make_study(arms={"random": {}}, primary={"arm": "random"})
    runs = [run for run in wins(1) if run.arm == "random"]
    assert answer(summarize(study, runs)) == (
        "0.90 on digits reached by random in 1 of 1 runs (median 9.0 s); nothing to compare with"
    )


def test_an_answer_is_one_line_whatever_the_names():
    report = report_of(wins(1))
    dataset = dataclasses.replace(report.dataset, name="two\nlines")
    assert "on two lines than" in answer(dataclasses.replace(report, dataset=dataset))


def test_a_verdict_names_the_arm():
    report = report_of(losses(7))
    assert verdict_label(report) == "random sooner"
    equivalent = dataclasses.replace(report.verdict, verdict="equivalent")
    assert verdict_label(dataclasses.replace(report, verdict=equivalent)) == "equivalent"


def test_markup_is_escaped_and_lines_are_joined():
    assert plain("a_b _c_ *d*\n[e](https://f)") == (r"a_b \_c\_ \*d\* \[e\](https\://f)")


def trial(rate: float, score: float, status: str = "completed") -> TrialSummary:
    """Make a trial of one run that took two seconds."""
    return TrialSummary(
        lr=rate, scores=[score], score=score, status=status, samples=1280, seconds=2.0
    )


def test_what_a_tuning_found_is_loud_where_the_best_rate_lies_at_the_edge():
    tuning = ArmTuning(
        trials=[trial(0.01, 0.5), trial(0.1, 0.0, "diverged")],
        best=0.01,
        at_edge=True,
        samples=2560,
        seconds=4.0,
        expected_best=[0.25, 0.5],
    )
    inside = dataclasses.replace(tuning, trials=[], at_edge=False)
    summary = TuningSummary(arms={"pretrained": tuning, "random": inside}, unfair=[])
    assert tuning_text(summary, "train", "--layer=tuned.yaml").splitlines() == [
        "pretrained: best learning rate 0.01, AT THE EDGE of those tried: "
        "a better one may lie beyond",
        "  0.01       val 0.5000  2.00 s",
        "  0.1        val 0.0000  2.00 s  diverged",
        "  tuning took 4.00 s on the train clock",
        "random: best learning rate 0.01",
        "  tuning took 4.00 s on the train clock",
        "next: run the experiment as it was tuned, with --layer=tuned.yaml",
    ]
