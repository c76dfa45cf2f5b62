"""Verify: silent on a study as it was made, loud on every change to a ledger, result, plan or
report.
"""

import json
import re
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.judge import verify as module
from bench.report.pages import write_report
from bench.files import write_json
from bench.ledger.plan_record import plan_sha256
from bench.ledger.store import RunStore
from bench.judge.verify import verify
from tests.unit.judge.spoiling import edit, edit_json, ledger, report
from tests.unit.study_factory import own_clock, study_plan, write_run, write_study

MANY = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LINES = 11


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished study, which tests must not change."""
    study = write_study(tmp_path_factory.mktemp("finished"))
    report(study)
    return study


@pytest.fixture
def study(made, tmp_path):
    """A copy to spoil."""
    shutil.copytree(made.store.root, tmp_path / "study")
    return tmp_path / "study"


def test_a_study_as_it_was_made(made):
    assert verify(made.store.root) == []


def test_nothing_is_written(study):
    ledger(study).write_text("")
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*")}
    verify(study)
    assert {path: path.stat().st_mtime_ns for path in study.rglob("*")} == before


def test_where_there_is_no_study_there_is_nothing_to_verify(tmp_path):
    with pytest.raises(ValueError, match=r"no plan\.json"):
        verify(tmp_path)


@pytest.mark.parametrize("line", range(LINES))
def test_a_line_that_is_deleted_or_repeated_is_named(study, line):
    lines = ledger(study).read_text().splitlines(keepends=True)
    assert len(lines) == LINES
    for changed in (lines[:line] + lines[line + 1 :], lines[: line + 1] + lines[line:]):
        ledger(study).write_text("".join(changed))
        told = verify(study)
        assert any(ledger(study).parent.name in problem for problem in told)
        if line < LINES - 1 and changed != lines[1:]:
            assert any(
                re.search(rf"line {line + 1} has|line {line + 2} has", problem) for problem in told
            ), told


@pytest.mark.parametrize("line", range(LINES - 1))
def test_lines_that_changed_places_are_named(study, line):
    lines = ledger(study).read_text().splitlines(keepends=True)
    lines[line], lines[line + 1] = lines[line + 1], lines[line]
    ledger(study).write_text("".join(lines))
    assert any(f"line {line + 1} has the number {line + 1}" in problem for problem in verify(study))


@pytest.mark.parametrize(
    "key",
    ["correct", "train", "evaluate", "seq", "mono_ns", "seed", "block", "step", "samples", "loss"],
)
def test_a_digit_in_a_ledger(study, key):
    edit(
        ledger(study),
        rf'("{key}":-?[0-9.]*)([0-9])',
        lambda found: found[1] + str((int(found[2]) + 1) % 10),
    )
    assert verify(study)


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_torn_ledger(study, cut):
    content = ledger(study).read_bytes()
    ledger(study).write_bytes(content[:-cut])
    assert any("its ledger ends within a line" in problem for problem in verify(study))


def test_a_deleted_ledger_and_a_deleted_run(study):
    name = ledger(study).parent.name
    ledger(study).unlink()
    assert f"{name}: no ledger, though the report or later runs tell of it" in verify(study)
    shutil.rmtree(study / name)
    assert f"{name}: no ledger, though the report or later runs tell of it" in verify(study)


def test_the_last_run_is_missed_by_the_report(study):
    last = RunStore(study).plan()["blocks"][-1][-1]
    shutil.rmtree(study / last)
    assert verify(study) == [f"{last}: no ledger, though the report or later runs tell of it"]


def test_a_lost_block_cannot_be_dropped_from_the_study_by_a_new_report(study):
    """Without its ledgers the report is consistent again, but later blocks tell of it."""
    for folder in study.glob("*-s2-*"):
        shutil.rmtree(folder)
    store = RunStore(study)
    write_report(study, store.plan(), store.planned_results())
    assert len(verify(study)) == 2


def test_a_run_copied_under_another_name(study):
    name = ledger(study).parent.name
    shutil.copytree(study / name, study / "copied")
    told = verify(study)
    assert f"copied: its ledger is run {name}'s" in told
    assert "copied: no run of the plan" in told
    assert "random: seed 2 is there 2 times" in told


def test_a_runs_ledger_in_another_runs_place(study):
    shutil.copy(ledger(study), ledger(study, "random-s3"))
    assert any(
        problem.endswith(f"its ledger is run {ledger(study).parent.name}'s")
        for problem in verify(study)
    )


def test_a_run_that_nobody_planned(study):
    made = study_plan(study.parent / "other", "--seed=100")
    with own_clock() as clock:
        write_run(made, made.specs[0], clock)
    name = made.specs[0].run_id
    shutil.copytree(made.store.run_dir(name), study / name)
    assert verify(study) == [f"{name}: no run of the plan"]


def test_a_result_with_another_last_digit(study):
    path = ledger(study).parent / "result.json"
    edit(path, r'("train": [0-9.]*)([0-9])', lambda found: found[1] + str((int(found[2]) + 1) % 10))
    line = 1 + next(n for n, line in enumerate(path.read_text().splitlines()) if '"train":' in line)
    assert verify(study) == [
        f"{path.parent.name}: result.json is not what its ledger folds to, from line {line} on"
    ]


def test_a_result_with_a_digit_that_no_float_holds(study):
    path = ledger(study).parent / "result.json"
    edit(path, r"(\d\.\d+)(,?\n)", r"\g<1>00000000000000000001\2")
    assert any(
        "result.json is not what its ledger folds to" in problem for problem in verify(study)
    )


@pytest.mark.parametrize("content", ["", "[]", "7", "{}", b"\xff"])
def test_a_result_that_is_none(study, content):
    path = ledger(study).parent / "result.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert any(
        "result.json is not what its ledger folds to" in problem for problem in verify(study)
    )


def test_a_finished_run_without_its_result(study):
    (ledger(study).parent / "result.json").unlink()
    assert verify(study) == [f"{ledger(study).parent.name}: it has no result.json"]


@pytest.mark.parametrize("kind", ["json", "md", "html"])
def test_a_digit_in_a_report(study, kind, monkeypatch):
    path, texts = (
        study / f"report.{kind}",
        {k: (study / f"report.{k}").read_text() for k in ("json", "md", "html")},
    )
    monkeypatch.setattr(
        module, "make_report", lambda *_: (None, texts, b"")
    )  # as they are made again, which the first test shows
    text = path.read_text()
    shown = re.sub(
        r"<(style|script|svg).*?</\1>", lambda found: " " * len(found[0]), text, flags=re.S
    )
    for place in [found.start() for found in re.finditer(r"\d", shown)][
        :: 97 if kind == "json" else 19
    ]:
        path.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
        line = text[:place].count("\n") + 1
        told = "".join(verify(study))
        assert (
            f"report.{kind} is not what the ledgers give, from line" in told
            or "no ledger, though the report" in told
        )
        assert (
            kind == "html"
            or f"from line {line} on" in told
            or "run_id" in text.splitlines()[line - 1]
        )


def test_a_report_that_is_longer_shorter_or_gone(study):
    path, text = study / "report.md", (study / "report.md").read_text()
    for changed in (
        text + "More.\n",
        text + "\n",
        text[:-30],
        text.replace("\n", "\r\n"),
        text + "<svg>10x</svg>",
    ):
        path.write_bytes(changed.encode())
        assert [problem.split(",")[0] for problem in verify(study)] == [
            "report.md is not what the ledgers give"
        ]
    path.unlink()
    assert verify(study) == ["report.md is missing"]


def test_pictures_may_differ_and_be_no_more(study):
    path, text = study / "report.html", (study / "report.html").read_text()
    path.write_text(text.replace("<svg", '<svg class="other"', 1))
    assert verify(study) == []
    for more in ("<svg><text>9x</text></svg><h1", "<svg></svg>\n<h1"):
        path.write_text(text.replace("<h1", more, 1))
        assert len(verify(study)) == 1


def test_a_report_by_other_rules_is_verified_where_there_is_one(study):
    store = RunStore(study)
    write_report(study, store.plan(), store.planned_results(), "airbench")
    assert verify(study) == []
    edit(study / "report-airbench.json", r'"rules": "airbench"', '"rules": "headstart"')
    assert verify(study) == ["report-airbench.json is not what the ledgers give, from line 5 on"]


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
    told = verify(study)
    assert (
        f"plan.json: {RunStore(study).plan()['sha256']} is not the hash of its primary comparison"
        in told
    )
    edit_json(study / "plan.json", lambda plan: plan.update(sha256=plan_sha256(plan["primary"])))
    assert "plan.json: its primary comparison is not that of its config and blocks" in verify(study)


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
)
def test_a_plan_whose_config_was_edited(study, change):
    edit_json(study / "plan.json", lambda plan: change(plan["config"]))
    assert verify(study) == [
        "plan.json: its primary comparison is not that of its config and blocks"
    ]


def test_a_plan_whose_blocks_were_edited(study):
    edit_json(study / "plan.json", lambda plan: plan["blocks"].pop())
    assert "plan.json: its primary comparison is not that of its config and blocks" in verify(study)
    edit_json(study / "plan.json", lambda plan: plan.update(blocks=[]))
    with pytest.raises(ValueError, match=r"^plan\.json cannot be read: IndexError"):
        verify(study)


def test_an_earlier_plan_made_up_to_cover_runs(study):
    """Runs of a plan that nobody knows leave the verdict undecided, so an entry for it must carry
    the hash of what it says.
    """
    edit_json(
        study / "plan.json",
        lambda plan: plan["amended"].append({"sha256": "f" * 64, "primary": plan["primary"]}),
    )
    assert verify(study) == [f"plan.json: {'f' * 64} is not the hash of its primary comparison"]


def test_segments_that_do_not_sum_to_the_time_that_passed(study):
    """Even where result.json and reports are made again to suit."""
    path = ledger(study)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[1:]:
        if "segments_s" in line["data"]:
            line["data"]["segments_s"]["train"] *= 0.9
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    store = RunStore(study)
    write_json(path.parent / "result.json", store.result(path.parent.name).to_dict())
    write_report(study, store.plan(), store.planned_results())
    told = verify(study)
    assert len(told) == 4
    assert told[0] == f"{path.parent.name}: seq 0 to 1: segments tell 2.980 s of 3.300 s"


def test_a_report_that_cannot_be_made_again_is_a_problem(study, monkeypatch):
    def broken(*_):
        raise KeyError("share")

    monkeypatch.setattr(module, "make_report", broken)
    assert verify(study) == ["report.json cannot be made again: KeyError: 'share'"]


@pytest.fixture(scope="module")
def spoiled(made, tmp_path_factory):
    """A copy of which one ledger is changed again and again, and what it holds as made."""
    copy = tmp_path_factory.mktemp("spoiled") / "study"
    shutil.copytree(made.store.root, copy)
    return copy, ledger(copy), ledger(copy).read_bytes()


@MANY
@given(data=st.data())
def test_any_other_byte_in_a_ledger_is_refused(spoiled, data):
    copy, path, content = spoiled
    place = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["replaced", "deleted", "inserted"]))
    byte = data.draw(st.sampled_from(b'0123456789abcdefNIuvt{}[]":,.-+ \n\x00\xff'))
    held = {"replaced": bytes([byte]), "deleted": b"", "inserted": bytes([byte, content[place]])}[
        kind
    ]
    changed = content[:place] + held + content[place + 1 :]
    path.write_bytes(changed)
    assert bool(verify(copy)) == (changed != content)


@MANY
@given(data=st.data())
def test_any_other_digit_in_the_primary_comparison_is_refused(made, data):
    path = made.store.root / "plan.json"
    text = path.read_text()
    place = data.draw(st.integers(text.index('"primary"'), text.index('"amended"') - 1))
    byte = data.draw(st.sampled_from("0123456789abcdef"))
    changed = text[:place] + byte + text[place + 1 :]
    try:
        path.write_text(changed)
        problems = verify(made.store.root)
    except ValueError as error:
        problems = [str(error)]
    finally:
        path.write_text(text)
    assert bool(problems) == (changed != text)
