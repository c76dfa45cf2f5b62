"""The JSON Schemas of docs/schema: made from the records, and true of what headstart writes."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator, ValidationError

from bench.report.schemas import schemas
from tests.commands import ROOT
from tests.fixtures.stored import NAMES, STUDIES, judge_curves, judge_study

FOLDER = ROOT / "docs" / "schema"
LEDGERS = sorted(STUDIES.rglob("events.rank0.jsonl"))


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / name).read_text()))


@pytest.fixture(scope="module")
def of_reports() -> Draft202012Validator:
    return validator("report.schema.json")


@pytest.fixture(scope="module")
def of_events() -> Draft202012Validator:
    return validator("event.schema.json")


@pytest.mark.parametrize("name", schemas())
def test_what_is_committed_is_what_the_records_give(name):
    """Else: python -m bench.report.schemas docs/schema."""
    assert json.loads((FOLDER / name).read_text()) == schemas()[name]
    Draft202012Validator.check_schema(schemas()[name])


@pytest.mark.parametrize("name", NAMES)
def test_a_report_of_stored_runs_fits(of_reports, name):
    of_reports.validate(judge_study(STUDIES / name, "headstart"))


def test_a_report_of_curves_from_elsewhere_fits(of_reports):
    report, _ = judge_curves()
    of_reports.validate(report)


def test_every_line_of_the_stored_ledgers_fits(of_events):
    kinds = set()
    for path in LEDGERS:
        for event in whole_events(path):
            of_events.validate(event)
            kinds.add(event["kind"])
    assert kinds == {"run_start", "epoch_stop", "eval_stop", "checkpoint", "run_stop"}


def whole_events(path: Path) -> list[dict]:
    """A ledger's events; a killed run leaves its last line unfinished."""
    *lines, _ = path.read_text().split("\n")
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kind", "run_halt"),
        ("kind", "eval_stop"),  # whose data are others
        ("step", "3"),
        ("mono_ns", None),
        ("extra", 1),
    ],
)
def test_a_line_with_a_wrong_key_or_value_does_not_fit(of_events, key, value):
    event = whole_events(LEDGERS[0])[0]
    with pytest.raises(ValidationError):
        of_events.validate(event | {key: value})


@pytest.mark.parametrize("key", ["arms", "verdict", "method_version"])
def test_a_report_that_lacks_something_does_not_fit(of_reports, key):
    report = judge_study(STUDIES / "two_arms", "headstart")
    del report[key]
    with pytest.raises(ValidationError, match=key):
        of_reports.validate(report)
