"""Weights & Biases: one W&B run for each run, online or offline.

The one door to wandb, and never a source of results.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import wandb
from wandb.sdk.lib import wbauth

from bench import registry
from bench.config.schema import ExperimentConfig
from bench.judge.clocks import read_clock
from bench.judge.comparison import time_to_accuracy_s
from bench.judge.study import study_of
from bench.ledger.events import Evaluated, Event, RunStarted
from bench.ledger.json_records import to_json
from bench.ledger.records import RunStart
from bench.ledger.result import RunResult
from bench.report.words import accuracy_label
from bench.trackers import describe

MODES = ("online", "offline", "disabled")
# W&B's panels draw these metrics over these axes.
AXES = {"val/*": "time/train_s", "so_far/*": "time/train_s", "val_by_epoch/*": "trainer/epoch"}


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How runs reach W&B, and why so."""

    name: str  # one of MODES
    reason: str


def resolve_mode(configured: str | None, environ: Mapping[str, str], key_present: bool) -> Mode:
    """Say how runs reach W&B: by the config, else WANDB_MODE, else by whether there is an API key.

    Raises ValueError for a mode that does not exist.
    """
    from_environment = environ.get("WANDB_MODE")
    if configured:
        registry.require(configured, MODES, f"wandb.mode: {configured!r} is not allowed")
    if from_environment:
        registry.require(
            from_environment, MODES, f"WANDB_MODE: {from_environment!r} is not allowed"
        )
    if configured:
        return Mode(name=configured, reason="wandb.mode asks for it")
    if from_environment:
        return Mode(name=from_environment, reason="WANDB_MODE asks for it")
    if key_present:
        return Mode(name="online", reason="an API key is there")
    return Mode(name="offline", reason="no API key")


def find_key() -> bool:
    """Say whether wandb has credentials for its server, good or malformed, without asking anybody.

    It looks into the environment, netrc and its settings.
    """
    settings = set_up()
    try:
        from_netrc = wbauth.read_netrc_auth(host=settings.base_url)
    except wandb.errors.AuthenticationError:  # a malformed key is one
        return True
    return bool(settings.api_key or settings.identity_token_file or from_netrc)


