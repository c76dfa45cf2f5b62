"""What a page's table is: rows of text, laid out by the templates as they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.report.words import NOTHING

Cells = Mapping[str, str | None]  # by heading; None or "" tells nothing


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of text.

    A marked one stands out; where rows are grouped, `opens_group` is the first of the next group.
    """

    cells: Sequence[str]
    marked: bool = False
    opens_group: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of text. The first `words` columns are words, the others figures.

    `grouped`: rows with the same first cell belong together. `folded`: too long to stand open
    between a reader and the rest.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]
    words: int
    grouped: bool
    folded: bool
    note: str

    @property
    def word_columns(self) -> Sequence[str]:
        """The headings of the columns that hold words."""
        return self.columns[: self.words]

    @property
    def figure_columns(self) -> Sequence[str]:
        """The headings of the columns that hold figures."""
        return self.columns[self.words :]

    @property
    def size_label(self) -> str:
        """How many rows there are, in words."""
        return "1 row" if len(self.rows) == 1 else f"{len(self.rows)} rows"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row before it is laid out: its cells by heading, and whether it stands out."""

    cells: Cells
    marked: bool = False


def make_table(
    title: str,
    entries: Sequence[Entry],
    *,
    words: int = 1,
    grouped: bool = False,
    folded: bool = False,
    note: str = "",
) -> Table:
    """Make a table of entries with the same headings, without the columns that tell nothing.

    The first column stays. A table with nothing beside it has no rows.
    """
    headings = _telling_headings(entries)
    if len(headings) == 1:
        entries = []
    rows: list[Row] = []
    for entry in entries:
        cells = [_text(entry.cells[heading]) for heading in headings]
        opens_group = grouped and bool(rows) and rows[-1].cells[0] != cells[0]
        rows.append(Row(cells=cells, marked=entry.marked, opens_group=opens_group))
    return Table(
        title=title,
        columns=headings,
        rows=rows,
        words=_word_count(entries, headings, words),
        grouped=grouped,
        folded=folded,
        note=note,
    )


def make_turned_table(title: str, entries: Sequence[Entry], *, note: str = "") -> Table:
    """Make a table whose columns are the entries, all of words; each heading has a row."""
    upright = make_table(title, entries)
    if not upright.rows:
        return upright
    lines = [[heading] for heading in upright.columns]
    for row in upright.rows:
        for line, cell in zip(lines, row.cells, strict=True):
            line.append(cell)
    return Table(
        title=title,
        columns=lines[0],
        rows=[Row(cells=line) for line in lines[1:]],
        words=len(lines[0]),
        grouped=False,
        folded=False,
        note=note,
    )


def shown(tables: Sequence[Table]) -> list[Table]:
    """Return the tables that have a row."""
    return [table for table in tables if table.rows]


def _telling_headings(entries: Sequence[Entry]) -> list[str]:
    """Return the first heading, and each under which some entry tells something."""
    if not entries:
        return []
    first, *others = entries[0].cells
    return [first, *(heading for heading in others if _tells(entries, heading))]


def _tells(entries: Sequence[Entry], heading: str) -> bool:
    return any(_text(entry.cells[heading]) != NOTHING for entry in entries)


def _word_count(entries: Sequence[Entry], headings: Sequence[str], words: int) -> int:
    """Count the columns of words that are left."""
    if not entries:
        return 0
    word_headings = list(entries[0].cells)[:words]
    return len([heading for heading in headings if heading in word_headings])


def _text(cell: str | None) -> str:
    return cell or NOTHING
