"""The report: one content, alike in HTML and Markdown, nothing from outside, nothing unescaped."""

import dataclasses
import html
import json
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from bench.judge.curves import read_curves
from bench.report.pages import make_report, write_report
from bench.report.words import answer
from bench.report.words import NOTHING, plain
from tests.unit.report.pages import Page, headings, markdown_tables
from tests.unit.results_factory import make_config, make_plan, make_result, make_study

ROOT = Path(__file__).parents[3]
EVIL = '<script>alert("x")</script> | `a` *b* [c](http://evil.example) & $d$\n# e'
ARMS = {"pretrained": {"weights.source": "file", "optim.lr": 3e-4}, "random": {}}


def study():
    """Two whole blocks, and one with a diverged and an interrupted run. 0.99 is out of reach."""
    rise = (0.4, 0.7, 0.85, 0.92, 0.93, 0.94)
    slow = (0.3, 0.5, 0.7, 0.81, 0.91, 0.92, 0.93)
    runs = [make_result(rise, "pretrained", seed=b, block=b) for b in (0, 1)]
    runs += [make_result(slow, "random", seed=b, block=b) for b in (0, 1)]
    broken = make_result(
        rise[:3], "pretrained", seed=2, block=2, status="diverged", error="loss is\nnan", attempts=2
    )
    return [
        *runs,
        broken,
        make_result((), "random", seed=2, block=2, status="interrupted", test_correct=None),
    ]


@pytest.fixture(scope="module")
def config():
    return make_config(arms=ARMS, thresholds=[0.8, 0.9, 0.99])


@pytest.fixture(scope="module")
def written(tmp_path_factory, config):
    directory = tmp_path_factory.mktemp("report")
    return directory, write_report(directory, make_plan(config), study())


