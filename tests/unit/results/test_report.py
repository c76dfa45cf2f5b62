"""The report: one content, shown alike in HTML and Markdown, with nothing from outside and nothing unescaped."""

import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from bench.config import load
from bench.results.comparison import answer
from bench.results.figures import curves
from bench.results.report import write_report
from bench.results.tables import factor_table, shared_table
from tests.unit.results_factory import make_result

ROOT = Path(__file__).parents[3]
EVIL = '<script>alert("x")</script> | `a` *b* [c](http://evil.example) & $d$'
YAML = """
name: probe
question: How much sooner?
cost: 4 runs of a second
command: python -m bench run probe.yaml
expected: sooner
arms:
  pretrained: {weights.source: file, weights.file: a.safetensors, optim.lr: 0.0003}
  random: {}
baseline: random
factors: [weights, optim.lr, data.pad]
primary: {arm: pretrained, threshold: 0.9}
thresholds: [0.8, 0.9, 0.99]
train: {samples: 51200}
"""
KEYS = {
    "": "schema_version method_version experiment dataset clock primary environment arms comparisons",
    "dataset": "name sha256",
    "arms": "name parameters flops_per_image weights runs thresholds images_per_s compile_s final_accuracy",
    "arms.weights": "source tag sha256",
    "arms.final_accuracy": "median low high",
    "arms.thresholds": "threshold reached runs time_to_accuracy_s epochs_to_accuracy",
    "arms.thresholds.time_to_accuracy_s": "median low high",
    "arms.thresholds.epochs_to_accuracy": "median low high",
    "comparisons": "arm baseline threshold ratio low high verdict",
}


