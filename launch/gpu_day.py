"""A first day on a GPU: looks, tests, measures, runs a short study, and keeps what it has so far.

`make gpu-day` calls it; it needs the standard library alone. gpu_day_steps.py says what is run,
gpu_day_summary.py how it is told.
"""

# The environment's variables:
#   PART=1 | 2     one half: 1 machine, tests, tiny studies, throughput, kernels; 2 a short study
#   OUT            where results go (runs/gpu-day)
#   WORK           caches, and what part 2 asks of part 1 (runs/gpu-day-work)
#   KIT            a folder with site/ (packages) and data/ (images, weights)
#   CIFAR10_DIR, HEADSTART_WEIGHTS_DIR    images and weights, where there is no KIT

import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from bench.experiment.machine_record import CARD_NAME, MachineFacts
from launch.gpu_day_files import DaySummary, read_machine, read_part
from launch.gpu_day_run import LEAST_S, Outcome, Step, end_group, limit_of, run_step
from launch.gpu_day_steps import (
    Day,
    machine_steps,
    part_1_steps,
    rate_steps,
    study_loader,
    study_steps,
)
from launch.gpu_day_summary import markdown

ROOT = Path(__file__).parents[1]
BUDGET_S = {"1": 310, "2": 230}  # nine minutes in all
REHEARSAL_PATIENCE = 4  # times as long for each step and part, on a CPU that others may use
Stage = Callable[[Day], list[Step]]
STAGES: dict[str, tuple[Stage, ...]] = {"1": (part_1_steps,), "2": (rate_steps, study_steps)}
LEFT_OUT = (".safetensors", ".pt", ".tar.gz", ".part")  # of results.tar.gz


class Diary:
    """What is written of the day, anew after each step."""

    def __init__(self, out: Path, summary: DaySummary) -> None:
        self.out = out
        self.summary = summary
        self._tails: dict[str, int] = {}  # lines of its log that are shown, by step

    def add(self, step: Step, outcome: Outcome) -> None:
        """Note a step's outcome, say it, and write everything anew."""
        self._tails[step.name] = step.tail_lines
        print(
            f"{self.summary.label}: {outcome.name:16} {outcome.status:8}"
            f" {outcome.seconds:6.1f} s of {outcome.limit_s:.0f}  {outcome.reason}",
            flush=True,
        )
        self.change(replace(self.summary, steps=(*self.summary.steps, outcome)))

    def note(self, text: str) -> None:
        """Add a note to the summary."""
        self.change(replace(self.summary, notes=(*self.summary.notes, text)))

    def interrupt(self) -> None:
        """Say that the day was interrupted."""
        self.change(replace(self.summary, interrupted=True))

    def change(self, summary: DaySummary) -> None:
        """Take a new summary; write summary.json, summary.md and results.tar.gz, each complete."""
        self.summary = summary
        replace_text(self.out / "summary.json", json.dumps(asdict(summary), indent=1) + "\n")
        replace_text(self.out / "summary.md", markdown(summary, self.out, self._tails))
        pack(self.out)


def main(environment: Mapping[str, str]) -> int:
    """Run the day. Exit codes: 0 no step was red, 1 some were, 2 wrong input, 130 Ctrl-C."""
    part = environment.get("PART", "")
    if part not in ("", *BUDGET_S):
        print(f"headstart: PART={part}: allowed: 1, 2, or nothing for both", file=sys.stderr)
        return 2
    out = Path(environment.get("OUT") or ROOT / "runs" / "gpu-day").absolute()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: no step is left behind
    put_aside(out)
    (out / "logs").mkdir(parents=True)
    work_folder(environment).mkdir(parents=True, exist_ok=True)
    sampler = sample_clocks(out / "logs" / "clocks.csv")
    diary = Diary(out, first_summary(part))
    parts = [part] if part else list(BUDGET_S)
    try:
        for number in parts:
            run_part(number, diary, environment)
    except KeyboardInterrupt:
        diary.interrupt()
        return 130
    finally:
        if sampler is not None:
            end_group(sampler)
    print(f"{diary.summary.label}: results in {out}", flush=True)
    bad = [step for step in diary.summary.steps if step.status in ("red", "killed")]
    return 1 if bad else 0


def work_folder(environment: Mapping[str, str]) -> Path:
    """Return where the caches lie, which the results do not hold."""
    return Path(environment.get("WORK") or ROOT / "runs" / "gpu-day-work").absolute()


def put_aside(out: Path) -> None:
    """Rename the folder of an earlier day: its studies must not be gone on with, nor be lost."""
    earlier = read_part(out / "summary.json")
    if earlier is not None:
        date = earlier.date.replace(":", "")
        out.rename(out.with_name(f"{out.name}-{date}"))


def first_summary(part: str) -> DaySummary:
    """Begin a summary, before the machine has been looked at."""
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return DaySummary(label="gpu-day", part=part or "1 and 2", date=date)


def run_part(part: str, diary: Diary, environment: Mapping[str, str]) -> None:
    """Look at the machine, then run a part's steps within its budget."""
    start_s = time.monotonic()
    variables = step_environment(environment)
    day = look(diary, variables, work_folder(environment), start_s + BUDGET_S[part])
    if diary.summary.machine is None:
        diary.change(described(diary.summary, day))
    deadline_s = start_s + BUDGET_S[part]
    if day.rehearsal:
        deadline_s = start_s + REHEARSAL_PATIENCE * BUDGET_S[part]
    if part == "2":
        loader, reason = study_loader(day)
        diary.note(f"loader of the study: {loader} ({reason})")
    for stage in STAGES[part]:
        run_steps(patient(stage(day), day), day, diary, deadline_s)
    if part == "1":
        shutil.copy(diary.out / "summary.json", day.work / "part_1.json")


