"""What a tuning's summary tells: scores, the expected best of k, the limits.

And what it does to the verdict.
"""

import dataclasses
import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.comparison import summarize
from bench.judge.records import ArmTuning, Verdict
from bench.judge.tuning import (
    Trial,
    best_rate,
    expected_best,
    made_trial,
    summarize_tuning,
    tuning_excesses,
    tuning_limits,
)
from bench.ledger.result import RunResult
from tests.unit.results_factory import make_study, with_fact, with_start
from tests.unit.study_factory import timed, wins

TUNE = {"trials": 3, "finer": False, "seeds": 2, "samples": 1280}
STUDY = make_study(tune=TUNE, optim={"lr": 0.1})


def tuning_run(
    rate: float, accuracy: float, *, arm: str = "pretrained", **changes: object
) -> RunResult:
    """Make a run of tuning, of two evaluations and two seconds."""
    run = timed((0.1, accuracy), arm, **changes)
    return with_start(run, config={"optim": {"lr": rate}, "train": {"samples": 1280}})


def planned(arm, rate, budget_images=1280):
    return Trial(arm=arm, learning_rate=rate, budget_images=budget_images)


def trials_within_the_limits():
    return [planned("pretrained", rate) for rate in (0.1, 0.1, 0.2, 0.2, 0.3, 0.3)]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_the_expected_best_is_the_mean_over_every_choice(scores):
    means = []
    for k in range(1, len(scores) + 1):
        means.append(statistics.fmean(max(some) for some in itertools.combinations(scores, k)))
    assert expected_best(scores) == pytest.approx(means)


@pytest.mark.parametrize(
    ("more", "excesses"),
    [
        (planned("random", 0.1), []),
        (planned("pretrained", 0.4), ["pretrained has 4 learning rates, 3 allowed"]),
        (planned("pretrained", 0.3), ["pretrained has 3 runs at one learning rate, 2 allowed"]),
        (planned("random", 0.1, 1600), ["random has 1,600 images in one run, 1,280 allowed"]),
    ],
)
def test_what_goes_over_the_limits_is_named(more, excesses):
    trials = [*trials_within_the_limits(), more]
    assert tuning_excesses(trials, tuning_limits(STUDY)) == excesses


def test_images_are_those_of_a_run_where_tuning_names_none():
    limits = tuning_limits(make_study(tune={**TUNE, "samples": None}))  # train.samples: 12,800
    assert tuning_excesses([planned("random", 0.1, 12_800)], limits) == []
    assert tuning_excesses([planned("random", 0.1, 12_864)], limits) == [
        "random has 12,864 images in one run, 12,800 allowed"
    ]


def test_a_tuning_run_is_a_trial():
    run = tuning_run(0.3, 0.5, arm="random")
    assert made_trial(run) == Trial(arm="random", learning_rate=0.3, budget_images=1280)


def test_a_diverged_trial_scores_worst_and_its_seconds_count():
    trials = [
        tuning_run(0.1, 0.5),
        tuning_run(0.1, 0.7),
        tuning_run(1.0, 0.9, status="diverged"),
        tuning_run(0.01, 0.4),
        tuning_run(0.2, 0.9, status="interrupted"),
    ]
    tuning = summarize_tuning(STUDY, trials, "train")
    pretrained = tuning.arms["pretrained"]
    assert [(trial.lr, trial.score, trial.status) for trial in pretrained.trials] == [
        (0.01, 0.4, "completed"),
        (0.1, pytest.approx(0.6), "completed"),
        (0.2, None, "interrupted"),
        (1.0, 0.0, "diverged"),
    ]
    assert (pretrained.best, pretrained.at_edge) == (0.1, False)
    assert (pretrained.samples, pretrained.seconds) == (5 * 1280, 10.0)
    assert pretrained.expected_best == pytest.approx([1 / 3, 1.6 / 3, 0.6])
    assert tuning.arms["random"] == ArmTuning(
        trials=[], best=None, at_edge=False, samples=0, seconds=0, expected_best=[]
    )
    assert tuning.unfair == [
        "pretrained has 4 learning rates, 3 allowed",
        "arms were not tuned alike: pretrained 4 rates and 6,400 images, "
        "random 0 rates and 0 images",
    ]


