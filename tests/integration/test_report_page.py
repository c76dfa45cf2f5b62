"""The report in a browser: nothing is refused, every picture is seen, nothing is wider than a
phone, light and dark are read.
"""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.judge.curves import read_curves
from bench.report.pages import write_report
from tests.unit.results_factory import make_study
from tests.unit.runs_factory import make_study_runs

BROWSER = (
    shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium or google-chrome on PATH: the report is not opened"
)
SAMPLE = Path(__file__).parents[2] / "docs" / "sample" / "report.html"  # of `embedded`
PROBE = Path(__file__).with_name("report_probe.html")
NARROW = 400  # pixels, a phone
WIDE = 1200
SCHEMES = {"light": 1, "dark": 0}  # Blink's numbers
PAPER = {"light": (0.9, 1.001), "dark": (0.0, 0.05)}  # least and greatest luminance of a page
FIGURES = {"study": 3, "curves": 2, "sample": 4}
PICTURES = {"study": 5, "curves": 2, "sample": 6}
READABLE = 4.5  # contrast that WCAG AA asks of text


def browse(tmp_path, url, *options):
    """Open a page; return standard output, and what the page's console said."""
    command = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--hide-scrollbars",
        "--allow-file-access-from-files",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
        *options,
        url.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


def write_study(directory):
    """Write the report of a study with everything in it, long names included."""
    long_name = "small_cnn_" * 8
    study = make_study(
        arms={
            "pretrained": {"weights.source": "file"},
            "random": {},
            long_name: {"model.name": "small_cnn"},
        },
        factors=("weights", "model"),
        thresholds=(0.5, 0.7, 0.8, 0.9, 0.95, 0.99),
        question="How much sooner, " * 5 + "x" * 90,
    )
    write_report(directory, study, list(make_study_runs(study, test_looks=True)))


def write_curves(directory, table):
    """Write the report of curves from elsewhere."""
    lines = ["arm,run,epoch,seconds,accuracy"]
    for arm, seconds in (("a", 1), ("b", 3)):
        for run in (0, 1):
            for number in range(1, 12):
                lines.append(f"{arm},{run},{number},{number * seconds},{1 - 0.7**number}")
    table.write_text("\n".join(lines))
    study, runs = read_curves(
        table, clock="as published", baseline=None, arm=None, thresholds=[0.8, 0.9]
    )
    write_report(directory, study, runs)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A study, curves from elsewhere, and the sample of the docs."""
    root = tmp_path_factory.mktemp("pages")
    write_study(root / "study")
    write_curves(root / "curves", root / "published.csv")
    return [root / "study" / "report.html", root / "curves" / "report.html", SAMPLE]


def frame(page, width):
    """Make the markup of a page in a frame."""
    style = f"border: 0; height: 900px; width: {width}px"
    source = html.escape(page.as_uri())
    return f'<iframe data-page="{page.parent.name}" src="{source}" style="{style}"></iframe>'


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pages_are_seen_whole_and_read_in_light_and_dark(tmp_path, pages, scheme):
    frames = [frame(page, width) for page in pages for width in (NARROW, WIDE)]
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.read_text().replace("FRAMES", "".join(frames)))
    setting = f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}"
    dom, console = browse(tmp_path, probe, setting, "--dump-dom")
    assert console == []
    text = re.search(r'<pre id="measures">(.+?)</pre>', dom, flags=re.S)[1]
    measures = json.loads(html.unescape(text))
    opened = [(measure["page"], measure["width"]) for measure in measures]
    assert opened == [(name, width) for name in FIGURES for width in (NARROW, WIDE)]
    darkest, lightest = PAPER[scheme]
    for measure in measures:
        name = measure["page"]
        assert measure["scroll"] <= measure["width"], measure
        assert measure["dark"] == (scheme == "dark"), measure
        assert darkest <= measure["paper"] <= lightest, measure
        assert measure["least"] >= READABLE, measure
        assert measure["seen"] == measure["figures"] == FIGURES[name], measure
        assert measure["drawn"] == measure["pictures"] == PICTURES[name], measure
        assert measure["folded"] >= 1, measure


def test_a_page_alone_says_nothing_on_the_console_and_has_a_picture(tmp_path, pages):
    picture = tmp_path / "page.png"
    _, console = browse(tmp_path, pages[0], f"--window-size={WIDE},2000", f"--screenshot={picture}")
    assert console == []
    assert picture.stat().st_size > 50_000


def test_the_console_is_heard(tmp_path):
    page = tmp_path / "loud.html"
    page.write_text('<script>console.error("heard")</script><img src="missing.png">')
    _, console = browse(tmp_path, page, "--dump-dom")
    assert any("heard" in line for line in console)
