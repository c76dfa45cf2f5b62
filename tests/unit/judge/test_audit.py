"""What differs in the things that ran: explained by what an arm declares, or hidden, whichever fact
and key it is.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.audit import CAUSES, LACKING, check_declared, differences
from bench.judge.records import Difference, Verdict
from tests.unit.results_factory import make_study, with_start
from tests.unit.study_factory import pair, report_of, wins

SHARED = {
    "network.class": "ResNet",
    "network.parameters": 11,
    "init.rms": "0.03",
    "optimizer.groups": "A",
    "data.mean": "[0.5]",
}
KEYS = (
    "model.name",
    "optim.lr",
    "finetune.layers",
    "data.pad",
    "train.samples",
    "schedule.name",
    "weights.source",
    "precision",
)


BASELINE = "random"


def audited(changes, overrides, baseline=None):
    """Return a study of an arm x with overrides, and what x and the baseline really are."""
    study = make_study(arms={"x": overrides, BASELINE: baseline or {}})
    return study, {"x": {**SHARED, **changes}, BASELINE: SHARED}


def test_nothing_differs_between_equals():
    study, realities = audited({}, {"optim.lr": 3e-4})
    assert differences(study, realities) == []


@pytest.mark.parametrize(
    ("fact", "key"),
    [
        ("network.class", "model.name"),
        ("init.rms", "model.name"),
        ("optimizer.groups", "optim.lr"),
        ("optimizer.groups", "finetune.layers"),
        ("data.mean", "data.normalization"),
        ("data.mean", "model.name"),
        ("network.trained_parameters", "finetune.layers"),
        ("schedule.rates", "train.samples"),
        ("precision.images", "precision"),
        ("train.loss", "train.label_smoothing"),
    ],
)
def test_a_consequence_of_what_was_declared_is_explained(fact, key):
    study, realities = audited({fact: "B"}, {key: "other", "weights.source": "file"})
    (difference,) = differences(study, realities)
    assert (difference.fact, difference.value) == (fact, "B")
    assert difference.explained_by == [key]
    check_declared(study, realities)


@pytest.mark.parametrize(
    ("fact", "key"),
    [
        ("network.class", "finetune.layers"),
        ("init.rms", "weights.source"),
        ("optimizer.groups", "weights.source"),
        ("data.mean", "optim.lr"),
        ("precision.images", "model.name"),
        ("network.class", "modelling"),
        ("odd", "model.name"),
    ],
)
def test_a_difference_that_nothing_declared_explains_is_refused(fact, key):
    study, realities = audited({fact: "B"}, {key: "other"})
    message = (
        rf"^arm x and baseline random differ in {fact} \(B against .*\), "
        rf"which none of its factors \({key}\) explains: declare"
    )
    with pytest.raises(ValueError, match=message):
        check_declared(study, realities)


def test_a_fact_that_one_side_lacks_differs():
    study, realities = audited({"init.zeroed": None}, {})
    (difference,) = differences(study, realities)
    assert (difference.value, difference.baseline) == (None, LACKING)
    swapped = {"x": realities[BASELINE], BASELINE: realities["x"]}
    (difference,) = differences(study, swapped)
    assert (difference.value, difference.baseline) == (LACKING, None)


def test_a_key_that_both_arms_set_alike_explains_nothing():
    study, realities = audited(
        {"network.class": "CNN"}, {"model.name": "cnn"}, {"model.name": "cnn"}
    )
    with pytest.raises(ValueError, match="differ in network"):
        check_declared(study, realities)


@given(
    st.dictionaries(st.sampled_from(KEYS), st.integers(0, 2)),
    st.dictionaries(st.sampled_from(KEYS), st.integers(0, 2)),
    st.dictionaries(st.sampled_from(sorted({*SHARED, *CAUSES})), st.integers(0, 2)),
)
def test_every_difference_is_told_once_and_explained_by_keys_that_differ_alone(
    overrides, baseline, changes
):
    study, realities = audited(changes, overrides, baseline)
    rows = differences(study, realities)
    facts = [row.fact for row in rows]
    changed = {fact for fact, value in changes.items() if value != SHARED.get(fact, LACKING)}
    assert set(facts) == changed
    assert len(facts) == len(set(facts))
    for row in rows:
        assert all(overrides.get(key) != baseline.get(key) for key in row.explained_by)


def spoiled(runs, arm="pretrained", **facts):
    """Return runs of which an arm's really had other facts."""
    changed = []
    for run in runs:
        if run.arm == arm:
            run = with_start(run, reality={**run.start.reality, **facts})
        changed.append(run)
    return changed


def test_stored_runs_with_a_hidden_difference_give_no_verdict():
    assert report_of(wins(7)).audit == []
    report = report_of(spoiled(wins(7), **{"init.rms": "0.05"}))
    assert report.verdict == Verdict(
        verdict="undecided",
        reason="pretrained differs from the baseline in init.rms, "
        "which none of its factors explains",
    )
    assert report.audit == [
        Difference(
            arm="pretrained", fact="init.rms", value="0.05", baseline="0.03", explained_by=[]
        )
    ]


def test_a_declared_difference_leaves_the_verdict_alone():
    arms = {"pretrained": {"model.name": "cnn"}, "random": {}}
    report = report_of(spoiled(wins(7), **{"network.class": "CNN", "init.rms": "0.05"}), arms=arms)
    assert report.verdict.verdict == "arm sooner"
    assert [row.explained_by for row in report.audit] == [["model.name"]] * 2


def test_without_a_finished_baseline_there_is_nothing_to_differ_from():
    alone = pair(0, 1.0, 2.0)[:1]
    assert report_of(spoiled(alone, **{"init.rms": "0.05"})).audit == []
