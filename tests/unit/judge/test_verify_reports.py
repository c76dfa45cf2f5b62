"""Verify of reports and plans: every digit that they show is the ledgers'."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.judge.verify import verify
from bench.ledger.plan_record import plan_sha256
from bench.ledger.store import RunStore
from bench.report.pages import report_texts
from tests.unit.judge.spoiling import edit, edit_json, next_digit, problems_of, write_report_of

MANY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LEAST_PLACES = 10  # digits of each report that are changed, one after another
NOT_ITS_CONFIGS = "plan.json: its primary comparison is not that of its config and blocks"


def digits_shown(text):
    """Return the places of the digits that a reader sees."""
    shown = re.sub(
        r"<(style|script|svg).*?</\1>", lambda match: " " * len(match[0]), text, flags=re.S
    )
    return [match.start() for match in re.finditer(r"\d", shown)]


@pytest.mark.parametrize(("kind", "every"), [("json", 97), ("md", 19), ("html", 19)])
def test_a_digit_in_a_report(study, kind, every):
    texts = {name: (study / f"report.{name}").read_text() for name in ("json", "md", "html")}
    path = study / f"report.{kind}"
    text = path.read_text()
    places = digits_shown(text)[::every]
    assert len(places) >= LEAST_PLACES
    for place in places:
        changed = text[:place] + next_digit(text[place]) + text[place + 1 :]
        path.write_text(changed)
        problems = "".join(verify(study, lambda *_: texts))
        assert problem_of_a_digit(kind, text, changed, place) in problems


def problem_of_a_digit(kind: str, text: str, changed: str, place: int) -> str:
    """What is to be told of a report whose digit at a place is another."""
    line = text[:place].count("\n") + 1
    if kind == "html":  # the page's lines are long, and pictures count in none
        return "report.html is not what the ledgers give, from line"
    changed_line = changed.splitlines()[line - 1]
    is_another_run = changed_line in text.splitlines()  # as s1 for s0: it has a ledger
    if kind == "json" and "run_id" in changed_line and not is_another_run:
        return "no ledger, though the report"
    return f"report.{kind} is not what the ledgers give, from line {line} on"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "More.\n",
        lambda text: text + "\n",
        lambda text: text[:-30],
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text + "<svg>10x</svg>",
    ],
    ids=["longer", "a-line-end", "shorter", "line-ends", "a-picture"],
)
def test_a_report_that_is_longer_or_shorter(study, change):
    path = study / "report.md"
    path.write_bytes(change(path.read_text()).encode())
    (problem,) = problems_of(study)
    assert problem.startswith("report.md is not what the ledgers give")


@pytest.mark.parametrize("kind", ["json", "md", "html"])
def test_a_report_that_is_gone(study, kind):
    (study / f"report.{kind}").unlink()
    assert problems_of(study) == [f"report.{kind} is missing"]


def test_pictures_may_differ_and_be_no_more(study):
    path = study / "report.html"
    text = path.read_text()
    path.write_text(text.replace("<svg", '<svg class="other"', 1))
    assert problems_of(study) == []
    for more in ("<svg><text>9x</text></svg><h1", "<svg></svg>\n<h1"):
        path.write_text(text.replace("<h1", more, 1))
        assert len(problems_of(study)) == 1


def test_a_report_by_other_rules_is_verified_where_there_is_one(study):
    write_report_of(study, "airbench")
    assert problems_of(study) == []
    edit(study / "report-airbench.json", r'"rules": "airbench"', '"rules": "headstart"')
    assert problems_of(study) == [
        "report-airbench.json is not what the ledgers give, from line 5 on"
    ]


def test_a_report_that_cannot_be_made_again_is_a_problem(study):
    def broken(*_):
        raise KeyError("share")

    assert verify(study, broken) == ["report.json cannot be made again: KeyError: 'share'"]


def test_what_makes_a_report_again_is_called_with_the_study_as_it_is_stored(study):
    calls = []

    def remake(asked_study, results, rules, trials):
        calls.append((asked_study.name, len(results), rules, len(trials)))
        return report_texts(asked_study, results, rules, trials)

    assert verify(study, remake) == []
    assert calls == [("study", 14, "headstart", 0)]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("threshold", 0.8),
        ("alpha", 0.1),
        ("smallest_ratio", 2.0),
        ("max_blocks", 9),
        ("controls", {"x": "equal"}),
        ("blocks", 6),
    ],
)
def test_a_plan_whose_primary_comparison_was_edited(study, key, value):
    edit_json(study / "plan.json", lambda plan: plan["primary"].update({key: value}))
    sha256 = RunStore(study).plan().sha256
    message = f"plan.json: {sha256} is not the hash of its primary comparison"
    assert message in problems_of(study)
    edit_json(study / "plan.json", lambda plan: plan.update(sha256=plan_sha256(plan["primary"])))
    assert NOT_ITS_CONFIGS in problems_of(study)


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["primary"].update(threshold=0.8),
        lambda config: config["primary"].update(alpha=0.1),
        lambda config: config.update(baseline="pretrained"),
        lambda config: config.update(confirm_looks=1),
        lambda config: config.update(kind="annealed"),
        lambda config: config.update(clock="mlperf"),
        lambda config: config.update(reference={"random": [1.0]}),
        lambda config: config["train"].update(samples=640),
    ],
    ids=["threshold", "alpha", "baseline", "looks", "kind", "clock", "reference", "samples"],
)
def test_a_plan_whose_config_was_edited(study, change):
    edit_json(study / "plan.json", lambda plan: change(plan["config"]))
    assert problems_of(study) == [NOT_ITS_CONFIGS]


def test_a_plan_whose_config_is_none(study):
    edit_json(study / "plan.json", lambda plan: plan["config"].pop("clock"))
    with pytest.raises(ValueError, match=r"^plan\.json cannot be read: .*'clock' is missing"):
        problems_of(study)


def test_a_plan_whose_blocks_were_edited(study):
    edit_json(study / "plan.json", lambda plan: plan["blocks"].pop())
    assert NOT_ITS_CONFIGS in problems_of(study)
    edit_json(study / "plan.json", lambda plan: plan.update(blocks=[]))
    with pytest.raises(ValueError, match=r"^plan\.json cannot be read: a plan has at least one"):
        problems_of(study)


def test_an_earlier_plan_made_up_to_cover_runs(study):
    """Runs of a plan that nobody knows leave the verdict undecided.

    So an entry for it must carry the hash of what it says.
    """
    edit_json(
        study / "plan.json",
        lambda plan: plan["amended"].append({"sha256": "f" * 64, "primary": plan["primary"]}),
    )
    assert problems_of(study) == [
        f"plan.json: {'f' * 64} is not the hash of its primary comparison"
    ]


@MANY
@given(data=st.data())
def test_any_other_digit_in_the_primary_comparison_is_refused(finished, data):
    path = finished / "plan.json"
    text = path.read_text()
    place = data.draw(st.integers(text.index('"primary"'), text.index('"amended"') - 1))
    byte = data.draw(st.sampled_from("0123456789abcdef"))
    changed = text[:place] + byte + text[place + 1 :]
    path.write_text(changed)
    try:
        problems = problems_of(finished)
    except ValueError as error:
        problems = [str(error)]
    finally:
        path.write_text(text)
    assert bool(problems) == (changed != text)
