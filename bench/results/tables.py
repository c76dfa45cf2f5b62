"""What a report's table is, and how its figures read; tables.j2 says which tables there are and what stands in them."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

NOTHING = "—"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Text cells in rows. The first `words` columns are words, the others figures; a marked row stands out.

    `grouped`: rows with the same first cell belong together. `folded`: too long to stand open between a reader and the rest.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    words: int
    marked: Collection[int] = ()
    grouped: bool = False
    folded: bool = False

    def told(self) -> "Table":
        """Itself without the columns that tell nothing in any row; without rows where no figures would stay."""
        kept = [n for n in range(len(self.columns)) if not n or any(row[n] != NOTHING for row in self.rows)]
        rows = [tuple(row[place] for place in kept) for row in self.rows] if len(kept) > 1 else []
        words = sum(place < self.words for place in kept)
        return dataclasses.replace(self, columns=tuple(self.columns[place] for place in kept), rows=rows, words=words)


def table(title: str, rows: Sequence[Mapping[str, Any]], *, words: int = 1, turned: bool = False, **options: Any) -> Table:
    """A table from each row's cells by column; `turned`: its rows, by their first cells, are the columns."""
    told = [tuple(NOTHING if cell in (None, "") else str(cell) for cell in row.values()) for row in rows]
    lines = [tuple(rows[0]) if rows else (), *told]
    columns, *cells = zip(*lines, strict=True) if turned else lines
    kept = [row for row in cells if not turned or set(row[1:]) != {NOTHING}]
    return Table(title=title, columns=columns, rows=kept, words=len(columns) if turned else words, **options)


def ratio(row: Mapping[str, Any]) -> str:
    """A comparison's ratio with its interval, or what bounds it where that tells anything."""
    if row["ratio"] is not None:
        return spread({"median": row["ratio"], "low": row["low"], "high": row["high"]}, "{:.2f}x".format)
    bound = {end: value for end, value in (row["bound"] or {}).items() if value and 0.01 <= value < 1000}
    return f"{_between(bound, '{:.2f}x'.format)}, with restarts" if bound else NOTHING


def spread(values: Mapping[str, float | None], show: Callable[[float], str], missing: str = NOTHING) -> str:
    """`median (low to high)`; the median alone where nothing else is known, or all three read the same."""
    if (median := values.get("median")) is None:
        return missing
    inside = _between(values, show)
    return show(median) if inside in ("", f"{show(median)} to {show(median)}") else f"{show(median)} ({inside})"


def _between(values: Mapping[str, float | None], show: Callable[[float], str]) -> str:
    low, high = (None if (end := values.get(key)) is None else show(end) for key in ("low", "high"))
    return f"{low} to {high}" if low and high else f"over {low}" if low else f"under {high}" if high else ""


def clock_label(report: Mapping[str, Any]) -> str:
    """What seconds are measured by; curves from elsewhere have it in the user's words."""
    return f"seconds, {report['clock']} clock" if report["plan"]["sha256"] else f"seconds, {report['clock']}"


def seconds(value: float) -> str:
    """Seconds with the digits that a reader needs."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def number(value: float | None, form: str, *, scale: float = 1, missing: str | None = NOTHING) -> str | None:
    """A number in a form, or what stands for one that is not known."""
    return missing if value is None else form.format(value * scale)


def points(share: float) -> str:
    """A difference of shares in percentage points."""
    return f"{100 * share:+.2f}"
