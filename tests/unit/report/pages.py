"""Reads a report's pages as a browser and a reader of Markdown do: tables, headings, references."""

import re
from html.parser import HTMLParser

REFERENCES = ("src", "href", "xlink:href", "data", "action")
# Sections with a picture or with text, which have no table.
WITHOUT_TABLE = (
    "In the literature",
    "Accuracy on the way",
    "Time to each accuracy",
    "What is taken for what",
    "How to make it again",
)


class Page(HTMLParser):
    """Tables as rows of cells, ids, tag names, headings and references, as a browser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.matrices: list[list[list[str]]] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.headings: list[str] = []
        self._cell: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str]]) -> None:
        """Note a tag; open a table, a row or a cell."""
        self.tags.append(tag)
        named = dict(attributes)
        if "id" in named:
            self.ids.append(named["id"])
        self.references += [value for name, value in attributes if name in REFERENCES]
        if tag == "table":
            self._into = self.matrices if "matrix" in named["class"] else self.tables
            self._into.append([])
        elif tag == "tr":
            self._into[-1].append([])
        elif tag in ("td", "th", "h2"):
            self._cell = ""

    def handle_data(self, data: str) -> None:
        """Add text to the cell or heading that is open."""
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag: str) -> None:
        """Close a cell or a heading."""
        if tag not in ("td", "th", "h2"):
            return
        text = " ".join(self._cell.split())
        if tag == "h2":
            self.headings.append(text)
        else:
            self._into[-1][-1].append(text)
        self._cell = None


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Tables of a Markdown file as rows of cells, escapes and bold undone."""
    tables: list[list[list[str]]] = []
    inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        if not inside:
            tables.append([])
        inside = True
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not all(re.fullmatch(":?-+:?", cell) for cell in cells):
            tables[-1].append([_plain_cell(cell) for cell in cells])
    return tables


def _plain_cell(cell: str) -> str:
    without_bold = re.sub(r"^\*\*(.*)\*\*$", r"\1", cell)
    return re.sub(r"\\(\W|_)", r"\1", without_bold)


def headings(page: Page) -> dict[str, list[list[str]]]:
    """Tables by the heading above each."""
    titles = [title for title in page.headings if title not in WITHOUT_TABLE]
    return dict(zip(titles, page.tables, strict=True))
