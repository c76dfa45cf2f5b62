"""What the console says: plain lines off a terminal, a table on one, nothing between events."""

import io
import re
import threading

import pytest
from rich.console import Console

from bench.ledger.events import CheckpointSaved, EpochStopped
from bench.ledger.records import SavedCheckpoint, WeightsFacts
from bench.trackers.console import ConsoleTracker
from tests.unit.results_factory import (
    make_config,
    make_event,
    make_look,
    make_looks,
    make_result,
    make_run_start,
)

FILE_WEIGHTS = WeightsFacts(
    source="file", tag="in1k", sha256="0", stem=None, transform=None, pretraining=None
)


def terminal(width: int, **options) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        width=width,
        height=40,
        color_system=None,
        **options,
    )


def play(
    tracker: ConsoleTracker, accuracies, arm: str = "pretrained", *, block: int = 0, **result
) -> None:
    """One run, start to finish."""
    tracker.start(make_run_start(arm, seed=block, block=block))
    for look in make_looks(accuracies):
        tracker.event(look)
    tracker.finish(make_result(accuracies, arm, seed=block, block=block, **result))


def table_cells(line: str) -> list[str]:
    """The cells of a table's row."""
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_off_a_terminal_each_look_is_one_plain_line(capsys):
    tracker = ConsoleTracker(make_config())
    tracker.start(make_run_start())
    tracker.event(make_look(3, 0.9133, train_s=4.1, total=10_000, correct=9_133))
    out = capsys.readouterr().out.splitlines()
    assert out == [
        "block 1/7  pretrained seed 0  resnet18  11,181,642 parameters  weights file",
        "block 1/7  pretrained seed 0  look 3  epoch 0.80  960 images  val 0.9133  train 4.1 s  "
        "234 images/s",
    ]


def test_a_resumed_run_says_so_and_counts_its_looks_on(capsys):
    tracker = ConsoleTracker(make_config())
    tracker.start(make_run_start(resumed_step=20, weights=FILE_WEIGHTS))
    tracker.event(make_look(5, 0.8))
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("weights file in1k  resumed at step 20")
    assert "look 5 " in second


@pytest.mark.parametrize(
    ("accuracies", "changes", "end"),
    [
        ([0.7, 0.9, 0.92], {}, "completed  0.90 after 2.0 s  test 0.9200  320 images/s"),
        ([0.7, 0.9, 0.7], {}, "completed  0.90 not reached  test 0.9200  320 images/s"),
        (
            [],
            {"status": "diverged", "test_correct": None, "images_per_s": None},
            "diverged  0.90 not reached",
        ),
        (
            [0.7],
            {
                "status": "failed",
                "test_correct": None,
                "images_per_s": None,
                "error": "RuntimeError: no [memory]",
            },
            "failed  0.90 not reached  RuntimeError: no [memory]",
        ),
    ],
)
def test_the_end_of_a_run_is_one_line(capsys, accuracies, changes, end):
    tracker = ConsoleTracker(make_config())
    tracker.start(make_run_start("random", seed=4, block=4))
    capsys.readouterr()
    tracker.finish(make_result(accuracies, "random", seed=4, block=4, **changes))
    assert capsys.readouterr().out == f"block 5/7  random seed 4  {end}\n"


def test_only_looks_on_val_are_told(capsys):
    tracker = ConsoleTracker(make_config())
    tracker.start(make_run_start())
    capsys.readouterr()
    for event in (
        make_look(1, 0.5, split="test"),
        make_event(EpochStopped),
        make_event(CheckpointSaved, SavedCheckpoint(path="x")),
    ):
        tracker.event(event)
    tracker.close()
    assert capsys.readouterr().out == ""


def test_a_look_before_any_training_has_no_rate(capsys):
    tracker = ConsoleTracker(make_config())
    tracker.start(make_run_start())
    tracker.event(make_look(0, 0.1, segments_s={}))
    last_line = capsys.readouterr().out.splitlines()[-1]
    assert last_line.endswith("look 0  epoch 0.00  0 images  val 0.1000  train 0.0 s  - images/s")


def test_plain_lines_are_flushed_at_once(monkeypatch):
    class Pipe(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed = self.tell()

    pipe = Pipe()
    monkeypatch.setattr("sys.stdout", pipe)
    tracker = ConsoleTracker(make_config())
    tracker.start(make_run_start())
    assert pipe.flushed == len(pipe.getvalue()) > 0


def test_on_a_terminal_the_table_holds_a_row_an_arm():
    console = terminal(160)
    tracker = ConsoleTracker(make_config(), console=console)
    play(tracker, [0.9, 0.9], block=0)
    play(tracker, [0.5, 0.5, 0.9, 0.9], block=1)
    play(tracker, [0.5, 0.5], block=2)
    play(tracker, [0.9, 0.9], block=3, status="failed")
    tracker.start(make_run_start("random", seed=2, block=2))
    tracker.event(make_look(1, 0.25))
    last = console.file.getvalue().rpartition("probe")[2]
    pretrained, random = [table_cells(line) for line in last.splitlines() if "│" in line]
    assert pretrained[:2] == ["pretrained", "2.0 s (2/3 runs)"]
    assert pretrained[2].startswith("block 4/7  seed 3  failed  0.90 after 1.0 s")
    assert random == [
        "random",
        "-",
        "block 3/7  seed 2  look 1  epoch 0.27  320 images  val 0.2500  train 1.0 s  320 images/s",
    ]


def test_the_table_is_drawn_by_events_alone():
    console = terminal(120)
    tracker = ConsoleTracker(make_config(), console=console)
    threads = threading.active_count()
    tracker.start(make_run_start())
    drawn = console.file.getvalue()
    assert threading.active_count() == threads
    tracker.event(make_event(EpochStopped))
    assert console.file.getvalue() == drawn
    tracker.close()


@pytest.mark.parametrize("width", [1, 2, 7, 20, 40, 79])
def test_no_terminal_is_too_narrow(width):
    console = terminal(width)
    tracker = ConsoleTracker(make_config(), console=console)
    play(tracker, [0.5, 0.9, 0.9])
    tracker.close()
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    lines = re.split(r"[\r\n]+", drawn)
    assert 0 < max(len(line) for line in lines) <= width


def test_closing_gives_the_cursor_back_even_twice_or_unused():
    console = terminal(100)
    tracker = ConsoleTracker(make_config(), console=console)
    tracker.close()
    play(tracker, [0.9, 0.9])
    tracker.close()
    tracker.close()
    text = console.file.getvalue()
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


def test_a_terminal_that_cannot_move_its_cursor_gets_lines():
    console = terminal(100, _environ={"TERM": "dumb"})
    play(ConsoleTracker(make_config(), console=console), [0.9, 0.9])
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 4
    assert all(line.startswith("block 1/7  pretrained seed 0  ") for line in lines)


def test_blocks_that_are_added_until_the_verdict_are_counted_to_the_most(capsys):
    ConsoleTracker(make_config(until_decided=True)).start(make_run_start(block=7, seed=7))
    assert capsys.readouterr().out.startswith("block 8/21  pretrained seed 7")
