"""Progress on the terminal: a table with a row an arm where there is one, a line a look otherwise. No thread, no timer."""

import statistics
import sys
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.results.comparison import time_to_accuracy_s
from bench.results.events import Event
from bench.results.fold import RunResult
from bench.results.verdict import accuracy_label, answer

NOTHING = "-"


@dataclass
class _Row:
    """What the table shows of one arm; `times_s` holds a finished run's time to the primary threshold, None when not reached."""

    run: str = NOTHING
    look: str = NOTHING
    accuracy: str = NOTHING
    train: str = NOTHING
    images_per_s: str = NOTHING
    status: str = "waiting"
    times_s: list[float | None] = field(default_factory=list)

    def cells(self) -> list[str]:
        """The row's text after the arm's name, in the order of the table's columns."""
        return [self.run, self.look, self.accuracy, self.train, self._time(), self.images_per_s, self.status]

    def _time(self) -> str:
        reached = [time_s for time_s in self.times_s if time_s is not None]
        counts = f"({len(reached)}/{len(self.times_s)} runs)"
        if not reached:
            return f"not reached {counts}" if self.times_s else NOTHING
        return f"{statistics.median(reached):.1f} s {counts}"


class ConsoleTracker:
    """Shows runs as their events arrive. `console` None: standard output, and a table only where that is a terminal."""

    def __init__(self, config: dict[str, Any], *, console: Console | None = None) -> None:
        self._config = config
        self._threshold: float = config["primary"]["threshold"]
        self._rows = {arm: _Row() for arm in config["arms"]}
        self._run: dict[str, Any] = {}
        self._console = console or Console(force_terminal=sys.stdout.isatty())
        live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live = Live(console=self._console, auto_refresh=False) if live else None

    def start(self, event: Event) -> None:
        """Name the run and what it trains."""
        self._run = event.data
        row = self._rows[event.data["arm"]]
        row.run, row.status = f"{self._block()}, seed {event.data['seed']}", "starting"
        row.look = row.accuracy = row.train = row.images_per_s = NOTHING
        weights, network = event.data["weights"], event.data["network"]
        start_from = " ".join(str(part) for part in (weights["source"], weights["tag"]) if part)
        resumed = f"  resumed at step {event.data['resumed_step']}" if event.data["resumed_step"] else ""
        self._show(f"{network['name']}  {network['parameters']:,} parameters  weights {start_from}{resumed}")

    def event(self, event: Event) -> None:
        """Show a look on val; other events tell nothing new."""
        if event.kind != "eval_stop" or event.data["split"] != "val":
            return
        data, row = event.data, self._rows[self._run["arm"]]
        train_s = data["segments_s"].get("train", 0.0)
        row.look = str(data["samples"] // self._config["evaluation"]["every_samples"])
        row.accuracy, row.train = f"{data['correct'] / data['total']:.4f}", f"{train_s:.1f} s"
        row.images_per_s = f"{data['samples'] / train_s:.0f}" if train_s else NOTHING
        row.status = "training"
        self._show(
            f"look {row.look}  epoch {event.epoch:.2f}  {data['samples']} images  val {row.accuracy}  "
            f"train {row.train}  {row.images_per_s} images/s"
        )

    def finish(self, result: RunResult) -> None:
        """Show the run's end: its status, its time to the primary threshold, its test accuracy."""
        row, time_s = self._rows[result.arm], time_to_accuracy_s(self._config, result, self._threshold)
        row.status = result.status
        if result.status in ("completed", "diverged"):
            row.times_s.append(time_s)
        reached = "not reached" if time_s is None else f"after {time_s:.1f} s"
        parts = [result.status, f"{accuracy_label(self._threshold)} {reached}"]
        if result.test_correct is not None and result.test_total:
            parts.append(f"test {result.test_correct / result.test_total:.4f}")
        if result.images_per_s is not None:
            row.images_per_s = f"{result.images_per_s:.0f}"
            parts.append(f"{row.images_per_s} images/s")
        if result.error and result.error.strip():
            parts.append(result.error.strip().splitlines()[-1])
        self._show("  ".join(parts))

    def summary(self, report: dict[str, Any]) -> None:
        """Print the provisional answer."""
        self._print(answer(report))

    def close(self) -> None:
        """Leave the table as it stands and give the terminal back."""
        if self._live:
            self._live.stop()

    def _block(self) -> str:
        return f"block {self._run['block'] + 1}/{self._config['blocks']}"

    def _show(self, line: str) -> None:
        if self._live:
            self._live.start()
            self._live.update(self._table(), refresh=True)
        else:
            self._print(f"{self._block()}  {self._run['arm']} seed {self._run['seed']}  {line}")

    def _print(self, line: str) -> None:
        if self._live:
            self._live.console.print(Text(line), soft_wrap=True)
        else:
            print(line, file=self._console.file, flush=True)

    def _table(self) -> Table:
        time_to = f"to {accuracy_label(self._threshold)}, median"
        table = Table("arm", "run", "look", "val", "train", time_to, "images/s", "status", title=self._config["name"])
        for arm, row in self._rows.items():
            table.add_row(arm, *row.cells())
        return table