@pytest.fixture(scope="module")
def page(written):
    return Page((written[0] / "report.html").read_text())


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A study with all that a report can show: three arms, classes, looks on test, controls,
    references, amended plans.
    """
    directory = tmp_path_factory.mktemp("full")
    arms = {**ARMS, "again": {}}
    config = make_config(
        arms=arms,
        thresholds=[0.5, 0.8, 0.9],
        controls={"again": "equal"},
        reference={"random": [2.9, 3.0]},
    )
    plan = make_plan(config)
    old = {"sha256": "e" * 64, "primary": {**plan["primary"], "blocks": 5}}
    report = write_report(
        directory, {**plan, "amended": [old]}, list(make_study(config, test_looks=True))
    )
    return directory, report


@pytest.fixture(scope="module")
def evil(tmp_path_factory, config):
    """A report in which everything that a user can name is markup."""
    directory = tmp_path_factory.mktemp("evil")
    words = dict.fromkeys(("name", "question", "cost", "command", "expected"), EVIL)
    arms = {EVIL: {"weights.tag": EVIL}, "random": {}}
    config = {**config, **words, "arms": arms, "primary": {**config["primary"], "arm": EVIL}}
    runs = [dataclasses.replace(run, error=EVIL) for run in make_study(config, blocks=2)]
    for run in runs:
        run.start["dataset"] = {**run.start["dataset"], "name": EVIL, "classes": [EVIL] * 10}
        run.start["network"]["name"] = run.start["environment"][EVIL] = run.start["weights"][
            "tag"
        ] = EVIL
    write_report(directory, make_plan(config), runs)
    return directory


def test_report_json_is_the_returned_content(written):
    directory, report = written
    assert json.loads((directory / "report.json").read_text()) == report


def test_the_answer_comes_first_with_verdict_and_reason(written):
    directory, report = written
    text = (directory / "report.html").read_text()
    body = text[text.index("<body>") :]
    told = (
        html.escape(answer(report)),
        html.escape(report["verdict"]["reason"]),
        "primary comparison",
        "<svg",
        "<table",
    )
    assert [body.index(part) for part in told] == sorted(body.index(part) for part in told)
    lines = (directory / "report.md").read_text().splitlines()
    assert lines[2] == f"> **{plain(answer(report))}**"
    assert plain(report["verdict"]["reason"]) in lines[4]


def test_facts_of_the_answer(full):
    text = (full[0] / "report.md").read_text()
    for fact in (
        "- evidence: 26.8 of 20 needed", "- blocks: 7 of 7 planned, 7 sooner, 0 later",
        "- clock: train", "- method: METHOD 1.1",
        "- rules: headstart: a crossing on val that holds",
        "- data set: digits, sha256 dddddddddddd", "- controls: again ",
        "- plan: sha256 pppppppppppp, amended 1x", "- stored references: random ",
        "- crossover accuracy: none within the budget", "- ratio of times, 95 % interval: 2.",
    ):  # fmt: skip
        assert fact in text


def test_what_was_not_reached_is_null_in_json_and_words_in_tables(written, page):
    rows = [
        row for arm in written[1]["arms"] for row in arm["thresholds"] if row["threshold"] == 0.99
    ]
    assert [row["time_to_accuracy_s"]["median"] for row in rows] == [None, None]
    times = headings(page)["Time to accuracy"]
    assert times[5][:7] == [
        "0.99",
        "pretrained",
        "0/3",
        "not reached",
        "not reached",
        NOTHING,
        "0 of 2",
    ]
    assert times[3][:5] == ["0.90", "pretrained", "2/3", "4.00", "1.07"]
    assert times[3][5:] == ["1.25x", "2 of 2", "decides"]
    assert times[4] == ["0.90", "random", "2/2", "5.00", "1.33", "baseline", NOTHING, NOTHING]


@pytest.mark.parametrize("made", ["written", "full", "evil"])
def test_html_and_markdown_show_the_same_tables(made, request):
    made = request.getfixturevalue(made)
    directory = made if isinstance(made, Path) else made[0]
    tables = Page((directory / "report.html").read_text()).tables
    assert tables == markdown_tables((directory / "report.md").read_text())
    assert len(tables) > 6


def test_every_run_is_in_a_table_failures_with_their_reason(page):
    columns, *runs = headings(page)["Every run"]
    assert len(runs) == 6
    told = [dict(zip(columns, run, strict=True)) for run in runs]
    assert [run["status"] for run in told[4:]] == ["diverged: loss is nan", "interrupted"]
    assert [run["wall s"] for run in told[3:]] == [
        "14 runs a process",
        "14 runs a process",
        "not finished",
    ]
    assert {run["ledger sha256"] for run in told} == {"e" * 12}


def test_the_full_report_has_every_section(full):
    page = Page((full[0] / "report.html").read_text())
    assert page.headings == [
        "In the literature", "Accuracy on the way", "Time to each accuracy", "Time to accuracy",
        "How thresholds were reached", "Final accuracy at the same budget", "Arms", "Speed",
        "Under other rules", "What differed", "What was held equal", "Amended plans",
        "What is taken for what", "Accuracy by class", "Most confused", "Every run", "Environment",
        "How to make it again",
    ]  # fmt: skip
    tables = headings(page)
    assert tables["Amended plans"][1:] == [["eeeeeeeeeeee", "blocks 5, now 7"]]
    assert tables["Most confused"][1][:2] == ["pretrained", "class f / class d"]
    assert [row[0] for row in tables["Most confused"][1:]] == [
        name for name in (*ARMS, "again") for _ in range(3)
    ]
    assert [row[0] for row in tables["Under other rules"][1:]] == [
        "headstart",
        "dawnbench",
        "airbench",
    ]
    assert tables["Speed"][1] == [
        "pretrained", "320", "5.0 %", "0.0 %", "95.0 %", "compute", "100.0", "200.0", "21.5",
        "0 of 3", "1.1 runs",
    ]  # fmt: skip
    assert len(page.matrices) == 3
    shares = [[int(cell or 0) for cell in row[1:]] for row in page.matrices[0][1:]]
    assert len(shares) == len(shares[0]) == 10
    assert all(row[place] > 90 for place, row in enumerate(shares))


def test_other_rules_have_a_report_of_their_own_on_test(tmp_path, config):
    write_report(
        tmp_path,
        make_plan(config),
        list(make_study(config, blocks=2, test_looks=True)),
        "dawnbench",
    )
    text = (tmp_path / "report-dawnbench.html").read_text()
    assert "test accuracy, digits" in text
    assert "(report-dawnbench.png)" in (tmp_path / "report-dawnbench.md").read_text()


def test_the_same_runs_give_the_same_report(written, config):
    for kind, text in make_report(make_plan(config), study(), "headstart")[1].items():
        assert text == (written[0] / f"report.{kind}").read_text()


def test_pictures_fit_into_the_page(full):
    text = (full[0] / "report.html").read_text()
    page = Page(text)
    assert len(set(page.ids)) == len(page.ids)
    assert {reference.removeprefix("#") for reference in page.references} <= set(page.ids)
    drawn = re.findall(r"<svg.*?</svg>", text, flags=re.S)
    assert [re.search(r'<svg id="(\w+)"', svg)[1] for svg in drawn] == ["curves", "reach"]
    for svg in drawn:
        name = re.search(r'<svg id="(\w+)"', svg)[1]
        assert all(own.startswith(name) for own in Page(svg).ids)
        assert set(re.findall(r"url\(#(.*?)\)", svg)) <= set(page.ids)
        assert "viewBox=" in svg
        assert svg.count(">pretrained<") == 1
        assert "currentColor" in svg
        assert "<rdf" not in svg
        assert not re.search(r"\d{4}-\d\d-\d\dT", svg)
    assert text.count('role="img" aria-label="') == 2


def test_the_picture_file(written):
    image = Image.open(BytesIO((written[0] / "report.png").read_bytes()))
    assert image.format == "PNG"
    assert 1000 <= image.width <= 1400
    assert 400 <= image.height <= 700
    assert image.convert("RGBA").getpixel((2, image.height - 2)) == (255, 255, 255, 255)
    assert len(image.convert("RGB").getcolors(1 << 20)) > 50


def test_the_page_asks_nothing_of_the_outside(full):
    text = (full[0] / "report.html").read_text()
    assert set(re.findall(r'(\S+)="https?:', text)) <= {"xmlns", "xmlns:xlink"}
    parsed = Page(text)
    assert all(reference.startswith("#") for reference in parsed.references)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base"} & set(parsed.tags)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_markup_in_names_stays_text_in_html(evil):
    text = (evil / "report.html").read_text()
    page = Page(text)
    assert "<script" not in text
    assert not {"script", "a", "img", "h3"} & set(page.tags)
    told, tables = " ".join(EVIL.split()), headings(page)
    assert tables["Every run"][1][1] == f"completed: {told}"
    assert tables["Arms"][0] == ["", told, "random"]
    assert page.matrices[0][1][0] == told


def test_markup_in_names_stays_text_in_markdown(evil):
    text = (evil / "report.md").read_text()
    text = text[: text.index("## How to make it again")]
    assert not re.search(r"(?<!\\)[<`$]", text)
    assert not re.search(r"(?<![\\!])\[(?!Accuracy)", text)
    assert "\n# e" not in text
    assert all(len(row) == len(table[0]) for table in markdown_tables(text) for row in table)


def test_a_command_stays_code_in_markdown(evil):
    lines = (evil / "report.md").read_text().split("## How to make it again")[1].splitlines()
    assert [line for line in lines if "alert" in line and not line.startswith(("    ", "- "))] == []
    assert "    # e" in lines


def test_before_any_run_there_is_a_report_too(tmp_path, config):
    report = write_report(tmp_path, make_plan(config), [])
    assert (report["dataset"], report["environment"]) == (None, None)
    text = (tmp_path / "report.md").read_text()
    assert "no block is complete yet" in text
    assert "no finished run" in text


def test_a_single_arm_is_told_without_a_comparison(tmp_path, config):
    single = {**config, "arms": {"random": {}}, "primary": {**config["primary"], "arm": "random"}}
    write_report(tmp_path, make_plan(single), [run for run in study() if run.arm == "random"])
    text = (tmp_path / "report.html").read_text()
    assert "reached by random in 2 of 2 runs" in text
    assert "In the literature" not in text


def test_curves_from_elsewhere_have_a_page_without_holes(tmp_path):
    path = tmp_path / "published.csv"
    rows = [
        f"{arm},{run},{epoch},{epoch * seconds},{1 - 0.8 * fall**epoch:.4f}"
        for arm, seconds, fall in (("theirs", 0.5, 0.5), ("ours", 3.0, 0.7))
        for run in range(3)
        for epoch in range(1, 12)
    ]
    path.write_text("\n".join(["arm,run,epoch,seconds,accuracy", *rows]))
    plan, runs = read_curves(
        path, clock="as published", baseline=None, arm=None, thresholds=[0.8, 0.9]
    )
    write_report(tmp_path, plan, runs)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.headings == [
        "Accuracy on the way", "Time to each accuracy", "Time to accuracy",
        "How thresholds were reached", "Arms", "Every run",
    ]  # fmt: skip
    assert text.count("seconds, as published") >= 3
    for gone in ("FLOPs", "Not verified", "plan</dt>", "rules</dt>", "sha256", "None"):
        assert gone not in re.sub(r"<style>.*?</style>", "", text, flags=re.S)
    assert all(
        set(column) != {NOTHING} for table in page.tables for column in zip(*table[1:], strict=True)
    )


@pytest.mark.parametrize("blocks", [30, 31, 60])
def test_many_runs_make_no_big_picture(blocks):
    config = make_config()
    text = make_report(
        make_plan(config), list(make_study(config, blocks=blocks, looks=200)), "headstart"
    )[1]["html"]
    assert sum(map(len, re.findall(r"<svg.*?</svg>", text, flags=re.S))) < 1_200_000


def test_what_differed_and_what_was_held_equal_share_no_key(page):
    tables = headings(page)
    assert tables["What differed"][0] == ["factor", "pretrained", "random"]
    assert ["weights.source", "file", "random"] in tables["What differed"]
    assert ["optim.lr", "0.0003", "0.001"] in tables["What differed"]
    equal = dict(tables["What was held equal"])
    assert equal["optim"] == "name adamw"
    assert "weights" not in equal
    assert equal["data"] == "source digits, pad 2, labels given"  # not where they lie


def test_environments_that_differ_are_told(config):
    runs = study()
    runs[0].start["environment"] = {"device": "cpu", "torch": "2.14"}
    text = make_report(make_plan(config), runs, "headstart")[1]["md"]
    assert ["device", "cpu"] in markdown_tables(text)[-1]
    assert ["torch", "2.14"] in markdown_tables(text)[-1]
    runs[1].start["environment"] = {"device": "cpu", "torch": None}
    text = make_report(make_plan(config), runs, "headstart")[1]["md"]
    assert "| **torch** | **2.14 (runs: 1); — (runs: 1)** |" in text


def test_classes_are_told_the_hardest_first_and_the_worst_pairs_named(tmp_path, config):
    first, second = [[8, 1, 1], [3, 7, 0], [0, 0, 10]], [[9, 1, 0], [0, 10, 0], [4, 0, 6]]
    runs = [
        make_result((0.95, 0.95), "random", seed=b, block=b, confusion=m)
        for b, m in enumerate((first, second))
    ]
    runs.append(
        make_result((0.95, 0.95), "pretrained", confusion=[[10, 0, 0], [0, 10, 0], [0, 0, 0]])
    )
    for run in runs:
        run.start["dataset"] = {**run.start["dataset"], "classes": ["cat", "dog", "frog"]}
    write_report(tmp_path, make_plan(config), runs)
    tables = headings(Page((tmp_path / "report.html").read_text()))
    assert tables["Accuracy by class"] == [
        ["", "pretrained", "random"], ["frog", NOTHING, "80.0"], ["cat", "100.0", "85.0"],
        ["dog", "100.0", "85.0"],
    ]  # fmt: skip
    assert tables["Most confused"][1:] == [
        ["random", "frog / cat", "5", "50 %"],
        ["random", "dog / cat", "5", "50 %"],
    ]


def test_reading_the_report_module_brings_no_matplotlib_torch_or_config():
    code = (
        "import sys, bench.report.pages; "
        "print([m for m in ('matplotlib', 'torch', 'bench.config') if m in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout == "[]\n"


def test_axes_are_labelled_in_words_however_short_the_range(tmp_path, config):
    """Matplotlib labels the minor marks of a logarithm in TeX where it spans less than ten."""
    write_report(tmp_path, make_plan(config), list(make_study(config, blocks=2, looks=6)))
    assert not re.findall(
        r"<text[^>]*>[^<]*[$\\][^<]*</text>", (tmp_path / "report.html").read_text()
    )
