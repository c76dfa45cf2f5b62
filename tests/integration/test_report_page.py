"""The report in a browser: nothing is refused, every picture is seen, nothing is wider than a phone, light and dark are read."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bench.judge.curves import read_curves
from bench.report.pages import write_report
from tests.unit.results_factory import make_config, make_plan, make_study

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None
)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason="no chromium or google-chrome on PATH: the report is not opened"
)
SAMPLE = (
    Path(__file__).parents[2] / "docs" / "sample" / "report.html"
)  # of the experiment `embedded`
NARROW, WIDE = 400, 1200
SCHEMES = {"light": 1, "dark": 0}  # Blink's numbers
FIGURES, PICTURES = {"study": 3, "curves": 2, "sample": 4}, {"study": 5, "curves": 2, "sample": 6}
READABLE = 4.5  # contrast that WCAG AA asks of text
# Opens pages in frames of several widths, and writes what it measures into itself.
PROBE = """<!doctype html><body>%s<pre id="told"></pre><script>
const parts = colour => colour.match(/[\\d.]+/g).map(Number);
function luminance(colour) {
  const [r, g, b] = colour.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
}
function behind(element) {
  if (!element) return [255, 255, 255];
  const [r, g, b, alpha = 1] = parts(getComputedStyle(element).backgroundColor);
  const under = alpha < 1 ? behind(element.parentElement) : [0, 0, 0];
  return [r, g, b].map((value, place) => alpha * value + (1 - alpha) * under[place]);
}
function contrast(element) {
  const ink = parts(getComputedStyle(element)[element.namespaceURI.endsWith("svg") ? "fill" : "color"]).slice(0, 3);
  const one = luminance(ink), other = luminance(behind(element));
  return (Math.max(one, other) + .05) / (Math.min(one, other) + .05);
}
window.onload = () => {
  const told = [...document.querySelectorAll("iframe")].map(frame => {
    const page = frame.contentDocument, root = page.documentElement, all = query => [...page.querySelectorAll(query)];
    const seen = element => { const box = element.getBoundingClientRect(); return box.width > 100 && box.height > 50; };
    return {
      page: frame.dataset.page, width: root.clientWidth, scroll: Math.max(root.scrollWidth, page.body.scrollWidth),
      dark: frame.contentWindow.matchMedia("(prefers-color-scheme: dark)").matches, paper: luminance(behind(page.body)),
      figures: all("figure").length, seen: all("figure").filter(seen).length,
      pictures: all("figure svg, table.matrix").length, drawn: all("figure svg, table.matrix").filter(seen).length,
      least: Math.min(...all("p, dt, dd, h1, h2, td, th, li, figcaption, b, code, summary span, svg text").map(contrast)),
      folded: all("details:not([open])").length,
    };
  });
  document.getElementById("told").textContent = JSON.stringify(told);
};
</script>"""


def browse(tmp_path, url, *options):
    """Standard output, and what the page's console said."""
    command = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
        "--allow-file-access-from-files", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}", *options, url.as_uri(),
    ]  # fmt: skip
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
    config = make_config(
        arms=arms,
        thresholds=[0.5, 0.7, 0.8, 0.9, 0.95, 0.99],
        question="How much sooner, " * 5 + "x" * 90,
    )
    write_report(root / "study", make_plan(config), list(make_study(config, test_looks=True)))
    curves = root / "published.csv"
    rows = [
        f"{arm},{run},{n},{n * s},{1 - 0.7**n}"
        for arm, s in (("a", 1), ("b", 3))
        for run in (0, 1)
        for n in range(1, 12)
    ]
    curves.write_text("\n".join(["arm,run,epoch,seconds,accuracy", *rows]))
    write_report(
        root / "curves",
        *read_curves(curves, clock="as published", baseline=None, arm=None, thresholds=[0.8, 0.9]),
    )
    return [*(root / name / "report.html" for name in ("study", "curves")), SAMPLE]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pages_are_seen_whole_and_read_in_light_and_dark(tmp_path, pages, scheme):
    style = "border: 0; height: 900px; width:"
    frames = [
        f'<iframe data-page="{page.parent.name}" src="{html.escape(page.as_uri())}" style="{style} {width}px"></iframe>'
        for page in pages
        for width in (NARROW, WIDE)
    ]
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE % "".join(frames))
    dom, console = browse(
        tmp_path, probe, f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", "--dump-dom"
    )
    assert console == []
    told = json.loads(html.unescape(re.search(r'<pre id="told">(.+?)</pre>', dom, flags=re.S)[1]))
    assert [(page["page"], page["width"]) for page in told] == [
        (p, w) for p in FIGURES for w in (NARROW, WIDE)
    ]
    for page in told:
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
