"""What differs in the things that ran: explained by what an arm declares, or hidden, whichever fact
and key it is.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.audit import CAUSES, LACKING, check_declared, differences
from tests.unit.study_factory import pair, told, wins
from tests.unit.results_factory import make_config

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


def found(changes, overrides, baseline=None):
    config = make_config(arms={"x": overrides, "random": baseline or {}})
    return config, {"x": {**SHARED, **changes}, "random": SHARED}


def test_nothing_differs_between_equals():
    assert differences(*found({}, {"optim.lr": 3e-4})) == []


@pytest.mark.parametrize(
    ("fact", "key"),
    [
        ("network.class", "model.name"), ("init.rms", "model.name"),
        ("optimizer.groups", "optim.lr"), ("optimizer.groups", "finetune.layers"),
        ("data.mean", "data.normalization"), ("data.mean", "model.name"),
        ("network.trained_parameters", "finetune.layers"), ("schedule.rates", "train.samples"),
        ("precision.images", "precision"), ("train.loss", "train.label_smoothing"),
    ],
)  # fmt: skip
def test_a_consequence_of_what_was_declared_is_explained(fact, key):
    config, realities = found({fact: "B"}, {key: "other", "weights.source": "file"})
    (difference,) = differences(config, realities)
    assert (difference["fact"], difference["value"], difference["explained_by"]) == (
        fact,
        "B",
        [key],
    )
    check_declared(config, realities)


@pytest.mark.parametrize(
    ("fact", "key"),
    [
        ("network.class", "finetune.layers"), ("init.rms", "weights.source"),
        ("optimizer.groups", "weights.source"), ("data.mean", "optim.lr"),
        ("precision.images", "model.name"), ("network.class", "modelling"), ("odd", "model.name"),
    ],
)  # fmt: skip
def test_a_difference_that_nothing_declared_explains_is_refused(fact, key):
    config, realities = found({fact: "B"}, {key: "other"})
    said = (
        rf"^arm x and baseline random differ in {fact} \(B against .*\), "
        rf"which none of its factors \({key}\) explains: declare"
    )
    with pytest.raises(ValueError, match=said):
        check_declared(config, realities)


def test_a_fact_that_one_side_lacks_differs():
    config, realities = found({"init.zeroed": None}, {})
    assert [(d["value"], d["baseline"]) for d in differences(config, realities)] == [
        (None, LACKING)
    ]
    realities["random"], realities["x"] = realities["x"], realities["random"]
    assert [(d["value"], d["baseline"]) for d in differences(config, realities)] == [
        (LACKING, None)
    ]


def test_a_key_that_both_arms_set_alike_explains_nothing():
    config, realities = found(
        {"network.class": "CNN"}, {"model.name": "cnn"}, {"model.name": "cnn"}
    )
    with pytest.raises(ValueError, match="differ in network"):
        check_declared(config, realities)


@given(
    st.dictionaries(st.sampled_from(KEYS), st.integers(0, 2)),
    st.dictionaries(st.sampled_from(KEYS), st.integers(0, 2)),
    st.dictionaries(st.sampled_from(sorted({*SHARED, *CAUSES})), st.integers(0, 2)),
)  # fmt: skip
def test_every_difference_is_told_once_and_explained_by_keys_that_differ_alone(own, other, changes):
    config, realities = found(changes, own, other)
    told = differences(config, realities)
    assert {d["fact"] for d in told} == {
        fact for fact, value in changes.items() if value != SHARED.get(fact, LACKING)
    }
    assert len(told) == len({d["fact"] for d in told})
    for difference in told:
        assert all(own.get(key) != other.get(key) for key in difference["explained_by"])


def spoiled(runs, arm="pretrained", **facts):
    for run in runs:
        if run.arm == arm:
            run.start["reality"] = {**run.start["reality"], **facts}
    return runs


def test_stored_runs_with_a_hidden_difference_give_no_verdict():
    assert told(wins(7))["audit"] == []
    report = told(spoiled(wins(7), **{"init.rms": "0.05"}))
    assert report["verdict"] == {
        "verdict": "undecided",
        "reason": "pretrained differs from the baseline in init.rms, "
        "which none of its factors explains",
    }  # fmt: skip
    assert report["audit"] == [
        {
            "arm": "pretrained",
            "fact": "init.rms",
            "value": "0.05",
            "baseline": "0.03",
            "explained_by": [],
        }
    ]


def test_a_declared_difference_leaves_the_verdict_alone():
    arms = {"pretrained": {"model.name": "cnn"}, "random": {}}
    report = told(spoiled(wins(7), **{"network.class": "CNN", "init.rms": "0.05"}), arms=arms)
    assert report["verdict"]["verdict"] == "arm sooner"
    assert [found["explained_by"] for found in report["audit"]] == [["model.name"]] * 2


def test_without_a_finished_baseline_there_is_nothing_to_differ_from():
    assert told(spoiled(pair(0, 1.0, 2.0)[:1], **{"init.rms": "0.05"}))["audit"] == []
