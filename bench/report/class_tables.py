"""What a page shows of the classes: accuracy by class, what is confused, and shaded matrices."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.judge.arm_records import ClassSummary, ConfusedPair
from bench.judge.records import Report
from bench.report.table import Entry, Table, make_table
from bench.report.words import number

OPEN_CLASSES = 10  # more of them are folded
MOST_SHADED_CLASSES = 40  # a matrix of more cannot be read
MOST_WRITTEN_CLASSES = 20  # of more the matrix has shades alone
LEAST_WRITTEN_SHARE = 0.005


@dataclass(frozen=True, kw_only=True)
class MatrixCell:
    """A share of a class's images: its text, and how dark it is (0 to 1)."""

    text: str
    shade: str
    is_right: bool


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    """What the images of one class were taken for."""

    name: str
    cells: Sequence[MatrixCell]


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """An arm's confusion matrix as it is shown."""

    arm: str
    names: Sequence[str]
    rows: Sequence[MatrixRow]
    is_small: bool  # its figures are written


def classes_table(report: Report) -> Table:
    """Build each class's accuracy by arm, the hardest class first."""
    summaries = _summaries(report)
    entries = []
    for class_name in report.class_order:
        cells: dict[str, str | None] = {"": class_name}
        for arm, summary in summaries.items():
            accuracy = summary.accuracy[summary.names.index(class_name)]
            cells[arm] = number(accuracy, "{:.1f}", scale=100)
        entries.append(Entry(cells=cells))
    return make_table(
        "Accuracy by class",
        entries,
        folded=len(entries) > OPEN_CLASSES,
        note="Of the test images of each class at the end, all runs together, in percent; the "
        "hardest class first.",
    )


def _summaries(report: Report) -> dict[str, ClassSummary]:
    """Return what is known of classes, by arm."""
    return {arm.name: arm.classes for arm in report.arms if arm.classes}


def confused_table(report: Report) -> Table:
    """Build the pairs of classes that each arm takes for each other most."""
    entries = []
    for arm, summary in _summaries(report).items():
        for pair in summary.most_confused:
            entries.append(Entry(cells=_pair_cells(arm, pair)))
    return make_table("Most confused", entries, words=2, grouped=True)


def _pair_cells(arm: str, pair: ConfusedPair) -> dict[str, str | None]:
    return {
        "arm": arm,
        "classes": " / ".join(pair.classes),
        "test images": f"{pair.count:,}",
        "of its errors": number(pair.share_of_errors, "{:.0f} %", scale=100),
    }


def matrices(report: Report) -> list[Matrix]:
    """Build the arms' confusion matrices; none where there are too many classes to be read."""
    summaries = _summaries(report)
    if any(len(summary.names) > MOST_SHADED_CLASSES for summary in summaries.values()):
        return []
    return [_matrix(arm, summary) for arm, summary in summaries.items()]


def _matrix(arm: str, summary: ClassSummary) -> Matrix:
    is_small = len(summary.names) <= MOST_WRITTEN_CLASSES
    rows = []
    for place, counts in enumerate(summary.confusion):
        cells = _matrix_cells(counts, place, is_small=is_small)
        rows.append(MatrixRow(name=summary.names[place], cells=cells))
    return Matrix(arm=arm, names=summary.names, rows=rows, is_small=is_small)


def _matrix_cells(counts: Sequence[int], right_place: int, *, is_small: bool) -> list[MatrixCell]:
    """Shade the shares of a row; those that are too small to matter are left blank."""
    images = max(sum(counts), 1)
    cells = []
    for place, count in enumerate(counts):
        share = count / images
        is_right = place == right_place
        is_written = is_small and share >= LEAST_WRITTEN_SHARE
        text = f"{100 * share:.0f}" if is_written else ""
        cells.append(MatrixCell(text=text, shade=_shade(share, is_right), is_right=is_right))
    return cells


def _shade(share: float, is_right: bool) -> str:
    """Return how dark a cell is; of errors small shares are seen too, so a root of them."""
    if is_right:
        return f"{0.5 * share:.2f}"
    return f"{0.6 * min(2 * share, 1.0) ** 0.5:.2f}"
