"""Progress on the terminal: a table with each arm's latest line where there is one, the lines themselves otherwise. No thread."""

import statistics
import sys
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.judge.comparison import time_to_accuracy_s
from bench.ledger.events import Event
from bench.ledger.fold import RunResult
from bench.report.words import accuracy_label


class ConsoleTracker:
    """Shows runs as their events arrive. `console` None: standard output, and a table only where that is a terminal."""

    def __init__(self, config: dict[str, Any], *, console: Console | None = None) -> None:
        self._config = config
        self._threshold: float = config["primary"]["threshold"]
        self._blocks = (
            config["primary"]["max_blocks"] if config["until_decided"] else config["blocks"]
        )
        self._latest = dict.fromkeys(config["arms"], "waiting")
        self._times_s: dict[str, list[float | None]] = {
            arm: [] for arm in config["arms"]
        }  # None where it was not reached
        self._run: dict[str, Any] = {}
        self._console = console or Console(force_terminal=sys.stdout.isatty())
        live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live = Live(console=self._console, auto_refresh=False) if live else None

    def start(self, event: Event) -> None:
        """Name the run and what it trains."""
        run = self._run = event.data
        weights = " ".join(
            part for part in (run["weights"]["source"], run["weights"]["tag"]) if part
        )
        resumed = f"  resumed at step {run['resumed_step']}" if run["resumed_step"] else ""
        self._show(
            f"{run['network']['name']}  {run['network']['parameters']:,} parameters  weights {weights}{resumed}"
        )

    def event(self, event: Event) -> None:
        """Show a look on val; other events tell nothing new."""
        if event.kind != "eval_stop" or event.data["split"] != "val":
            return
        data, train_s = event.data, event.data["segments_s"].get("train", 0.0)
        rate = f"{data['samples'] / train_s:.0f}" if train_s else "-"
        self._show(
            f"look {data['samples'] // self._config['evaluation']['every_samples']}  epoch {event.epoch:.2f}  "
            f"{data['samples']} images  val {data['correct'] / data['total']:.4f}  train {train_s:.1f} s  {rate} images/s"
        )

    def finish(self, result: RunResult) -> None:
        """Show the run's end: its status, its time to the primary threshold, its test accuracy."""
        time_s = time_to_accuracy_s(self._config, result, self._threshold)
        if result.is_finished:
            self._times_s[result.arm].append(time_s)
        after = "not reached" if time_s is None else f"after {time_s:.1f} s"
        test = "" if result.test_accuracy is None else f"test {result.test_accuracy:.4f}"
        rate = "" if result.images_per_s is None else f"{result.images_per_s:.0f} images/s"
        told = (
            result.status,
            f"{accuracy_label(self._threshold)} {after}",
            test,
            rate,
            result.error,
        )
        self._show("  ".join(part for part in told if part))

    def close(self) -> None:
        """Leave the table as it stands and give the terminal back."""
        if self._live:
            self._live.stop()

    def _show(self, line: str) -> None:
        """Draw the table again, or print the line, on a console that has no table."""
        run = self._run
        block = f"block {run['block'] + 1}/{self._blocks}"
        if self._live is None:
            return self._console.print(
                Text(f"{block}  {run['arm']} seed {run['seed']}  {line}"), soft_wrap=True
            )
        self._latest[run["arm"]] = f"{block}  seed {run['seed']}  {line}"
        table = Table(
            "arm",
            f"to {accuracy_label(self._threshold)}, median",
            "latest",
            title=self._config["name"],
        )
        for arm, latest in self._latest.items():
            reached = [time_s for time_s in self._times_s[arm] if time_s is not None]
            median = f"{statistics.median(reached):.1f} s" if reached else "not reached"
            told = (
                f"{median} ({len(reached)}/{len(self._times_s[arm])} runs)"
                if self._times_s[arm]
                else "-"
            )
            table.add_row(arm, told, Text(latest))
        self._live.start()
        return self._live.update(table, refresh=True)
