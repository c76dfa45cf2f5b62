"""The pictures of a study as inline SVG that follows the page's colours, the first as PNG too.

Each picture has a module: curves_figure.py, reach_figure.py. No other room draws.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from matplotlib import style
from matplotlib.figure import Figure

from bench.judge.records import Report
from bench.judge.rules import RULES
from bench.judge.study import Study
from bench.ledger.result import RunResult
from bench.report.arm_styles import INK, arm_styles
from bench.report.curves_figure import ArmRuns, curves_figure
from bench.report.pictures import Pictures
from bench.report.reach_figure import reach_figure

STYLE = Path(__file__).with_name("figures.mplstyle")


def draw(study: Study, report: Report, results: Sequence[RunResult]) -> Pictures:
    """Draw both pictures as SVG, and the first one as PNG."""
    styles = arm_styles(list(study.arms))
    with style.context(STYLE, after_reset=True):
        curves = curves_figure(study, report, _runs_by_arm(study, report, results), styles)
        curves_svg = _inline("curves", curves)
        reach_svg = _inline("reach", reach_figure(report, styles))
        return Pictures(curves=curves_svg, reach=reach_svg, curves_png=_png(curves))


def _runs_by_arm(study: Study, report: Report, results: Sequence[RunResult]) -> list[ArmRuns]:
    """Return each arm with its runs that were evaluated on the split that the rules judge."""
    split = RULES[report.rules].split
    arms = []
    for arm in study.arms:
        runs = [run for run in results if run.arm == arm and run.evaluations_on(split)]
        arms.append(ArmRuns(arm=arm, runs=runs))
    return arms


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def _svg(figure: Figure) -> str:
    """Draw as SVG without the facts of the day and the library."""
    buffer = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    return buffer.getvalue()


def _inline(name: str, figure: Figure) -> Markup:
    """Make matplotlib's SVG fit to stand in a page: its texts are escaped by matplotlib.

    No prolog, as wide as its room, short numbers, ids and rules that no other picture has.
    """
    text = _svg(figure)
    text = text[text.index("<svg") :]
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", text)
    text = text.replace("*{", f"#{name} *{{", 1)
    text = text.replace(INK, "currentColor")
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    text = re.sub(r' d="[^"]*"', _shorten_path, text)
    head = rf'<svg id="{name}" aria-hidden="true" width="100%"\1'
    text = re.sub(r'^<svg(.*?) width="[^"]*" height="[^"]*"', head, text, count=1, flags=re.S)
    return Markup(text)


def _shorten_path(path: re.Match[str]) -> str:
    """Cut a path's numbers to hundredths of a point."""
    return re.sub(r"(\.\d\d)\d+", r"\1", path[0])
