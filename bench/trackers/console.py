"""Progress on the terminal: a table with each arm's latest line, or the lines themselves.

The table is for terminals alone. No thread.
"""

import statistics
import sys

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.config.schema import ExperimentConfig
from bench.judge.comparison import time_to_accuracy_s
from bench.judge.study import study_of
from bench.ledger.events import Evaluated, Event, RunStarted
from bench.ledger.records import RunStart
from bench.ledger.result import RunResult
from bench.report.words import accuracy_label


class ConsoleTracker:
    """Shows runs as their events arrive.

    `console` None: standard output, with a table only where that is a terminal.
    """

    def __init__(self, config: ExperimentConfig, *, console: Console | None = None) -> None:
        self._study = study_of(config)
        self._threshold = config.primary.threshold
        self._evaluation_samples = config.evaluation.every_samples
        self._blocks = config.blocks
        if config.until_decided:
            self._blocks = config.primary.max_blocks
        self._latest_lines = {}
        for arm in config.arms:
            self._latest_lines[arm] = "waiting"
        # Of each finished run; None where the threshold was not reached.
        self._times_s: dict[str, list[float | None]] = {arm: [] for arm in config.arms}
        self._run: RunStart | None = None
        self._console = console or Console(force_terminal=sys.stdout.isatty())
        self._live: Live | None = None
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(console=self._console, auto_refresh=False)

    def start(self, event: RunStarted) -> None:
        """Name the run and what it trains."""
        run = event.data
        self._run = run
        weights = run.weights.source or ""
        if run.weights.tag:
            weights = f"{weights} {run.weights.tag}"
        line = f"{run.network.name}  {run.network.parameters:,} parameters  weights {weights}"
        if run.resumed_step:
            line += f"  resumed at step {run.resumed_step}"
        self._show(line)

    def event(self, event: Event) -> None:
        """Show an evaluation on val; other events tell nothing new."""
        if not isinstance(event, Evaluated) or event.data.split != "val":
            return
        scores = event.data
        train_s = scores.segments_s.get("train", 0.0)
        images_per_s = f"{scores.samples / train_s:.0f}" if train_s else "-"
        self._show(
            f"look {scores.samples // self._evaluation_samples}  epoch {event.epoch:.2f}  "
            f"{scores.samples} images  val {scores.correct / scores.total:.4f}  "
            f"train {train_s:.1f} s  {images_per_s} images/s"
        )

    def finish(self, result: RunResult) -> None:
        """Show the run's end: its status, its time to the primary threshold, its test accuracy."""
        time_s = time_to_accuracy_s(self._study, result, self._threshold)
        if result.is_finished:
            self._times_s[result.arm].append(time_s)
        reached = "not reached" if time_s is None else f"after {time_s:.1f} s"
        parts = [result.status, f"{accuracy_label(self._threshold)} {reached}"]
        if result.test_accuracy is not None:
            parts.append(f"test {result.test_accuracy:.4f}")
        if result.images_per_s is not None:
            parts.append(f"{result.images_per_s:.0f} images/s")
        if result.error:
            parts.append(result.error)
        self._show("  ".join(parts))

    def close(self) -> None:
        """Leave the table as it stands and give the terminal back."""
        if self._live is not None:
            self._live.stop()

    def _show(self, line: str) -> None:
        """Draw the table again, or print the line on a console that has no table."""
        run = self._run
        assert run is not None
        block = f"block {run.block + 1}/{self._blocks}"
        if self._live is None:
            text = Text(f"{block}  {run.arm} seed {run.seed}  {line}")
            self._console.print(text, soft_wrap=True)
            return
        self._latest_lines[run.arm] = f"{block}  seed {run.seed}  {line}"
        self._live.start()
        self._live.update(self._table(), refresh=True)

    def _table(self) -> Table:
        heading = f"to {accuracy_label(self._threshold)}, median"
        table = Table("arm", heading, "latest", title=self._study.name)
        for arm, line in self._latest_lines.items():
            table.add_row(arm, self._median_text(arm), Text(line))
        return table

    def _median_text(self, arm: str) -> str:
        """Say how soon an arm's finished runs reached the threshold, and how many did."""
        times_s = self._times_s[arm]
        if not times_s:
            return "-"
        reached_s = [time_s for time_s in times_s if time_s is not None]
        median = f"{statistics.median(reached_s):.1f} s" if reached_s else "not reached"
        return f"{median} ({len(reached_s)}/{len(times_s)} runs)"