def patient(steps: list[Step], day: Day) -> list[Step]:
    """Give each step of a rehearsal more time."""
    if not day.rehearsal:
        return steps
    return [replace(step, limit_s=REHEARSAL_PATIENCE * step.limit_s) for step in steps]


def look(diary: Diary, variables: Mapping[str, str], work: Path, deadline_s: float) -> Day:
    """Run the machine step once a day, and read what it wrote."""
    file = diary.out / "machine.json"
    blank = Day(
        python=sys.executable,
        root=ROOT,
        out=diary.out,
        work=work,
        cores=len(os.sched_getaffinity(0)),
        environment=variables,
        machine=MachineFacts(),
        rehearsal=True,
    )
    if not diary.summary.steps:
        file.unlink(missing_ok=True)
        run_steps(machine_steps(blank), blank, diary, deadline_s)
    machine = read_machine(file)
    return replace(blank, machine=machine, rehearsal=machine.gpu is None)


def described(summary: DaySummary, day: Day) -> DaySummary:
    """Add what is known of the machine to a summary: label, machine and notes."""
    notes = []
    if not day.imports("wandb"):
        notes.append("wandb cannot be imported: studies report to the console alone")
    card = day.machine.nvidia_smi.get(CARD_NAME)
    if day.rehearsal and card:
        notes.append(f"nvidia-smi shows {card}, but torch sees no GPU: see machine.json")
    return replace(
        summary,
        label="REHEARSAL on a CPU" if day.rehearsal else "gpu-day",
        rehearsal=day.rehearsal,
        machine=day.machine,
        notes=tuple(notes),
    )


def run_steps(steps: list[Step], day: Day, diary: Diary, deadline_s: float) -> None:
    """Run steps one after the other; none of them ends the rest."""
    for place, step in enumerate(steps):
        limit_s = limit_of(step, steps[place + 1 :], deadline_s - time.monotonic())
        skip = reason_to_skip(step, diary.summary.steps, limit_s)
        if skip:
            diary.add(step, skipped(step, limit_s, skip))
            continue
        outcome = run_step(
            step, limit_s, logs=diary.out / "logs", environment=day.environment, root=day.root
        )
        diary.add(step, outcome)


def reason_to_skip(step: Step, outcomes: Sequence[Outcome], limit_s: float) -> str:
    """Say why a step is not run; empty where it is."""
    if step.skip:
        return step.skip
    if step.needs:
        status = [outcome.status for outcome in outcomes if outcome.name == step.needs]
        if status != ["ok"]:
            return f"{step.needs} was {' '.join(status) or 'not run'}"
    if limit_s < LEAST_S:
        return "no time left"
    return ""


def skipped(step: Step, limit_s: float, reason: str) -> Outcome:
    """Make the outcome of a step that is not run."""
    return Outcome(
        name=step.name,
        status="skipped",
        seconds=0.0,
        limit_s=round(max(0.0, limit_s), 1),
        reason=reason,
        log="",
    )


def step_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of every step: a kit's packages and data, if any, and caches in WORK."""
    work = work_folder(environment)
    cores = len(os.sched_getaffinity(0))
    defaults = {
        "HEADSTART_CACHE": str(work / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"),
        "TRITON_CACHE_DIR": str(work / "triton"),
        "OMP_NUM_THREADS": str(min(8, cores)),
    }
    fixed = {
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
        "WANDB_MODE": "offline",
        "HF_HUB_OFFLINE": "1",
    }
    variables = {**defaults, **environment, **fixed}
    if environment.get("KIT"):
        variables |= kit_environment(Path(environment["KIT"]).absolute(), environment)
        for name in ("CIFAR10_DIR", "HEADSTART_WEIGHTS_DIR"):
            if not variables[name]:
                del variables[name]
    return variables


def kit_environment(kit: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Put a kit's packages before others, and name its data; empty for what it does not hold."""
    paths = [str(kit / "site")]
    if environment.get("PYTHONPATH"):
        paths.append(environment["PYTHONPATH"])
    data = kit / "data"
    variables = {
        "PYTHONPATH": os.pathsep.join(paths),
        "CIFAR10_DIR": "",
        "HEADSTART_WEIGHTS_DIR": "",
    }
    if any(data.glob("*.parquet")):
        variables |= {"CIFAR10_DIR": str(data)}
    if any(data.glob("*.safetensors")):
        variables |= {"HEADSTART_WEIGHTS_DIR": str(data)}
    return variables


def sample_clocks(file: Path) -> subprocess.Popen[bytes] | None:
    """Have nvidia-smi write clocks and power once a second, for all of the day; None without it."""
    if shutil.which("nvidia-smi") is None:
        return None
    fields = "timestamp,clocks.sm,clocks.mem,power.draw,utilization.gpu,memory.used"
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv", "--loop-ms=1000"]
    with file.open("wb") as output:
        return subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def replace_text(path: Path, text: str) -> None:
    """Write a file whole: a reader sees the old or the new one."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def pack(out: Path) -> None:
    """Write results.tar.gz of everything below `out` but weights and checkpoints."""
    part = out / "results.tar.gz.part"
    with tarfile.open(part, "w:gz") as archive:
        for path in sorted(out.rglob("*")):
            is_wanted = path.is_file() and not path.name.endswith(LEFT_OUT)
            if is_wanted or path.name.endswith("trace.json.gz"):
                archive.add(path, arcname=str(path.relative_to(out)), recursive=False)
    part.replace(out / "results.tar.gz")


if __name__ == "__main__":
    sys.exit(main(os.environ))
