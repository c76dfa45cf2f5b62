"""The verbs `report` and `verify` as a user types them, and a study that needs no more runs."""

import json
import shutil

import pytest

from bench.cli import main
from tests.unit.disk_factory import OVERRIDES, write_study

EMBEDDED = "configs/experiments/embedded.yaml"
CURVES = "arm,run,epoch,seconds,accuracy\n" + "".join(
    f"{arm},1,{n},{n * 10},0.9{n}\n" for arm in "ab" for n in (1, 2, 3, 4)
)
OPTIONS = ("--clock", "theirs", "--thresholds", "0.92")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study, and the curves of another beside it."""
    root = write_study(tmp_path_factory.mktemp("runs")).store.root
    (root.parent / "curves.csv").write_text(CURVES)
    assert main(["report", str(root)]) == 0
    return root


def test_verify_says_that_every_number_is_right(verb, study):
    assert verb("verify", str(study)) == (0, f"{study}: every number is as its ledger has it\n", "")


def test_verify_names_each_problem_and_fails(verb, study, tmp_path):
    spoiled = shutil.copytree(study, tmp_path / "study")
    digit = (spoiled / "report.md").read_text().replace("1", "2", 1)
    (spoiled / "report.md").write_text(digit)
    code, out, err = verb("verify", str(spoiled))
    assert (code, out, err.count("\n")) == (1, f"{spoiled}: 1 problem\n", 1)
    assert err.startswith("report.md is not what the ledgers give, from line ")
    (spoiled / "report.json").unlink()
    assert verb("verify", str(spoiled))[:2] == (1, f"{spoiled}: 2 problems\n")


def test_a_report_by_other_rules_stands_beside_the_first(verb, study):
    rules = "airbench"
    before = (study / "report.json").read_bytes()
    code, out, err = verb("report", str(study), "--rules", rules)
    assert (code, err) == (0, "")
    assert "verdict: undecided" in out
    assert f"{study}/report-{rules}.html" in out
    assert json.loads((study / f"report-{rules}.json").read_text())["rules"] == rules
    assert (study / "report.json").read_bytes() == before
    assert verb("verify", str(study))[0] == 0


def test_rules_of_looks_that_were_not_taken_are_refused(verb, study):
    code, _, err = verb("report", str(study), "--rules", "dawnbench")
    assert (code, err.count("\n")) == (2, 1)
    assert "dawnbench judges every look on test" in err
    assert not (study / "report-dawnbench.json").exists()


def test_curves_from_elsewhere_have_a_report(verb, study, tmp_path):
    code, out, err = verb(
        "report", str(tmp_path / "new"), "--curves", str(study.parent / "curves.csv"), *OPTIONS
    )
    assert (code, err) == (0, "")
    answer = (
        "a 1.00x sooner to 0.92 on curves of curves.csv than b "
        "(theirs clock; sooner in 0 of 1 block; verdict: undecided)"
    )
    assert answer in out
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["report.html", "report.json", "report.md", "report.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verify",), "required: directory"),
        (("verify", "configs"), "configs: no plan.json"),
        (("verify", "STUDY", "--rules", "x"), "bench verify: unknown argument '--rules'"),
        (
            ("report", "STUDY", "--rules", "dawnbenc"),
            "--rules: no rules 'dawnbenc'; allowed: airbench, dawnbench, headstart; ",
        ),
        (("report", "STUDY", "--rules"), "--rules: expected one argument"),
        (("report", "STUDY", "--clock", "train"), "--clock: needs --curves"),
        (("report", "STUDY", "--thresholds", "0.9"), "--thresholds: needs --curves"),
        (("report", "STUDY", "--baseline", "random"), "--baseline: needs --curves"),
        (("report", "STUDY", "--arm", "random"), "--arm: needs --curves"),
        (
            ("report", "STUDY", "--curves", "CSV", *OPTIONS),
            "--curves: their report cannot go beside the study in ",
        ),
        (
            ("report", "NEW", "--curves", "CSV", *OPTIONS, "--wandb"),
            "--curves: their report cannot go to W&B",
        ),
        (("report", "CSV", "--curves", "CSV", *OPTIONS), "output: cannot write to "),
        (
            ("report", "NEW", "--curves", "none.csv", *OPTIONS),
            "--curves: 'none.csv' cannot be read: No such file or directory",
        ),
        (
            ("report", "NEW", "--curves", "configs", *OPTIONS),
            "--curves: 'configs' cannot be read: Is a directory",
        ),
        (("report", "NEW", "--curves", "README.md", *OPTIONS), "README.md: no column arm"),
        (
            ("report", "NEW", "--curves", "CSV", "--thresholds", "0.9"),
            "--curves needs --clock, what its seconds",
        ),
        (
            ("report", "NEW", "--curves", "CSV", "--clock", ""),
            "--curves needs --clock, what its seconds",
        ),
        (
            ("report", "NEW", "--curves", "CSV", "--clock", "x", "--thresholds", "94"),
            "--thresholds: '94'; expected accuracies",
        ),
        (
            ("report", "NEW", "--curves", "CSV", "--clock", "x", "--thresholds", "0.9,"),
            "--thresholds: '0.9,'; ",
        ),
        (
            ("report", "NEW", "--curves", "CSV", "--clock", "x", "--thresholds", "nan"),
            "--thresholds: 'nan'; ",
        ),
        (("report", "NEW", "--curves", "CSV", *OPTIONS, "--rules", "x"), "--rules: no rules 'x'"),
        (
            ("report", "NEW", "--curves", "CSV", *OPTIONS, "--baseline", "c"),
            "--baseline: no arm 'c' in ",
        ),
        (("report", "NEW", "--curves", "CSV", *OPTIONS, "--arm", "c"), "--arm: no arm 'c' in "),
        (
            ("report", "NEW", "--curves", "CSV", *OPTIONS, "--arm", "a", "--baseline", "a"),
            "--arm: 'a' is the baseline; allowed: b",
        ),
    ],
)
def test_wrong_arguments_of_report_and_verify_are_one_line_and_write_nothing(
    verb, study, tmp_path, arguments, message
):
    places = {"STUDY": study, "NEW": tmp_path / "new", "CSV": study.parent / "curves.csv"}
    code, out, err = verb(*(str(places.get(word, word)) for word in arguments))
    assert (code, out) == (2, "")
    assert err.startswith("headstart: ")
    assert err.count("\n") == 1
    assert message in err
    assert not (tmp_path / "new").exists()


def test_more_blocks_of_a_decided_study_are_not_made(verb, study, tmp_path):
    """Seven blocks decide; `--until-decided` plans 21 and takes the seven, though their plan had
    another number of blocks.
    """
    shutil.copytree(study, tmp_path / "study")
    code, out, err = verb("run", EMBEDDED, *OVERRIDES, f"--output={tmp_path}", "--until-decided")
    assert (code, err) == (0, "")
    assert "0 of 42 runs to do" in out
    assert "verdict: pretrained sooner" in out
    assert len(json.loads((tmp_path / "study" / "plan.json").read_text())["amended"]) == 1
