"""Facts beside the answer, and the words of the pictures."""

import dataclasses

from bench.judge.comparison import summarize
from bench.judge.records import Crossover, DatasetName, Report
from bench.judge.study import Study
from bench.report import notes
from tests.unit.results_factory import make_study
from tests.unit.study_factory import report_of, wins


def values(report: Report, study: Study) -> dict[str, str]:
    """Return the facts' values by label."""
    return {fact.label: fact.value for fact in notes.facts(report, study)}


def test_facts_of_a_comparison():
    facts = values(report_of(wins(7)), make_study())
    assert facts["primary comparison"] == "pretrained against random at 0.90"
    assert facts["evidence"] == "26.8 of 20 needed"
    assert facts["blocks"] == "7 of 7 planned, 7 sooner, 0 later"
    assert facts["crossover accuracy"] == "none within the budget"
    assert facts["clock"] == "train"
    assert facts["method"] == "METHOD 1.1"
    assert facts["plan"] == "sha256 pppppppppppp"
    assert "ratio of times, 95 % interval" in facts
    assert {"controls", "stored references"} & facts.keys() == set()


def test_blocks_that_are_added_until_the_verdict_have_a_limit():
    study = make_study(until_decided=True)
    facts = values(summarize(study, wins(3)), study)
    assert facts["blocks"] == "3 of at most 21 planned, 3 sooner, 0 later"


def test_before_a_block_is_complete_there_is_no_evidence():
    facts = values(report_of([]), make_study())
    assert facts["blocks"] == "0 of 7 planned, 0 sooner, 0 later"
    assert {"evidence", "crossover accuracy", "data set", "ratio of times"} & facts.keys() == set()


def test_one_arm_has_no_facts_of_a_comparison():
    study = make_study(arms={"random": {}}, primary={"arm": "random"})
    runs = [run for run in wins(1) if run.arm == "random"]
    facts = values(summarize(study, runs), study)
    assert facts["primary comparison"] == "random at 0.90"
    assert "blocks" not in facts


def test_the_crossover_accuracy_is_that_of_the_primary_arm():
    report = report_of(wins(2))
    crossovers = [
        Crossover(arm="again", baseline="random", accuracy=0.8),
        Crossover(arm="pretrained", baseline="random", accuracy=0.9),
    ]
    facts = values(dataclasses.replace(report, crossover=crossovers), make_study())
    assert facts["crossover accuracy"] == "0.90"


def test_only_cifar10_is_verified():
    report = report_of(wins(1))
    sentence = "Not verified CIFAR-10: these figures are of digits, and of nothing else."
    assert notes.warning(report) == sentence
    cifar10 = DatasetName(name="cifar10", sha256="c" * 64)
    assert notes.warning(dataclasses.replace(report, dataset=cifar10)) is None
    assert notes.warning(report_of([])) is None


def test_pictures_are_told_in_words_with_flops_where_they_are_known():
    report = report_of(wins(1))
    assert notes.curves_alt(report).startswith(
        "Accuracy against seconds, train clock, epochs and FLOPs; arms: pretrained, random. pre"
    )
    assert "FLOPs of training" in notes.curves_note(report)
    arms = [dataclasses.replace(arm, flops_per_image=None) for arm in report.arms]
    unknown = dataclasses.replace(report, arms=arms)
    assert ", and epochs; arms" in notes.curves_alt(unknown)
    assert "FLOPs" not in notes.curves_note(unknown)