def set_up(settings: wandb.Settings | None = None) -> wandb.Settings:
    """Make wandb's process-wide settings: silent, without telemetry of its own.

    That would run in threads, and be sent even offline.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    if os.environ.get("WANDB_MODE") == "":  # to wandb a mode that does not exist
        del os.environ["WANDB_MODE"]
    return wandb.setup(settings or wandb.Settings(silent=True)).settings


class WandbTracker:
    """Sends each run to W&B.

    When the server does not answer, it says so once and stays offline: `wandb sync` sends it later.
    Raises ValueError for a mode that does not exist.
    """

    def __init__(
        self, config: ExperimentConfig, *, init_timeout_s: float = 30, finish_timeout_s: float = 30
    ) -> None:
        self._config = config
        self._study = study_of(config)
        self._mode = resolve_mode(config.wandb.mode, os.environ, key_present=True)
        # Looked for at the first run, where a fault of wandb's harms nothing.
        self._key_present: bool | None = None
        self._directory = Path(config.output) / config.name
        self._sync_hint = f"send later: wandb sync {self._directory / 'wandb'}/*run-*"
        self._init_timeout_s = init_timeout_s
        self._finish_timeout_s = finish_timeout_s
        self._run: wandb.Run | None = None
        self._mode_was_printed = False

    def start(self, event: RunStarted) -> None:
        """Open the W&B run, under the run's own id.

        A resumed run goes on; a fresh attempt replaces what was there.
        """
        if self._mode.name == "disabled":
            return
        self._end(exit_code=1)  # a run that raised was never finished
        if self._mode.name == "online" and self._key_present is None:
            self._key_present = find_key()
            self._mode = resolve_mode(self._config.wandb.mode, os.environ, self._key_present)
        self._run = self._open(event.data)
        for axis in sorted(set(AXES.values())):
            self._run.define_metric(axis)
        for metrics, axis in AXES.items():
            self._run.define_metric(metrics, step_metric=axis)
        if not self._mode_was_printed:
            is_online = self._mode.name == "online"
            where = self._run.project_url if is_online else self._sync_hint
            self._print(f"{self._mode.name}, {self._mode.reason}; {where}")

    def event(self, event: Event) -> None:
        """Log an evaluation on val."""
        if self._run and isinstance(event, Evaluated) and event.data.split == "val":
            self._run.log(self._evaluation_row(event), step=event.step, commit=True)

    def finish(self, result: RunResult) -> None:
        """Write the summary and close the W&B run."""
        if self._run:
            self._run.summary.update(self._summary(result))
            self._end(exit_code=0 if result.is_finished else 1)

    def close(self) -> None:
        """End an unfinished W&B run as failed, and wandb's service process."""
        self._end(exit_code=1)
        wandb.teardown()

    def _open(self, start: RunStart) -> wandb.Run:
        if self._mode.name != "online":
            return self._init(start)
        try:
            if not self._key_present:  # wandb would ask for one on the terminal
                raise wandb.errors.UsageError("no API key")
            return self._init(start)
        except Exception as error:
            wandb.teardown()  # its service still holds the run's id
            self._go_offline(error)
            return self._init(start)

    def _init(self, start: RunStart) -> wandb.Run:
        self._directory.mkdir(parents=True, exist_ok=True)  # else wandb goes to the system's /tmp
        set_up()
        # Bounded waits, no capture, no sampling thread beside the train clock; machine facts are in
        # the config already.
        settings = wandb.Settings(
            init_timeout=self._init_timeout_s,
            finish_timeout=self._finish_timeout_s,
            finish_timeout_raises=True,
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_transaction_log_flush_interval=1.0,
        )
        is_online = self._mode.name == "online"
        resume: Literal["allow"] | None = None
        if is_online and start.resumed_step:
            resume = "allow"
        return wandb.init(
            mode="online" if is_online else "offline",
            project=self._config.wandb.project,
            entity=self._config.wandb.entity,
            tags=list(self._config.wandb.tags),
            dir=self._directory,
            id=start.run_id,
            name=start.run_id,
            group=self._config.name,
            job_type="train",
            config=to_json(start) | {"tracking": f"{self._mode.name}: {self._mode.reason}"},
            resume=resume,
            reinit="finish_previous",
            settings=settings,
        )

    def _go_offline(self, error: Exception) -> None:
        cause = describe(error)
        self._mode = Mode(name="offline", reason=f"online failed: {cause}")
        self._print(f"WARNING: OFFLINE from here on ({cause}); {self._sync_hint}")

    def _print(self, line: str) -> None:
        self._mode_was_printed = True
        print(f"wandb: {line}", file=sys.stderr, flush=True)

    def _end(self, exit_code: int) -> None:
        run = self._run
        self._run = None
        if run is None:
            return
        try:
            run.finish(exit_code=exit_code)
        except TimeoutError as error:
            self._go_offline(error)

    def _evaluation_row(self, event: Evaluated) -> dict[str, float]:
        """Make the metrics of an evaluation on val, without those that are not known."""
        scores = event.data
        accuracy = scores.correct / scores.total
        row: dict[str, float | None] = {
            "val/accuracy": accuracy,
            "val/loss": scores.loss,
            "val_by_epoch/accuracy": accuracy,
            "val_by_epoch/loss": scores.loss,
            "trainer/epoch": event.epoch,
            "trainer/samples": scores.samples,
        }
        for clock in ("train", self._config.clock):
            row[f"time/{clock}_s"] = read_clock(clock, scores.segments_s)
        train_s = scores.segments_s.get("train", 0.0)
        if train_s:
            row["so_far/images_per_s"] = scores.samples / train_s
            row["so_far/data_wait_fraction"] = scores.data_wait_s / train_s
        return {name: value for name, value in row.items() if value is not None}

    def _summary(self, result: RunResult) -> dict[str, str | float | bool]:
        """Make the W&B run's summary, without values that are not known."""
        values: dict[str, str | float | bool | None] = {
            "status": result.status,
            "images_per_s": result.images_per_s,
            "ledger_sha256": result.ledger_sha256,
            "compile_s": result.start.compile.compile_s,
            "test/accuracy": result.test_accuracy,
        }
        for threshold in self._config.thresholds:
            label = accuracy_label(threshold)
            time_s = time_to_accuracy_s(self._study, result, threshold)
            values[f"reached/{label}"] = time_s is not None
            values[f"time_to_accuracy_s/{label}"] = time_s
        return {name: value for name, value in values.items() if value is not None}
