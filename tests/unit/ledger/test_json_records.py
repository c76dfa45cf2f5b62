"""Records and JSON: a field that has another key in the file."""

from dataclasses import dataclass
from typing import Annotated

import pytest

from bench.ledger.json_records import Record, parse, stored_as, to_json


@dataclass(frozen=True, kw_only=True)
class Outcome(Record):
    """A record with a field under another key."""

    outcome: Annotated[str, stored_as("told")]


def test_a_field_is_written_and_read_under_the_key_that_it_is_stored_as():
    assert to_json(Outcome(outcome="passed")) == {"told": "passed"}
    assert parse(Outcome, '{"told": "passed"}') == Outcome(outcome="passed")


def test_the_name_of_the_field_is_no_key_of_the_file():
    with pytest.raises(ValueError, match="told: field required"):
        parse(Outcome, '{"outcome": "passed"}')
