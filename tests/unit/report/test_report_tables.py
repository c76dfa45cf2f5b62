"""What a report tells of what ran beside its times: what else differed, what pretraining cost, what
weights and ends were.
"""

import dataclasses
import json

import pytest

from bench.report.pages import write_report
from bench.report.words import NOTHING
from tests.unit.report.pages import Page, headings, markdown_tables
from tests.unit.results_factory import make_config, make_plan, make_study


def rendered(tmp_path, runs, **changes):
    """The tables, by their headings, and the notes of a page of runs whose arms may differ in their
    network.
    """
    arms = {"pretrained": {"model.name": "resnet18_3x3"}, "random": {}, "again": {}}
    write_report(
        tmp_path, make_plan(make_config(arms=arms, thresholds=[0.8, 0.9], **changes)), runs
    )
    text = (tmp_path / "report.html").read_text()
    assert Page(text).tables == markdown_tables((tmp_path / "report.md").read_text())
    return headings(Page(text)), text


def with_start(runs, arm, key, **facts):
    for run in runs:
        if run.arm == arm:
            run.start[key] = {**run.start[key], **facts}
    return runs


def three(looks=6):
    config = make_config(arms={"pretrained": {}, "random": {}, "again": {}})
    return list(make_study(config, blocks=2, looks=looks))


def test_what_else_differed_is_told_with_its_cause_and_what_is_hidden_stands_out(tmp_path):
    tables, text = rendered(
        tmp_path,
        with_start(
            three(), "pretrained", "reality", **{"network.class": "Stem", "init.rms": "0.04"}
        ),
    )
    assert tables["What else differed"] == [
        ["", "pretrained", "random", "again", "through"],
        ["init.rms", "0.04", "0.03", "0.03", "model.name"],
        ["network.class", "Stem", "ResNet", "ResNet", "model.name"],
    ]
    assert "none of its factors" not in text
    runs = with_start(
        three(), "again", "reality", **{"optimizer.groups": "61 tensors", "new": None}
    )
    tables, text = rendered(tmp_path, runs)
    assert tables["What else differed"][1:] == [
        ["new", "no such thing", "no such thing", "null", "nothing declared"],
        ["optimizer.groups", "62 tensors", "62 tensors", "61 tensors", "nothing declared"],
    ]
    assert "again differs from the baseline in new, which none of its factors explains" in text
    assert "| **optimizer.groups** | **62 tensors** |" in (tmp_path / "report.md").read_text()


def test_arms_alike_in_all_that_ran_have_no_such_table(tmp_path):
    tables, _ = rendered(tmp_path, three())
    assert {"What else differed", "Price of pretraining"} & {*tables} == set()


PRICE = {"pretraining": {"flops": 8.36e18, "source": "600 epochs of ImageNet", "estimate": True}}


def test_the_price_of_pretraining_and_after_how_many_runs_it_has_paid(tmp_path):
    runs = with_start(three(looks=18), "pretrained", "weights", **PRICE)
    tables, _ = rendered(tmp_path, runs)
    flops = {
        arm["name"]: arm["thresholds"][1]["flops_to_accuracy"]["median"]
        for arm in json.loads((tmp_path / "report.json").read_text())["arms"]
    }
    saved = flops["random"] - flops["pretrained"]
    assert saved > 0
    assert tables["Price of pretraining"] == [
        ["arm", "source", "pretraining PFLOP", "saved PFLOP a run", "pays after"],
        [
            "pretrained",
            "600 epochs of ImageNet",
            "8,360 (estimate)",
            f"{saved / 1e15:.4g}",
            f"{8.36e18 / saved:,.1f} runs",
        ],
    ]


@pytest.mark.parametrize(
    ("train_flops_per_image", "arm", "told"),
    [
        (37_000_000 * 30, "pretrained", "never"),
        (37_000_000 * 3, "random", "not known: not all reached"),
    ],
)
def test_pretraining_that_is_dear_or_unmeasured_pays_never_or_nobody_knows(
    tmp_path, train_flops_per_image, arm, told
):
    runs = with_start(
        three(looks=18),
        "pretrained",
        "weights",
        pretraining={**PRICE["pretraining"], "estimate": False},
    )
    with_start(runs, "pretrained", "network", train_flops_per_image=train_flops_per_image)
    if arm == "random":
        runs = [
            dataclasses.replace(run, looks=run.looks[:1]) if run.arm == arm else run for run in runs
        ]
    (row,) = rendered(tmp_path, runs)[0]["Price of pretraining"][1:]
    assert (row[2], row[-1]) == ("8,360", told)


def test_how_weights_were_changed_and_where_runs_ended_are_told(tmp_path):
    runs = with_start(
        three(), "pretrained", "weights", transform="shuffled", stem="crop", tag="a1_in1k"
    )
    runs[0] = dataclasses.replace(runs[0], stopped_step=30, best_step=25)
    tables, _ = rendered(tmp_path, runs)
    assert ["weights", "file, a1_in1k, shuffled, crop stem", "random", "random"] in tables["Arms"]
    columns, first, second, *_ = tables["Every run"]
    assert first[columns.index("status")] == "completed, by its own rule"
    assert (
        first[columns.index("restored from step")],
        second[columns.index("restored from step")],
    ) == ("25", NOTHING)
