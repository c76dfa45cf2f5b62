"""What a tuning's summary tells: scores, the expected best of k, the budget, and how it leaves the
verdict.
"""

import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.comparison import summarize
from bench.ledger.fold import RunResult
from bench.report.pages import make_report
from bench.judge.tuning import best_rate, expected_best, over_budget, summarize_tuning
from bench.report.words import templates
from tests.unit.study_factory import timed, wins
from tests.unit.results_factory import make_config, make_plan

TUNE = {"trials": 3, "finer": False, "seeds": 2, "samples": 1280}
CONFIG = make_config(tune=TUNE, optim={"lr": 0.1})
WITHIN = [("pretrained", rate, 1280) for rate in (0.1, 0.2, 0.3) for _ in range(2)]


def trial(
    rate: float, accuracy: float, *, arm: str = "pretrained", bf16: bool = False, **changes: object
) -> RunResult:
    """A run of tuning, of two looks and two seconds."""
    run = timed((0.1, accuracy), arm, **changes)
    run.start["config"] = {"optim": {"lr": rate}, "train": {"samples": 1280}}
    run.start["precision"] |= {"name": "bf16"} if bf16 else {}
    return run


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_the_expected_best_is_the_mean_over_every_choice(scores):
    choices = (itertools.combinations(scores, k) for k in range(1, len(scores) + 1))
    assert expected_best(scores) == pytest.approx(
        [statistics.fmean(max(some) for some in chosen) for chosen in choices]
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([("random", 0.1, 1280)], []),
        ([("pretrained", 0.4, 1280)], ["pretrained has 4 learning rates, 3 allowed"]),
        ([("pretrained", 0.3, 1280)], ["pretrained has 3 runs at one learning rate, 2 allowed"]),
        ([("random", 0.1, 1600)], ["random has 1,600 images in one run, 1,280 allowed"]),
    ],
)
def test_what_goes_over_the_budget_is_named(more, told):
    assert over_budget(CONFIG, [], [*WITHIN, *more]) == told


def test_images_are_those_of_a_run_where_tuning_names_none():
    config = make_config(tune={**TUNE, "samples": None})  # train.samples: 12,800
    assert over_budget(config, [], [("random", 0.1, 12_800)]) == []
    assert over_budget(config, [], [("random", 0.1, 12_864)]) == [
        "random has 12,864 images in one run, 12,800 allowed"
    ]


def test_a_diverged_trial_scores_worst_and_its_seconds_count():
    trials = [
        trial(0.1, 0.5),
        trial(0.1, 0.7),
        trial(1.0, 0.9, status="diverged"),
        trial(0.01, 0.4),
        trial(0.2, 0.9, status="interrupted"),
    ]
    found = summarize_tuning(CONFIG, trials, "train")
    own = found["arms"]["pretrained"]
    assert [(row["lr"], row["score"], row["status"]) for row in own["trials"]] == [
        (0.01, 0.4, "completed"), (0.1, pytest.approx(0.6), "completed"),
        (0.2, None, "interrupted"), (1.0, 0.0, "diverged"),
    ]  # fmt: skip
    assert (own["best"], own["at_edge"], own["samples"], own["seconds"]) == (
        0.1,
        False,
        5 * 1280,
        10.0,
    )
    assert own["expected_best"] == pytest.approx([1 / 3, 1.6 / 3, 0.6])
    assert found["arms"]["random"] == {
        "trials": [], "best": None, "at_edge": False, "samples": 0, "seconds": 0,
        "expected_best": [],
    }  # fmt: skip
    unlike = (
        "arms were not tuned alike: pretrained 4 rates and 6,400 images, "
        "random 0 rates and 0 images"
    )
    assert found["unfair"] == ["pretrained has 4 learning rates, 3 allowed", unlike]


def test_of_rates_that_score_alike_the_highest_is_best_but_of_diverged_ones_the_lowest():
    assert best_rate({0.1: 0.5, 1.0: 0.5, 10.0: 0.4}) == 1.0
    assert best_rate({0.1: 0.0, 1.0: 0.0}) == 0.1


def test_seconds_are_those_of_the_clock():
    assert (
        summarize_tuning(CONFIG, [trial(0.1, 0.5)], "airbench")["arms"]["pretrained"]["seconds"]
        == 2.0 + 5.0
    )


def test_what_is_printed_is_loud_where_the_best_rate_lies_at_the_edge():
    found = summarize_tuning(
        CONFIG, [trial(0.01, 0.5), trial(0.1, 0.9, status="diverged")], "train"
    )
    said = {"clock": "train", "layer": "--layer=tuned.yaml"}
    found["arms"] = {"pretrained": found["arms"]["pretrained"]}
    assert templates().get_template("tuning.j2").render(tuning=found, **said).splitlines() == [
        "pretrained: best learning rate 0.01, AT THE EDGE of those tried: "
        "a better one may lie beyond",
        "  0.01       val 0.5000  2.00 s",
        "  0.1        val 0.0000  2.00 s  diverged",
        "  tuning took 4.00 s on the train clock",
        "next: run the experiment as it was tuned, with --layer=tuned.yaml",
    ]


def test_curves_from_elsewhere_have_no_budget_of_tuning():
    assert summarize_tuning(make_config(), [trial(0.1, 0.5)], "train") is None


def test_without_trials_there_is_no_tuning_and_within_the_budget_of_all_the_verdict_stands():
    plan, runs = make_plan(CONFIG), wins(7)
    both = [trial(0.1, 0.5), trial(0.1, 0.5, arm="random")]
    plain, tuned = summarize(plan, runs), summarize(plan, runs, trials=both)
    assert plain["tuning"] is None
    assert tuned["verdict"] == plain["verdict"]
    assert plain["verdict"]["verdict"] == "arm sooner"


@pytest.mark.parametrize(
    ("trials", "told"),
    [
        (
            [trial(0.1, 0.5)],
            "arms were not tuned alike: pretrained 1 rates and 1,280 images, "
            "random 0 rates and 0 images",
        ),
        (
            [
                trial(0.1 * n, 0.5, arm=arm)
                for n in (1, 2, 3, 4)
                for arm in ("pretrained", "random")
            ],
            "pretrained has 4 learning rates, 3 allowed; random has 4 learning rates, 3 allowed",
        ),
        (
            [trial(0.1, 0.5, bf16=True), trial(0.1, 0.5, arm="random")],
            "with its trials, runs of 2 different precisions cannot be compared: bf16, fp32",
        ),
    ],
)
def test_a_tuning_that_is_not_fair_leaves_the_verdict_undecided_and_is_shown(trials, told):
    report, texts, _ = make_report(make_plan(CONFIG), wins(7), "headstart", trials)
    assert report["verdict"] == {"verdict": "undecided", "reason": f"tuning was not fair: {told}"}
    assert "## Tuning" in texts["md"]
