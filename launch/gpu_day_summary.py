"""Lays a day's results out as Markdown, in the tables of docs/results/gpu.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.experiment.machine_record import (
    DRIVER,
    MEMORY_CLOCK,
    MOST_MEMORY_CLOCK,
    MOST_SM_CLOCK,
    POWER_LIMIT,
    SM_CLOCK,
    Fact,
    Facts,
    MachineFacts,
)
from bench.experiment.throughput_records import (
    ArmProfile,
    ArmThroughput,
    ExperimentThroughput,
    LoopTiming,
)
from launch.gpu_day_files import DaySummary, KernelFigures, read_kernels, read_throughput
from launch.gpu_day_run import Outcome

# Rows of the machine's table, and the environment facts in them.
FACTS = {"CPU": "cpu", "cores": "cpu_cores", "commit": "commit"}
PACKAGES = ("torch", "triton", "nvidia-dali-cuda130", "timm", "accelerate", "python", "cuda")
FIGURES = {"throughput": "Throughput", "rate": "Rate of the study's network"}  # folder to heading
NOT_MEASURED = "not measured"
TOP_KERNELS = 8
RED_TAIL_LINES = 12
Row = Sequence[str]


def markdown(summary: DaySummary, out: Path, tails: Mapping[str, int]) -> str:
    """Lay out the summary. A rehearsal says so in its title and over every table of figures."""
    title = "First day on a GPU"
    mark = ""
    if summary.rehearsal:
        title = "REHEARSAL on a CPU: no figure below is a GPU's"
        mark = "REHEARSAL on a CPU: "
    parts = [f"# {title}", f"Part {summary.part}, {summary.date}"]
    parts += [f"- {note}" for note in summary.notes]
    parts += [machine_table(summary), steps_table(summary.steps)]
    for folder, heading in FIGURES.items():
        figures = read_throughput(out / folder / "throughput.json")
        if figures is not None:
            parts += throughput_parts(figures, f"{mark}{heading}", f"{mark}Profile")
    kernels = read_kernels(out / "kernels.json")
    if kernels:
        parts.append(f"## {mark}Kernels\n\n{kernels_table(kernels)}")
    parts += log_tails(summary.steps, out / "logs", tails, mark)
    return "\n\n".join(parts) + "\n"


def machine_table(summary: DaySummary) -> str:
    """Lay out card, driver, clocks and versions."""
    machine = summary.machine or MachineFacts()
    card = machine.nvidia_smi
    facts: Facts = {}
    if machine.torch is not None:
        facts = machine.torch.environment
    rows: list[tuple[str, Fact]] = [
        ("card", "none (a CPU)" if summary.rehearsal else machine.gpu),
        ("driver", card.get(DRIVER)),
        ("SM clock, now and most", between(card, SM_CLOCK, MOST_SM_CLOCK)),
        ("memory clock, now and most", between(card, MEMORY_CLOCK, MOST_MEMORY_CLOCK)),
        ("power limit", card.get(POWER_LIMIT)),
    ]
    rows += [(heading, facts.get(fact)) for heading, fact in FACTS.items()]
    rows.append(("a DALI batch", dali_text(machine)))
    rows += [(package, facts.get(package)) for package in PACKAGES]
    return table(("machine", ""), [(key, str(value or "unknown")) for key, value in rows])


def dali_text(machine: MachineFacts) -> str | None:
    """Say what DALI's batch was, or what it raised."""
    if machine.dali_batch is None:
        return None
    return machine.dali_batch.batch or machine.dali_batch.error


def between(card: Mapping[str, str], now: str, most: str) -> str:
    """Say two readings of a clock; empty where the card was not read."""
    if now not in card:
        return ""
    return f"{card[now]} of {card[most]}"


def steps_table(steps: Sequence[Outcome]) -> str:
    """Lay out what was run, how it ended, and why."""
    rows = []
    for step in steps:
        rows.append(
            (step.name, step.status, f"{step.seconds:.1f}", f"{step.limit_s:.0f}", step.reason)
        )
    return table(("step", "result", "seconds", "limit", "why"), rows)


def throughput_parts(figures: ExperimentThroughput, heading: str, profile_head: str) -> list[str]:
    """Lay out the tables of a throughput.json, a part of the page each."""
    parts = [f"## {heading}\n\n{throughput_table(figures)}", arms_table(figures)]
    if figures.profile is not None:
        parts.append(f"## {profile_head}\n\n{profile_table(figures.profile)}")
    return parts