@pytest.mark.parametrize(
    ("accuracies", "at_edge"),
    [((0.5, 0.4, 0.3), True), ((0.3, 0.5, 0.4), False), ((0.3, 0.4, 0.5), True)],
    ids=["lowest", "between", "highest"],
)
def test_the_best_rate_may_lie_at_either_edge_of_those_tried(accuracies, at_edge):
    trials = []
    for rate, accuracy in zip((0.1, 0.2, 0.3), accuracies, strict=True):
        trials.append(tuning_run(rate, accuracy))
    assert summarize_tuning(STUDY, trials, "train").arms["pretrained"].at_edge == at_edge


def test_of_rates_that_score_alike_the_highest_is_best_but_of_diverged_ones_the_lowest():
    assert best_rate({0.1: 0.5, 1.0: 0.5, 10.0: 0.4}) == 1.0
    assert best_rate({0.1: 0.0, 1.0: 0.0}) == 0.1


def test_seconds_are_those_of_the_clock():
    tuning = summarize_tuning(STUDY, [tuning_run(0.1, 0.5)], "airbench")
    assert tuning.arms["pretrained"].seconds == 2.0 + 5.0


def test_curves_from_elsewhere_have_no_limits_of_tuning():
    elsewhere = dataclasses.replace(STUDY, tune=None)
    assert tuning_limits(elsewhere) is None
    assert summarize_tuning(elsewhere, [tuning_run(0.1, 0.5)], "train") is None


def test_trials_of_an_arm_that_the_study_no_longer_has_do_not_count():
    trials = [tuning_run(0.1, 0.5), tuning_run(0.1, 0.5, arm="random")]
    gone = [tuning_run(rate, 0.5, arm="gone") for rate in (0.1, 0.2, 0.3, 0.4)]
    assert summarize_tuning(STUDY, trials + gone, "train") == summarize_tuning(
        STUDY, trials, "train"
    )


def test_without_trials_there_is_no_tuning_and_within_the_limits_the_verdict_stands():
    both = [tuning_run(0.1, 0.5), tuning_run(0.1, 0.5, arm="random")]
    untuned = summarize(STUDY, wins(7))
    tuned = summarize(STUDY, wins(7), trials=both)
    assert untuned.tuning is None
    assert tuned.tuning.unfair == []
    assert tuned.verdict == untuned.verdict
    assert untuned.verdict.verdict == "arm sooner"


def in_bf16(run):
    return with_fact(run, "precision", name="bf16")


@pytest.mark.parametrize(
    ("trials", "reason"),
    [
        (
            [tuning_run(0.1, 0.5)],
            "arms were not tuned alike: pretrained 1 rates and 1,280 images, "
            "random 0 rates and 0 images",
        ),
        (
            [
                tuning_run(0.1 * n, 0.5, arm=arm)
                for n in (1, 2, 3, 4)
                for arm in ("pretrained", "random")
            ],
            "pretrained has 4 learning rates, 3 allowed; random has 4 learning rates, 3 allowed",
        ),
        (
            [in_bf16(tuning_run(0.1, 0.5)), tuning_run(0.1, 0.5, arm="random")],
            "with its trials, runs of 2 different precisions cannot be compared: bf16, fp32",
        ),
    ],
    ids=["unequal", "too-many", "incomparable"],
)
def test_a_tuning_that_is_not_fair_leaves_the_verdict_undecided(trials, reason):
    report = summarize(STUDY, wins(7), "headstart", trials)
    assert report.tuning.unfair
    assert report.verdict == Verdict(verdict="undecided", reason=f"tuning was not fair: {reason}")
