"""Progress on the terminal: a table with a row an arm where there is one, a line a look otherwise. No thread, no timer."""

import statistics
import sys
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.results.comparison import time_to_accuracy_s
from bench.results.events import Event
from bench.results.fold import RunResult
from bench.results.verdict import answer
from bench.results.words import accuracy_label

NOTHING = "-"


class ConsoleTracker:
    """Shows runs as their events arrive. `console` None: standard output, and a table only where that is a terminal."""

    def __init__(self, config: dict[str, Any], *, console: Console | None = None) -> None:
        self._config = config
        self._threshold: float = config["primary"]["threshold"]
        self._blocks = config["primary"]["max_blocks"] if config["until_decided"] else config["blocks"]
        self._time_to = f"to {accuracy_label(self._threshold)}, median"
        columns = ("run", "look", "val", "train", self._time_to, "images/s", "status")
        self._rows = {arm: dict.fromkeys(columns, NOTHING) | {"status": "waiting"} for arm in config["arms"]}
        self._times_s: dict[str, list[float | None]] = {arm: [] for arm in config["arms"]}  # None where it was not reached
        self._run: dict[str, Any] = {}
        self._console = console or Console(force_terminal=sys.stdout.isatty())
        live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live = Live(console=self._console, auto_refresh=False) if live else None

    def start(self, event: Event) -> None:
        """Name the run and what it trains."""
        run = self._run = event.data
        unknown = dict.fromkeys(("look", "val", "train", "images/s"), NOTHING)
        block = f"block {run['block'] + 1}/{self._blocks}"
        self._name = f"{block}  {run['arm']} seed {run['seed']}"
        self._rows[run["arm"]] |= {"run": f"{block}, seed {run['seed']}", **unknown, "status": "starting"}
        weights = " ".join(part for part in (run["weights"]["source"], run["weights"]["tag"]) if part)
        resumed = f"  resumed at step {run['resumed_step']}" if run["resumed_step"] else ""
        self._show(f"{run['network']['name']}  {run['network']['parameters']:,} parameters  weights {weights}{resumed}")

    def event(self, event: Event) -> None:
        """Show a look on val; other events tell nothing new."""
        if event.kind != "eval_stop" or event.data["split"] != "val":
            return
        data, row = event.data, self._rows[self._run["arm"]]
        train_s = data["segments_s"].get("train", 0.0)
        row |= {
            "look": str(data["samples"] // self._config["evaluation"]["every_samples"]),
            "val": f"{data['correct'] / data['total']:.4f}",
            "train": f"{train_s:.1f} s",
            "images/s": f"{data['samples'] / train_s:.0f}" if train_s else NOTHING,
            "status": "training",
        }
        self._show(
            f"look {row['look']}  epoch {event.epoch:.2f}  {data['samples']} images  val {row['val']}  "
            f"train {row['train']}  {row['images/s']} images/s"
        )

    def finish(self, result: RunResult) -> None:
        """Show the run's end: its status, its time to the primary threshold, its test accuracy."""
        row, times_s = self._rows[result.arm], self._times_s[result.arm]
        time_s = time_to_accuracy_s(self._config, result, self._threshold)
        row["status"] = result.status
        if result.status in ("completed", "diverged"):
            times_s.append(time_s)
            reached = [time_s for time_s in times_s if time_s is not None]
            median = f"{statistics.median(reached):.1f} s" if reached else "not reached"
            row[self._time_to] = f"{median} ({len(reached)}/{len(times_s)} runs)"
        after = "not reached" if time_s is None else f"after {time_s:.1f} s"
        test = "" if result.test_accuracy is None else f"test {result.test_accuracy:.4f}"
        rate = "" if result.images_per_s is None else f"{result.images_per_s:.0f} images/s"
        row["images/s"] = rate.partition(" ")[0] or row["images/s"]
        error = (result.error or "").strip().rpartition("\n")[2]
        told = (result.status, f"{accuracy_label(self._threshold)} {after}", test, rate, error)
        self._show("  ".join(part for part in told if part))

    def summary(self, report: dict[str, Any]) -> None:
        """Print the provisional answer."""
        self._print(answer(report))

    def close(self) -> None:
        """Leave the table as it stands and give the terminal back."""
        if self._live:
            self._live.stop()

    def _show(self, line: str) -> None:
        """Draw the table again, or print the line, on a console that has no table."""
        if self._live is None:
            return self._print(f"{self._name}  {line}")
        table = Table("arm", *next(iter(self._rows.values())), title=self._config["name"])
        for arm, row in self._rows.items():
            table.add_row(arm, *row.values())
        self._live.start()
        return self._live.update(table, refresh=True)

    def _print(self, line: str) -> None:
        if self._live:
            self._console.print(Text(line), soft_wrap=True)
        else:
            print(line, file=self._console.file, flush=True)