def throughput_table(figures: ExperimentThroughput) -> str:
    """Lay out a row a timed loop."""
    rows = []
    for arm in figures.arms.values():
        for title, timing in arm.timings().items():
            rows.append((arm.arm, title, *timing_cells(timing)))
        for loader, fault in arm.faults.items():
            rows.append((arm.arm, f"harness, {loader}", "RED", "", "", fault))
    for arm_name, fault in figures.faults.items():
        rows.append((arm_name, "", "RED", "", "", fault))
    heads = ("arm", "loop", "images/s", "ms a step", "host ms to issue", "ms waiting for data")
    return table(heads, rows)


def timing_cells(timing: LoopTiming) -> Row:
    """Write images a second, and the milliseconds of a step."""
    return (
        f"{timing.images_per_s:,.0f}",
        f"{timing.step_ms:.3f}",
        "-" if timing.issue_ms is None else f"{timing.issue_ms:.3f}",
        f"{timing.data_wait_ms:.3f}",
    )


def arms_table(figures: ExperimentThroughput) -> str:
    """Lay out a row an arm: what belongs to the arm and not to one loop."""
    rows = []
    for arm in figures.arms.values():
        rows.append(
            (
                arm.arm,
                f"{arm.batch_size}, {arm.input_size} px, {arm.precision}",
                number(arm.overhead_ratio, "{:.3f}"),
                resize_text(arm),
                number(arm.evaluation_images_per_s, "{:,.0f}"),
                memory_text(arm.peak_memory_bytes),
                f"{arm.compile_s:.1f}",
            )
        )
    heads = (
        *("arm", "batch, size, precision", "bare / harness", "resize alone, ms (of a step)"),
        *("evaluation images/s", "peak GiB", "compile s"),
    )
    return table(heads, rows)


def resize_text(arm: ArmThroughput) -> str:
    """Say the resize's milliseconds, and their part of the harness's step."""
    if arm.resize_ms is None:
        return "no resize"
    fraction = arm.resize_ms / arm.harness.step_ms
    return f"{arm.resize_ms:.3f} ({fraction:.1%})"


def memory_text(peak_bytes: int | None) -> str:
    """Write bytes as GiB."""
    return NOT_MEASURED if peak_bytes is None else f"{peak_bytes / 2**30:.2f}"


def number(value: float | None, pattern: str) -> str:
    """Write a number by a pattern, or that there is none."""
    return NOT_MEASURED if value is None else pattern.format(value)


def profile_table(profile: ArmProfile) -> str:
    """Say how busy the device was, and lay out the kernels that took longest."""
    heading = f"{profile.arm} from {profile.loader}, {profile.steps} steps; "
    if profile.busy_fraction is None:
        return heading + "no work on a device was seen."
    heading += (
        f"device busy {profile.busy_fraction:.1%}, gaps {profile.gap_ms:.3f} ms a step,"
        f" {profile.long_gaps:.1f} long ones."
    )
    rows = []
    for kernel in profile.kernels[:TOP_KERNELS]:
        rows.append((f"`{kernel.name[:70]}`", f"{kernel.ms:.4f}", f"{kernel.calls:.1f}"))
    return f"{heading}\n\n{table(('kernel', 'ms a step', 'calls a step'), rows)}"


def kernels_table(kernels: Sequence[KernelFigures]) -> str:
    """Lay out a row a measured case of tests/benchmarks/test_kernels.py."""
    rows = []
    for kernel in kernels:
        gigabytes = number(kernel.gb_per_s, "{:,.0f}")
        ratios = ", ".join(f"{ratio:.3g}x {name}" for name, ratio in kernel.ratios.items())
        rows.append((kernel.name, f"{kernel.images_per_s:,.0f}", gigabytes, ratios))
    return table(("case", "images/s", "GB/s", "against"), rows)


def log_tails(
    steps: Sequence[Outcome], logs: Path, tails: Mapping[str, int], mark: str
) -> list[str]:
    """Show the last lines of logs that a reader wants at once, and of all that went wrong."""
    parts = []
    for step in steps:
        lines = tails.get(step.name, 0)
        if step.status in ("red", "killed"):
            lines = max(lines, RED_TAIL_LINES)
        log = logs / step.log
        if lines and step.log and log.is_file():
            text = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
            shown = "\n".join(line[:300] for line in text)
            parts.append(f"## {mark}{step.name}: end of its log\n\n```\n{shown}\n```")
    return parts


def table(heads: Row, rows: Sequence[Row]) -> str:
    """Write a Markdown table."""
    lines = [cells(heads), cells(["-"] * len(heads))]
    lines += [cells(row) for row in rows]
    return "\n".join(lines)


def cells(row: Row) -> str:
    """Write one line of a table; a bar inside a cell is escaped."""
    escaped = [str(cell).replace("|", "\\|").replace("\n", " ") for cell in row]
    return f"| {' | '.join(escaped)} |"
