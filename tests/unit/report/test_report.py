"""The report: one content, alike in HTML and Markdown, nothing from outside, nothing unescaped."""

import html
import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from bench.judge.curves import read_curves
from bench.judge.records import Report
from bench.ledger.json_records import parse, to_json
from bench.report.pages import make_report, write_report
from bench.report.words import NOTHING, answer, plain
from tests.unit.report.pages import Page, headings, markdown_tables
from tests.unit.report.studies import EVIL, THRESHOLDS, make_runs
from tests.unit.results_factory import make_study
from tests.unit.runs_factory import make_study_runs

ROOT = Path(__file__).parents[3]


def test_report_json_is_the_returned_content(written):
    directory, report = written
    stored = parse(Report, (directory / "report.json").read_text())
    assert to_json(stored) == to_json(report)


def test_the_answer_comes_first_with_verdict_and_reason(written):
    directory, report = written
    text = (directory / "report.html").read_text()
    body = text[text.index("<body>") :]
    parts = (
        html.escape(answer(report)),
        html.escape(report.verdict.reason),
        "primary comparison",
        "<svg",
        "<table",
    )
    places = [body.index(part) for part in parts]
    assert places == sorted(places)
    lines = (directory / "report.md").read_text().splitlines()
    assert lines[2] == f"> **{plain(answer(report))}**"
    assert plain(report.verdict.reason) in lines[4]


def test_facts_of_the_answer(full):
    text = (full[0] / "report.md").read_text()
    for fact in (
        "- evidence: 26.8 of 20 needed",
        "- blocks: 7 of 7 planned, 7 sooner, 0 later",
        "- clock: train",
        "- method: METHOD 1.1",
        "- rules: headstart: a crossing on val that holds",
        "- data set: digits, sha256 dddddddddddd",
        "- controls: again ",
        "- plan: sha256 pppppppppppp, amended 1x",
        "- stored references: random ",
        "- crossover accuracy: none within the budget",
        "- ratio of times, 95 % interval: 2.",
    ):
        assert fact in text


def test_what_was_not_reached_is_null_in_json_and_words_in_tables(written, page):
    rows = [arm.at(0.99) for arm in written[1].arms]
    assert [row.time_to_accuracy_s.median for row in rows] == [None, None]
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


@pytest.mark.parametrize("fixture", ["written", "full", "evil"])
def test_html_and_markdown_show_the_same_tables(fixture, request):
    value = request.getfixturevalue(fixture)
    directory = value if isinstance(value, Path) else value[0]
    tables = Page((directory / "report.html").read_text()).tables
    assert tables == markdown_tables((directory / "report.md").read_text())
    assert len(tables) > 6


def test_every_run_is_in_a_table_failures_with_their_reason(page):
    columns, *runs = headings(page)["Every run"]
    assert len(runs) == 6
    rows = [dict(zip(columns, run, strict=True)) for run in runs]
    assert [row["status"] for row in rows[4:]] == ["diverged: loss is nan", "interrupted"]
    assert [row["wall s"] for row in rows[3:]] == [
        "14 runs a process",
        "14 runs a process",
        "not finished",
    ]
    assert {row["ledger sha256"] for row in rows} == {"e" * 12}


def test_the_full_report_has_every_section(full):
    page = Page((full[0] / "report.html").read_text())
    assert page.headings == [
        "In the literature",
        "Accuracy on the way",
        "Time to each accuracy",
        "Time to accuracy",
        "How thresholds were reached",
        "Final accuracy at the same budget",
        "Arms",
        "Speed",
        "Under other rules",
        "What differed",
        "What was held equal",
        "Amended plans",
        "What is taken for what",
        "Accuracy by class",
        "Most confused",
        "Every run",
        "Environment",
        "How to make it again",
    ]
    tables = headings(page)
    assert tables["Amended plans"][1:] == [["eeeeeeeeeeee", "blocks 5, now 7"]]
    assert tables["Most confused"][1][:2] == ["pretrained", "class f / class d"]
    names = [row[0] for row in tables["Most confused"][1:]]
    assert names == ["pretrained"] * 3 + ["random"] * 3 + ["again"] * 3
    assert [row[0] for row in tables["Under other rules"][1:]] == [
        "headstart",
        "dawnbench",
        "airbench",
    ]
    assert tables["Speed"][1] == [
        "pretrained",
        "320",
        "5.0 %",
        "0.0 %",
        "95.0 %",
        "compute",
        "100.0",
        "200.0",
        "21.5",
        "0 of 3",
        "1.1 runs",
    ]
    assert len(page.matrices) == 3
    _, *matrix = page.matrices[0]
    assert len(matrix) == 10
    for place, (name, *shares) in enumerate(matrix):
        assert name == f"class {'abcdefghij'[place]}"
        assert len(shares) == 10
        assert int(shares[place]) > 90


