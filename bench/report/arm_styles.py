"""How an arm looks in every picture: its colour, dashes and marker, and the legend of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

INK = "#2b2f33"  # text and axes; currentColor in the SVG, so that it follows the page into dark
GREY = "#8b9197"  # reads on white and on near-black
# Okabe-Ito without black and yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
Dashes = Literal["-"] | tuple[float, tuple[float, ...]]
DASHES: tuple[Dashes, ...] = (
    "-",
    (0, (5, 1.6)),
    (0, (5, 1.4, 1.2, 1.4)),
    (0, (1.4, 1.2)),
    (0, (9, 2.4)),
)
MARKERS = "osD^vPX"
WIDTH_IN = 10.0
LEGEND_CHARACTERS = 110  # that fit into a picture's width
LEGEND_LINE_CHARACTERS = 8  # the room of a line beside its name


@dataclass(frozen=True, kw_only=True)
class ArmStyle:
    """How an arm is drawn."""

    name: str
    colour: str
    dashes: Dashes
    marker: str


def arm_styles(names: Sequence[str]) -> list[ArmStyle]:
    """Give each arm a look; there are as many as arms that one can tell apart, and then again."""
    return [_arm_style(name, place) for place, name in enumerate(names)]


def _arm_style(name: str, place: int) -> ArmStyle:
    return ArmStyle(
        name=name,
        colour=COLOURS[place % len(COLOURS)],
        dashes=DASHES[place % len(DASHES)],
        marker=MARKERS[place % len(MARKERS)],
    )


def draw_legend(figure: Figure, styles: Sequence[ArmStyle], *, with_markers: bool = False) -> None:
    """Name the arms above a picture, in as many columns as there is room for."""
    handles = []
    for arm in styles:
        marker = arm.marker if with_markers else ""
        line = Line2D([], [], color=arm.colour, linestyle=arm.dashes, marker=marker, label=arm.name)
        handles.append(line)
    longest_name = max(len(arm.name) for arm in styles)
    columns = LEGEND_CHARACTERS // (longest_name + LEGEND_LINE_CHARACTERS)
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=max(1, min(len(styles), columns)),
        frameon=False,
        handlelength=3.6,
        fontsize=10,
    )
