"""Weights & Biases: one W&B run for each run, online or offline. The one door to wandb; never a source of results."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import wandb
from wandb.sdk.lib import wbauth

from bench import registry
from bench.judge.clocks import read_clock
from bench.judge.comparison import time_to_accuracy_s
from bench.ledger.events import Event
from bench.ledger.fold import RunResult
from bench.report.words import accuracy_label
from bench.trackers import describe

MODES = ("online", "offline", "disabled")
AXES = {"val/*": "time/train_s", "so_far/*": "time/train_s", "val_by_epoch/*": "trainer/epoch"}


def resolve_mode(
    configured: str | None, environ: Mapping[str, str], key_present: bool
) -> tuple[str, str]:
    """The W&B mode and why: the config, else WANDB_MODE, else online with an API key and offline without.

    Raises ValueError for a mode that does not exist.
    """
    asked = [
        (mode, key)
        for mode, key in ((configured, "wandb.mode"), (environ.get("WANDB_MODE"), "WANDB_MODE"))
        if mode
    ]
    for mode, key in asked:
        registry.require(mode, MODES, f"{key}: {mode!r} is not allowed")
    if asked:
        return asked[0][0], f"{asked[0][1]} asks for it"
    return ("online", "an API key is there") if key_present else ("offline", "no API key")


def find_key() -> bool:
    """Whether wandb has credentials for its server (environment, netrc, settings), good or malformed, without asking anybody."""
    known = set_up()
    with suppress(wandb.errors.AuthenticationError):
        return bool(
            known.api_key
            or known.identity_token_file
            or wbauth.read_netrc_auth(host=known.base_url)
        )
    return True


def set_up(**settings: Any) -> wandb.Settings:
    """wandb's process-wide settings: silent, and without its own telemetry, which runs in threads and is sent even offline."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    if os.environ.get("WANDB_MODE") == "":  # to wandb a mode that does not exist
        del os.environ["WANDB_MODE"]
    return wandb.setup(wandb.Settings(silent=True, **settings)).settings


