"""The report in a browser: nothing is refused, every picture is seen, nothing is wider than a phone,
light and dark are read.
"""

import html
import itertools
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


def find_browser() -> str | None:
    """The first browser of Chrome's kind on PATH."""
    for name in ("chromium", "google-chrome", "chromium-browser"):
        path = shutil.which(name)
        if path:
            return path
    return None


BROWSER = find_browser()
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium or google-chrome on PATH: the report is not opened"
)
# Of the experiment `embedded`.
SAMPLE = Path(__file__).parents[2] / "docs" / "sample" / "report.html"
NARROW = 400
WIDE = 1200
SCHEMES = {"light": 1, "dark": 0}  # Blink's numbers
FIGURES = {"study": 3, "curves": 2, "sample": 4}
PICTURES = {"study": 5, "curves": 2, "sample": 6}
READABLE = 4.5  # contrast that WCAG AA asks of text
# Opens pages in frames of several widths, and writes what it measures into itself.
PROBE = """<!doctype html><body>%s<pre id="measured"></pre><script>
const parts = colour => colour.match(/[\\d.]+/g).map(Number);
const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
function luminance(colour) {
  const [r, g, b] = colour.map(v => linear(v / 255));
  return .2126 * r + .7152 * g + .0722 * b;
}
function behind(element) {
  if (!element) return [255, 255, 255];
  const [r, g, b, alpha = 1] = parts(getComputedStyle(element).backgroundColor);
  const under = alpha < 1 ? behind(element.parentElement) : [0, 0, 0];
  return [r, g, b].map((value, place) => alpha * value + (1 - alpha) * under[place]);
}
function contrast(element) {
  const property = element.namespaceURI.endsWith("svg") ? "fill" : "color";
  const ink = parts(getComputedStyle(element)[property]).slice(0, 3);
  const one = luminance(ink), other = luminance(behind(element));
  return (Math.max(one, other) + .05) / (Math.min(one, other) + .05);
}
function seen(element) {
  const box = element.getBoundingClientRect();
  return box.width > 100 && box.height > 50;
}
const TEXTS =
  "p, dt, dd, h1, h2, td, th, li, figcaption, b, code, summary span, svg text";
function measure(frame) {
  const page = frame.contentDocument, root = page.documentElement;
  const all = query => [...page.querySelectorAll(query)];
  const figures = all("figure"), pictures = all("figure svg, table.matrix");
  return {
    page: frame.dataset.page,
    width: root.clientWidth,
    scroll: Math.max(root.scrollWidth, page.body.scrollWidth),
    dark: frame.contentWindow.matchMedia("(prefers-color-scheme: dark)").matches,
    paper: luminance(behind(page.body)),
    figures: figures.length,
    seen: figures.filter(seen).length,
    pictures: pictures.length,
    drawn: pictures.filter(seen).length,
    least: Math.min(...all(TEXTS).map(contrast)),
    folded: all("details:not([open])").length,
  };
}
window.onload = () => {
  const measured = [...document.querySelectorAll("iframe")].map(measure);
  document.getElementById("measured").textContent = JSON.stringify(measured);
};
</script>"""


def browse(tmp_path, url, *options):
    """Standard output, and what the page's console said."""
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


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A study with everything in it, long names included, and curves from elsewhere."""
    root = tmp_path_factory.mktemp("pages")
    arms = {
        "pretrained": {"weights.source": "timm"},
        "random": {},
        "small_cnn_" * 8: {"model.name": "small_cnn"},
    }
    study = make_study(
        arms=arms,
        thresholds=(0.5, 0.7, 0.8, 0.9, 0.95, 0.99),
        question="How much sooner, " * 5 + "x" * 90,
    )
    write_report(root / "study", study, list(make_study_runs(study, test_looks=True)))
    curves = root / "published.csv"
    rows = ["arm,run,epoch,seconds,accuracy"]
    for arm, epoch_s in (("a", 1), ("b", 3)):
        for run in (0, 1):
            for n in range(1, 12):
                rows.append(f"{arm},{run},{n},{n * epoch_s},{1 - 0.7**n}")
    curves.write_text("\n".join(rows))
    published, results = read_curves(
        curves, clock="as published", baseline=None, arm=None, thresholds=[0.8, 0.9]
    )
    write_report(root / "curves", published, results)
    return [root / "study" / "report.html", root / "curves" / "report.html", SAMPLE]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pages_are_seen_whole_and_read_in_light_and_dark(tmp_path, pages, scheme):
    frames = []
    for page in pages:
        for width in (NARROW, WIDE):
            style = f"border: 0; height: 900px; width: {width}px"
            source = html.escape(page.as_uri())
            frames.append(
                f'<iframe data-page="{page.parent.name}" src="{source}" style="{style}"></iframe>'
            )
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE % "".join(frames))
    dom, console = browse(
        tmp_path, probe, f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", "--dump-dom"
    )
    assert console == []
    match = re.search(r'<pre id="measured">(.+?)</pre>', dom, flags=re.S)
    measured = json.loads(html.unescape(match[1]))
    assert [(page["page"], page["width"]) for page in measured] == list(
        itertools.product(FIGURES, (NARROW, WIDE))
    )
    for page in measured:
        assert page["scroll"] <= page["width"], page
        assert page["dark"] == (scheme == "dark"), page
        assert page["paper"] < 0.05 if scheme == "dark" else page["paper"] > 0.9, page
        assert page["least"] >= READABLE, page
        assert page["seen"] == page["figures"] == FIGURES[page["page"]], page
        assert page["drawn"] == page["pictures"] == PICTURES[page["page"]], page
        assert page["folded"] >= 1, page


def test_a_page_alone_says_nothing_on_the_console_and_has_a_picture(tmp_path, pages):
    picture = tmp_path / "page.png"
    _, console = browse(tmp_path, pages[0], f"--window-size={WIDE},2000", f"--screenshot={picture}")
    assert console == []
    assert picture.stat().st_size > 50_000


def test_the_console_is_heard(tmp_path):
    page = tmp_path / "loud.html"
    page.write_text('<script>console.error("heard")</script><img src="missing.png">')
    assert any("heard" in line for line in browse(tmp_path, page, "--dump-dom")[1])
