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
NO_EVENT = "is not valid under any of the given schemas"  # of which each kind of event has one
# Keys that ledgers of the same version may lack, by the record's title.
CAME_LATER = {
    "RunStart": {"basis", "attempt", "begun_anew", "resumed_step"},
    "Scores": {"train_loss", "skipped_steps"},
}


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


@pytest.mark.parametrize("rules", ["airbench", "dawnbench"])
def test_a_report_by_other_rules_fits(of_reports, rules):
    of_reports.validate(judge_study(STUDIES / "two_arms", rules))


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
        ("schema_version", 1),
    ],
)
def test_a_line_with_a_wrong_key_or_value_does_not_fit(of_events, key, value):
    event = whole_events(LEDGERS[0])[0]
    with pytest.raises(ValidationError, match=NO_EVENT):
        of_events.validate(event | {key: value})


@pytest.mark.parametrize("key", ["kind", "mono_ns", "data"])
def test_a_line_that_lacks_something_does_not_fit(of_events, key):
    event = whole_events(LEDGERS[0])[0]
    del event[key]
    with pytest.raises(ValidationError, match=NO_EVENT):
        of_events.validate(event)


def test_a_line_whose_data_lack_a_key_with_a_default_does_not_fit(of_events):
    event = whole_events(LEDGERS[0])[0]
    del event["data"]["network"]["input_size"]
    with pytest.raises(ValidationError, match=NO_EVENT):
        of_events.validate(event)


@pytest.mark.parametrize("name", schemas())
def test_every_key_of_a_record_is_required_and_no_other_is_allowed(name):
    schema = schemas()[name]
    definitions = schema["$defs"]
    records = [record for record in (schema, *definitions.values()) if "properties" in record]
    assert len(records) > 5
    for record in records:
        came_later = CAME_LATER.get(record.get("title"), set())
        keys = [key for key in record["properties"] if key not in came_later]
        assert record.get("required", []) == keys
        assert record["additionalProperties"] is False


@pytest.mark.parametrize(
    ("name", "record", "key", "text"),
    [
        ("event.schema.json", "Scores", "samples", "training images so far"),
        ("report.schema.json", "Comparison", "reached", "runs of the arm, of the baseline"),
    ],
)
def test_what_a_name_does_not_say_is_described(name, record, key, text):
    assert schemas()[name]["$defs"][record]["properties"][key]["description"] == text


def test_a_key_is_named_as_it_is_stored():
    control = schemas()["report.schema.json"]["$defs"]["Control"]
    assert "told" in control["properties"]
    assert "outcome" not in control["properties"]


@pytest.mark.parametrize("key", ["arms", "verdict", "method_version", "schema_version"])
def test_a_report_that_lacks_something_does_not_fit(of_reports, key):
    report = judge_study(STUDIES / "two_arms", "headstart")
    del report[key]
    with pytest.raises(ValidationError, match=key):
        of_reports.validate(report)
