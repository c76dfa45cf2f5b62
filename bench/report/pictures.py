"""The pictures of a report, drawn by figures.py and laid out by pages.py."""

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Both pictures as SVG for a page, and the first of them as PNG."""

    curves: Markup
    reach: Markup
    curves_png: bytes