class WandbTracker:
    """Sends each run to W&B. When the server does not answer, it says so once and stays offline: `wandb sync` sends it later.

    Raises ValueError for a mode that does not exist.
    """

    def __init__(
        self, config: dict[str, Any], *, init_timeout_s: float = 30, finish_timeout_s: float = 30
    ) -> None:
        self._config = config
        self._mode, self._reason = resolve_mode(
            config["wandb"]["mode"], os.environ, key_present=True
        )
        self._key: bool | None = (
            None  # looked for at the first run, where a fault of wandb's harms nothing
        )
        self._directory = Path(config["output"]) / config["name"]
        self._how_to_send = f"send later: wandb sync {self._directory / 'wandb'}/*run-*"
        self._init_timeout_s, self._finish_timeout_s = init_timeout_s, finish_timeout_s
        self._run: wandb.Run | None = None
        self._told = False

    def start(self, event: Event) -> None:
        """Open the W&B run, under the run's own id; a resumed run goes on, a fresh attempt replaces what was there."""
        if self._mode == "disabled":
            return
        self._end(exit_code=1)  # a run that raised was never finished
        if self._mode == "online" and self._key is None:
            self._key = find_key()
            self._mode, self._reason = resolve_mode(
                self._config["wandb"]["mode"], os.environ, self._key
            )
        self._run = self._open(event.data)
        for axis in sorted(set(AXES.values())):
            self._run.define_metric(axis)
        for glob, axis in AXES.items():
            self._run.define_metric(glob, step_metric=axis)
        if not self._told:
            where = self._run.project_url if self._mode == "online" else self._how_to_send
            self._tell(f"{self._mode}, {self._reason}; {where}")

    def event(self, event: Event) -> None:
        """Log a look on val."""
        if self._run and event.kind == "eval_stop" and event.data["split"] == "val":
            self._run.log(self._look(event), step=event.step, commit=True)

    def finish(self, result: RunResult) -> None:
        """Write the summary and close the W&B run."""
        if self._run:
            self._run.summary.update(self._summary(result))
            self._end(exit_code=0 if result.status in ("completed", "diverged") else 1)

    def close(self) -> None:
        """End an unfinished W&B run as failed, and wandb's service process."""
        self._end(exit_code=1)
        wandb.teardown()

    def _open(self, data: dict[str, Any]) -> wandb.Run:
        if self._mode == "online":
            try:
                if not self._key:
                    raise wandb.errors.UsageError(
                        "no API key"
                    )  # before wandb asks for one on the terminal
                return self._init(data)
            except Exception as error:
                wandb.teardown()  # its service still holds the run's id
                self._go_offline(error)
        return self._init(data)

    def _init(self, data: dict[str, Any]) -> wandb.Run:
        self._directory.mkdir(
            parents=True, exist_ok=True
        )  # wandb would go to the system's temporary directory instead
        set_up()
        asked = self._config["wandb"]
        # Bounded waits, no capture, no sampling thread beside the train clock; machine facts are in the config already.
        settings = wandb.Settings(
            init_timeout=self._init_timeout_s, finish_timeout=self._finish_timeout_s, finish_timeout_raises=True,
            silent=True, console="off", disable_git=True, disable_code=True,
            x_disable_stats=True, x_disable_machine_info=True, x_transaction_log_flush_interval=1.0,
        )  # fmt: skip
        return wandb.init(
            mode="online" if self._mode == "online" else "offline",
            project=asked["project"], entity=asked["entity"], tags=list(asked["tags"]), dir=self._directory,
            id=data["run_id"], name=data["run_id"], group=self._config["name"], job_type="train",
            config={**data, "tracking": f"{self._mode}: {self._reason}"},
            resume="allow" if self._mode == "online" and data["resumed_step"] else None,
            reinit="finish_previous", settings=settings,
        )  # fmt: skip

    def _go_offline(self, error: Exception) -> None:
        cause = describe(error)
        self._mode, self._reason = "offline", f"online failed: {cause}"
        self._tell(f"WARNING: OFFLINE from here on ({cause}); {self._how_to_send}")

    def _tell(self, line: str) -> None:
        self._told = True
        print(f"wandb: {line}", file=sys.stderr, flush=True)

    def _end(self, exit_code: int) -> None:
        run, self._run = self._run, None
        try:
            if run:
                run.finish(exit_code=exit_code)
        except TimeoutError as error:
            self._go_offline(error)

    def _look(self, event: Event) -> dict[str, Any]:
        data = event.data
        train_s = data["segments_s"].get("train", 0.0)
        values = {"accuracy": data["correct"] / data["total"], "loss": data["loss"]}
        row = {
            **{
                f"{axis}/{name}": value
                for axis in ("val", "val_by_epoch")
                for name, value in values.items()
            },
            **{
                f"time/{clock}_s": read_clock(clock, data["segments_s"])
                for clock in ("train", self._config["clock"])
            },
            "trainer/epoch": event.epoch,
            "trainer/samples": data["samples"],
            "so_far/images_per_s": data["samples"] / train_s if train_s else None,
            "so_far/data_wait_fraction": data["data_wait_s"] / train_s if train_s else None,
        }
        return {name: value for name, value in row.items() if value is not None}

    def _summary(self, result: RunResult) -> dict[str, Any]:
        values = {
            name: getattr(result, name) for name in ("status", "images_per_s", "ledger_sha256")
        }
        values |= {
            "compile_s": result.start["compile"]["compile_s"],
            "test/accuracy": result.test_accuracy,
        }
        for threshold in self._config["thresholds"]:
            time_s = time_to_accuracy_s(self._config, result, threshold)
            values[f"reached/{accuracy_label(threshold)}"] = time_s is not None
            values[f"time_to_accuracy_s/{accuracy_label(threshold)}"] = time_s
        return {name: value for name, value in values.items() if value is not None}
