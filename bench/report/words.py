"""How a report's figures and tables read, and the templates that say the rest; tables.j2 says which tables there are."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

NOTHING = "—"


def templates(*, escape: bool = False) -> Environment:
    """Those of this directory, with the forms below; `escape`: for HTML."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=escape, undefined=StrictUndefined
    )
    found.trim_blocks = found.lstrip_blocks = True
    found.add_extension("jinja2.ext.do")
    found.filters |= {form.__name__: form for form in (number, plain, seconds)}
    found.filters |= {
        "accuracy": accuracy_label,
        "value": lambda value: value if isinstance(value, str) else json.dumps(value),
    }
    found.globals |= {form.__name__: form for form in (Counter, table)}
    return found


def accuracy_label(threshold: float) -> str:
    """A threshold as text: two decimals, or as many as it has; never rounded to another threshold."""
    label = f"{threshold:.2f}"
    return label if float(label) == threshold else repr(threshold)


def clock_label(report: Mapping[str, Any]) -> str:
    """What seconds are measured by; curves from elsewhere have it in the user's words."""
    return (
        f"seconds, {report['clock']} clock"
        if report["plan"]["sha256"]
        else f"seconds, {report['clock']}"
    )


def plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line: a name cannot become markup, nor a cell two."""
    return re.sub(r"([\\`*\[\]<>|&~$]|(?<!\w)_|_(?!\w)|:(?=//))", r"\\\1", " ".join(text.split()))


def table(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    words: int = 1,
    turned: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """A table of text from each row's cells by heading, without columns that tell nothing; `turned`: the columns are its rows.

    The first `words` columns are words, the others figures. Options: `marked`, places of rows that stand out; `grouped`, rows
    with the same first cell belong together; `folded`, too long to stand open between a reader and the rest.
    """
    cells = [
        [NOTHING if cell in (None, "") else str(cell) for cell in row.values()] for row in rows
    ]
    columns = list(zip(*([list(rows[0]), *cells] if rows else ()), strict=True))
    kept = [n for n, column in enumerate(columns) if not n or set(column[1:]) != {NOTHING}]
    shown = [columns[n] for n in kept] if len(kept) > 1 else [("",)]
    heading, *lines = shown if turned else zip(*shown, strict=True)
    words = len(heading) if turned else sum(n < words for n in kept)
    made = {"title": title, "columns": heading, "rows": lines, "words": words}
    return {**made, "marked": (), "grouped": False, "folded": False, **options}


def seconds(value: float) -> str:
    """Seconds with the digits that a reader needs."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def number(
    value: float | None, form: str, *, scale: float = 1, missing: str | None = NOTHING
) -> str | None:
    """A number in a form, or what stands for one that is not known."""
    return missing if value is None else form.format(value * scale)