class Page(HTMLParser):
    """Tables as rows of cells, ids, tag names, and references, as a browser would find them."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.tags, self.ids, self.references, self._cell = [], [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        named = dict(attributes)
        self.ids += [named["id"]] if "id" in named else []
        self.references += [value for name, value in attributes if name in ("src", "href", "xlink:href", "data", "action")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append(" ".join(self._cell.split()))
            self._cell = None


def markdown_tables(text):
    """Tables of a Markdown file as rows of cells, escapes and bold undone."""
    tables, inside = [], False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        if not inside:
            tables.append([])
        inside = True
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not all(re.fullmatch(":?-+:?", cell) for cell in cells):
            tables[-1].append([re.sub(r"\\(\W|_)", r"\1", re.sub(r"^\*\*(.*)\*\*$", r"\1", cell)) for cell in cells])
    return tables


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "probe.yaml"
    path.write_text(YAML)
    return load.as_dict(load.load(path))


def study():
    """Two whole blocks, and one with a diverged and an interrupted run. 0.99 is out of reach."""
    rise = (0.4, 0.7, 0.85, 0.92, 0.93, 0.94)
    slow = (0.3, 0.5, 0.7, 0.81, 0.91, 0.92, 0.93)
    runs = [make_result(rise, "pretrained", seed=b, block=b) for b in (0, 1)]
    runs += [make_result(slow, "random", seed=b, block=b) for b in (0, 1)]
    broken = make_result(rise[:3], "pretrained", seed=2, block=2, status="diverged", error="loss is\nnan", attempts=2)
    return [*runs, broken, make_result((), "random", seed=2, block=2, status="interrupted", test_correct=None)]


@pytest.fixture(scope="module")
def written(tmp_path_factory, config):
    directory = tmp_path_factory.mktemp("report")
    return directory, write_report(directory, config, study())


@pytest.fixture(scope="module")
def evil(tmp_path_factory, config):
    """A report in which everything that a user can name is markup."""
    directory = tmp_path_factory.mktemp("evil")
    runs = [make_result((0.5, 0.9, 0.9, 0.9), arm, error=EVIL, status="failed") for arm in (EVIL, "random")]
    for run in runs:
        run.start["dataset"]["name"] = run.start["network"]["name"] = run.start["environment"][EVIL] = EVIL
        run.start["weights"]["tag"] = EVIL
    words = dict.fromkeys(("name", "question", "cost", "command", "expected"), EVIL)
    arms = {EVIL: {"weights.tag": EVIL}, "random": {}}
    write_report(directory, {**config, **words, "arms": arms, "primary": {"arm": EVIL, "threshold": 0.9}}, runs)
    return directory


def test_report_json_is_the_returned_content_and_has_the_documented_keys(written):
    directory, report = written
    assert json.loads((directory / "report.json").read_text()) == report
    for path, keys in KEYS.items():
        nodes = [report]
        for part in filter(None, path.split(".")):
            nodes = [child for node in nodes for child in (node[part] if isinstance(node[part], list) else [node[part]])]
        assert nodes
        for node in nodes:
            assert set(keys.split()) <= set(node), path


def test_figures_are_those_of_the_runs(written):
    _, report = written
    row = next(row for row in report["comparisons"] if row["threshold"] == 0.8)
    assert (row["ratio"], row["blocks"], row["verdict"]) == (pytest.approx(4 / 3), 2, "undecided")
    pretrained, random = report["arms"]
    assert [row["reached"] for row in pretrained["thresholds"]] == [2, 2, 0]
    assert (pretrained["runs"], random["runs"]) == (3, 2)


def test_what_was_not_reached_is_null_in_json_and_words_in_tables(written):
    directory, report = written
    rows = [row for arm in report["arms"] for row in arm["thresholds"] if row["threshold"] == 0.99]
    assert [row["time_to_accuracy_s"] for row in rows] == [{"median": None, "low": None, "high": None}] * 2
    times = Page((directory / "report.html").read_text()).tables[0]
    assert ["0.99", "pretrained", "0/3", "not reached", "not reached", "—", "0 of 2"] in times
    assert ["0.90", "pretrained", "2/3", "4.00", "1.07", "1.25x", "2 of 2"] in times
    assert ["0.90", "random", "2/2", "5.00", "1.33", "baseline", "—"] in times


def test_html_and_markdown_show_the_same_tables(written):
    directory, _ = written
    page = Page((directory / "report.html").read_text())
    assert page.tables == markdown_tables((directory / "report.md").read_text())
    assert len(page.tables) == 6
    assert all(len(row) == len(table[0]) for table in page.tables for row in table)


def test_every_run_is_told_the_broken_ones_included(written):
    directory, _ = written
    runs = Page((directory / "report.html").read_text()).tables[4]
    assert len(runs) == 1 + len(study())
    assert ["pretrained-s2-1a2b3c4d", "diverged: loss is nan", "2", "2", "2", "0.8500", "0.9200", "3.00", "320"] in runs
    assert ["random-s2-1a2b3c4d", "interrupted", "2", "2", "1", "—", "—", "—", "320"] in runs


def test_the_page_says_answer_data_clock_and_that_there_is_no_verdict(written):
    directory, report = written
    for name in ("report.html", "report.md"):
        text = (directory / name).read_text().replace("&#39;", "'")
        for words in (
            answer(report),
            "digits, sha256 dddddddddddd",
            "2 of 7",
            "METHOD 0.1 gives no verdict",
            "no confidence interval",
        ):
            assert words in text, (name, words)
        assert "python -m bench run probe.yaml" in text
        assert "![" in text or 'aria-label="Val accuracy on digits' in text


@pytest.mark.parametrize(("name", "warned"), [("cifar10", False), ("cifar10-unverified:abcd", True), ("digits", True)])
def test_data_that_is_not_verified_cifar10_is_named_everywhere(tmp_path, config, name, warned):
    runs = study()[:4]
    for run in runs:
        run.start["dataset"]["name"] = name
    report = write_report(tmp_path, config, runs)
    page = (tmp_path / "report.html").read_text()
    figure = page[page.index("<svg") : page.index("</svg>")]
    assert f">val accuracy, {name}<" in figure
    for text in (page, (tmp_path / "report.md").read_text()):
        assert f"{name}, sha256" in text
        assert ("Not verified CIFAR-10" in text) == warned
    assert report["dataset"]["name"] == name


def test_the_picture_is_a_png_of_sensible_size(written):
    image = Image.open(BytesIO((written[0] / "report.png").read_bytes()))
    image.load()
    assert image.format == "PNG"
    assert 1000 <= image.width <= 1400
    assert 400 <= image.height <= 700
    assert image.convert("RGBA").getpixel((2, image.height - 2)) == (255, 255, 255, 255)
    assert len(image.convert("RGB").getcolors(1 << 20)) > 50


def test_the_inline_picture_fits_into_a_page(tmp_path, config, written):
    svg = curves(config, written[1], study(), tmp_path / "a.png")
    assert svg == curves(config, written[1], study(), tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    head = svg[: svg.index(">")]
    assert head.startswith('<svg id="curves" role="img" aria-label="Val accuracy on digits')
    assert 'width="100%"' in head
    assert "viewBox=" in head
    assert "height=" not in head
    page = Page(svg)
    assert len(set(page.ids)) == len(page.ids)
    assert {reference.removeprefix("#") for reference in page.references} <= set(page.ids)
    assert set(re.findall(r"url\(#(.*?)\)", svg)) <= set(page.ids)
    assert all(name.startswith("curves") for name in page.ids)
    assert svg.count(">pretrained<") == svg.count(">random<") == svg.count(">0.90 primary<") == 1
    assert "currentColor" in svg
    assert "<rdf" not in svg
    assert not re.search(r"\d{4}-\d\d-\d\dT", svg)


def test_the_page_asks_nothing_of_the_outside(written):
    page = (written[0] / "report.html").read_text()
    assert set(re.findall(r'(\S+)="https?:', page)) <= {"xmlns", "xmlns:xlink"}
    assert not re.search(r"url\(\s*['\"]?(?:https?:)?//", page)
    parsed = Page(page)
    assert all(reference.startswith("#") for reference in parsed.references)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base"} & set(parsed.tags)
    assert "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert len(set(parsed.ids)) == len(parsed.ids)


def test_markup_in_names_stays_text_in_html(evil):
    text = (evil / "report.html").read_text()
    page = Page(text)
    assert "<script" not in text
    assert not {"script", "a", "img"} & set(page.tags)
    runs = page.tables[4]
    assert runs[1][1] == f"failed: {EVIL}"
    assert page.tables[1][0] == ["", EVIL, "random"]
    legend, axis = f">{html.escape(EVIL, quote=False)}<", f">val accuracy, {html.escape(EVIL, quote=False)}<"
    assert text[text.index("<svg") : text.index("</svg>")].count(legend) == 1
    assert axis in text


def test_markup_in_names_stays_text_in_markdown(evil):
    text = (evil / "report.md").read_text().replace(f"    {EVIL}\n", "")
    assert not re.search(r"(?<!\\)<", text)
    assert not re.search(r"(?<![\\!])\[(?!Val)", text)
    assert not re.search(r"(?<!\\)`", text)
    tables = markdown_tables(text)
    assert all(len(row) == len(table[0]) for table in tables for row in table)
    assert tables == Page((evil / "report.html").read_text()).tables


def test_before_any_run_there_is_a_report_too(tmp_path, config):
    report = write_report(tmp_path, config, [])
    assert (report["dataset"], report["environment"]) == (None, None)
    text = (tmp_path / "report.md").read_text()
    assert "no block is complete yet" in text
    assert "no finished run" in text


def test_a_single_arm_is_told_without_a_comparison(tmp_path, config):
    single = {**config, "arms": {"random": {}}, "primary": {"arm": "random", "threshold": 0.9}}
    write_report(tmp_path, single, [run for run in study() if run.arm == "random"])
    assert "reached by random in 2 of 2 runs" in (tmp_path / "report.html").read_text()


def test_what_differed_and_what_was_held_equal_share_no_key(config):
    differed, equal = factor_table(config), dict(shared_table(config).rows)
    assert ("weights.source", "file", "random") in differed.rows
    assert ("optim.lr", "0.0003", "0.001") in differed.rows
    assert "lr" not in [told.split()[0] for told in equal["optim"].split(", ")]
    assert "weights" not in equal
    assert "pad 4" in equal["data"]
    assert not {"dir", "download", "urls"} & {told.split()[0] for told in equal["data"].split(", ")}  # places, not content


def test_environments_that_differ_are_told(tmp_path, config):
    runs = study()
    runs[0].start["environment"] = {"device": "cuda", "gpu": None}
    write_report(tmp_path, config, runs)
    facts = Page((tmp_path / "report.html").read_text()).tables[5]
    assert ["device", "cpu (5 runs); cuda (1 run)"] in facts
    assert ["gpu", "—"] in facts


def test_reading_the_report_module_brings_no_matplotlib_torch_or_config():
    code = "import sys, bench.results.report; print([m for m in ('matplotlib', 'torch', 'bench.config') if m in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