def test_other_rules_have_a_report_of_their_own_on_test(tmp_path, study):
    runs = list(make_study_runs(study, blocks=2, test_looks=True))
    write_report(tmp_path, study, runs, "dawnbench")
    text = (tmp_path / "report-dawnbench.html").read_text()
    assert "test accuracy, digits" in text
    assert "(report-dawnbench.png)" in (tmp_path / "report-dawnbench.md").read_text()


def test_the_same_runs_give_the_same_report(written, study):
    texts = make_report(study, make_runs(), "headstart").texts
    assert set(texts) == {"json", "md", "html"}
    for kind, text in texts.items():
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
        assert all(id_text.startswith(name) for id_text in Page(svg).ids)
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
    assert len(parsed.references) > 10
    assert all(reference.startswith("#") for reference in parsed.references)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base"} & set(parsed.tags)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_markup_in_names_stays_text_in_html(evil):
    text = (evil / "report.html").read_text()
    page = Page(text)
    assert "<script" not in text
    assert not {"script", "a", "img", "h3"} & set(page.tags)
    one_line = " ".join(EVIL.split())
    tables = headings(page)
    assert tables["Every run"][1][1] == f"completed: {one_line}"
    assert tables["Arms"][0] == ["", one_line, "random"]
    assert page.matrices[0][1][0] == one_line


def test_markup_in_names_stays_text_in_markdown(evil):
    text = (evil / "report.md").read_text()
    text = text[: text.index("## How to make it again")]
    assert not re.search(r"(?<!\\)[<`$]", text)
    assert not re.search(r"(?<![\\!])\[(?!Accuracy)", text)
    assert "\n# e" not in text
    tables = markdown_tables(text)
    assert len(tables) > 5
    for columns, *rows in tables:
        assert {len(row) for row in rows} == {len(columns)}


def test_a_command_stays_code_in_markdown(evil):
    lines = (evil / "report.md").read_text().split("## How to make it again")[1].splitlines()
    assert [line for line in lines if "alert" in line and not line.startswith(("    ", "- "))] == []
    assert "    # e" in lines


def test_before_any_run_there_is_a_report_too(tmp_path, study):
    report = write_report(tmp_path, study, [])
    assert report.dataset is None
    assert report.environment is None
    text = (tmp_path / "report.md").read_text()
    assert "no block is complete yet" in text
    assert "no finished run" in text


def test_a_single_arm_is_told_without_a_comparison(tmp_path):
    study = make_study(arms={"random": {}}, primary={"arm": "random"}, thresholds=THRESHOLDS)
    write_report(tmp_path, study, [run for run in make_runs() if run.arm == "random"])
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
    study, runs = read_curves(
        path, clock="as published", baseline=None, arm=None, thresholds=[0.8, 0.9]
    )
    write_report(tmp_path, study, runs)
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert page.headings == [
        "Accuracy on the way",
        "Time to each accuracy",
        "Time to accuracy",
        "How thresholds were reached",
        "Arms",
        "Every run",
    ]
    assert text.count("seconds, as published") >= 3
    for gone in ("FLOPs", "Not verified", "plan</dt>", "rules</dt>", "sha256", "None"):
        assert gone not in re.sub(r"<style>.*?</style>", "", text, flags=re.S)
    assert len(page.tables) == 4
    for _, *rows in page.tables:
        assert rows != []
        assert {NOTHING} not in [set(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("blocks", [30, 31, 60])
def test_many_runs_make_no_big_picture(blocks):
    study = make_study()
    runs = list(make_study_runs(study, blocks=blocks, looks=200))
    text = make_report(study, runs, "headstart").texts["html"]
    assert sum(map(len, re.findall(r"<svg.*?</svg>", text, flags=re.S))) < 1_200_000


def test_reading_the_report_module_brings_neither_matplotlib_nor_torch():
    code = (
        "import sys, bench.report.pages; "
        "print([name for name in ('matplotlib', 'torch') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_axes_are_labelled_in_words_however_short_the_range(tmp_path):
    """Matplotlib labels the minor marks of a logarithm in TeX where it spans less than ten."""
    study = make_study(thresholds=(0.9,))
    write_report(tmp_path, study, list(make_study_runs(study, blocks=2, looks=6)))
    text = (tmp_path / "report.html").read_text()
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", text)
    assert len(labels) > 10
    assert [label for label in labels if "$" in label or "\\" in label] == []


def test_marked_rows_are_bold_in_markdown(written):
    lines = (written[0] / "report.md").read_text().splitlines()
    primary_rows = [line for line in lines if line.startswith("| **0.90** | **pretrained** |")]
    assert len(primary_rows) == 2
    assert not [line for line in lines if line.startswith("| **0.80**")]
