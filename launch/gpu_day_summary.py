"""Lays a day's results out as Markdown, in the tables of docs/results/gpu.md. Reads what the steps wrote."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "triton", "nvidia-dali-cuda130", "timm", "accelerate", "python", "cuda")
NOT_MEASURED = "not measured"
TOP_KERNELS = 8
Row = Sequence[str]


def markdown(summary: Mapping[str, Any], out: Path, tails: Mapping[str, int]) -> str:
    """The whole summary. A rehearsal says so in its title and over every table of figures."""
    title = "First day on a GPU"
    if summary["rehearsal"]:
        title = "REHEARSAL on a CPU: no figure below is a GPU's"
    mark = "REHEARSAL on a CPU: " if summary["rehearsal"] else ""
    parts = [f"# {title}", f"Part {summary['part']}, {summary['date']}"]
    parts += [f"- {note}" for note in summary["notes"]]
    parts += [machine_table(summary), steps_table(summary["steps"])]
    for name, heading in (("throughput", "Throughput"), ("rate", "Rate of the study's network")):
        content = read_json(out / name / "throughput.json")
        if content:
            parts.append(f"## {mark}{heading}\n\n{throughput_table(content)}")
            parts.append(arms_table(content))
            if content["profile"]:
                parts.append(f"## {mark}Profile\n\n{profile_table(content['profile'])}")
    kernels = read_json(out / "kernels.json")
    if kernels:
        parts.append(f"## {mark}Kernels\n\n{kernels_table(kernels)}")
    parts += log_tails(summary["steps"], out / "logs", tails, mark)
    return "\n\n".join(part for part in parts if part) + "\n"


def machine_table(summary: Mapping[str, Any]) -> str:
    """Card, driver, clocks and versions."""
    machine = summary["machine"]
    card = machine.get("nvidia_smi", {})
    facts = machine.get("torch", {}).get("environment", {})
    name = "none (a CPU)" if summary["rehearsal"] else machine.get("gpu")
    rows = [
        ("card", name),
        ("driver", card.get("driver_version")),
        ("SM clock, now and most", between(card, "clocks.sm", "clocks.max.sm")),
        ("memory clock, now and most", between(card, "clocks.mem", "clocks.max.mem")),
        ("power limit", card.get("power.limit")),
        ("CPU", facts.get("cpu")),
        ("cores", facts.get("cpu_cores")),
        ("commit", facts.get("commit")),
        ("a DALI batch", "; ".join(machine.get("dali_batch", {}).values())),
    ]
    rows += [(package, facts.get(package)) for package in PACKAGES]
    return table(("machine", ""), [(key, str(value or "unknown")) for key, value in rows])


def between(card: Mapping[str, str], now: str, most: str) -> str:
    """Two readings of a clock; empty where the card was not read."""
    if now not in card:
        return ""
    return f"{card[now]} of {card[most]}"


def steps_table(steps: Sequence[Mapping[str, Any]]) -> str:
    """What was run, how it ended, and why."""
    rows = []
    for step in steps:
        seconds = f"{step['seconds']:.1f}"
        rows.append(
            (step["name"], step["status"], seconds, f"{step['limit_s']:.0f}", step["reason"])
        )
    return table(("step", "result", "seconds", "limit", "why"), rows)


def throughput_table(content: Mapping[str, Any]) -> str:
    """A row a timed loop."""
    rows = []
    for arm in content["arms"].values():
        loops = {"bare loop, one batch": arm["bare"], "harness, one batch": arm["harness"]}
        loops |= {f"harness, {name}": timing for name, timing in arm["loaders"].items()}
        loops |= {f"{name} alone": timing for name, timing in arm["loaders_alone"].items()}
        for loop, timing in loops.items():
            if timing is not None:
                rows.append((arm["arm"], loop, *timing_cells(timing)))
        for loader, fault in arm["faults"].items():
            rows.append((arm["arm"], f"harness, {loader}", "RED", "", "", fault))
    for arm_name, fault in content["faults"].items():
        rows.append((arm_name, "", "RED", "", "", fault))
    heads = ("arm", "loop", "images/s", "ms a step", "host ms to issue", "ms waiting for data")
    return table(heads, rows)


def timing_cells(timing: Mapping[str, Any]) -> Row:
    """Images a second, and the milliseconds of a step."""
    issue_ms = timing["issue_ms"]
    return (
        f"{timing['images_per_s']:,.0f}",
        f"{timing['step_ms']:.3f}",
        "-" if issue_ms is None else f"{issue_ms:.3f}",
        f"{timing['data_wait_ms']:.3f}",
    )


def arms_table(content: Mapping[str, Any]) -> str:
    """A row an arm: what belongs to the arm and not to one loop."""
    rows = []
    for arm in content["arms"].values():
        rows.append(
            (
                arm["arm"],
                f"{arm['batch_size']}, {arm['input_size']} px, {arm['precision']}",
                number(arm["overhead_ratio"], "{:.3f}"),
                resize_text(arm),
                number(arm["evaluation_images_per_s"], "{:,.0f}"),
                memory_text(arm["peak_memory_bytes"]),
                f"{arm['compile_s']:.1f}",
            )
        )
    heads = (
        *("arm", "batch, size, precision", "bare / harness", "resize alone, ms (of a step)"),
        *("evaluation images/s", "peak GiB", "compile s"),
    )
    return table(heads, rows)


def resize_text(arm: Mapping[str, Any]) -> str:
    """The resize's milliseconds, and their part of the harness's step."""
    if arm["resize_ms"] is None:
        return "no resize"
    fraction = arm["resize_ms"] / arm["harness"]["step_ms"]
    return f"{arm['resize_ms']:.3f} ({fraction:.1%})"


def memory_text(peak_bytes: int | None) -> str:
    """Bytes as GiB."""
    return NOT_MEASURED if peak_bytes is None else f"{peak_bytes / 2**30:.2f}"


def number(value: float | None, pattern: str) -> str:
    """A number, or that there is none."""
    return NOT_MEASURED if value is None else pattern.format(value)


def profile_table(profile: Mapping[str, Any]) -> str:
    """How busy the device was, and the kernels that took longest."""
    heading = f"{profile['arm']} from {profile['loader']}, {profile['steps']} steps; "
    if profile["busy_fraction"] is None:
        return heading + "no work on a device was seen."
    heading += (
        f"device busy {profile['busy_fraction']:.1%}, gaps {profile['gap_ms']:.3f} ms a step,"
        f" {profile['long_gaps']:.1f} long ones."
    )
    rows = []
    for name, ms, calls in profile["kernels"][:TOP_KERNELS]:
        rows.append((f"`{name[:70]}`", f"{ms:.4f}", f"{calls:.1f}"))
    return f"{heading}\n\n{table(('kernel', 'ms a step', 'calls a step'), rows)}"


def kernels_table(content: Mapping[str, Any]) -> str:
    """A row a measured function of tests/benchmarks/test_kernels.py."""
    rows = []
    for measured in content["benchmarks"]:
        extra = measured["extra_info"]
        gigabytes = number(extra.get("gb_per_s"), "{:,.0f}")
        ratios = [f"{ratio['ratio']:.3g}x {name}" for name, ratio in extra["ratios"].items()]
        rows.append(
            (measured["name"], f"{extra['images_per_s']:,.0f}", gigabytes, ", ".join(ratios))
        )
    return table(("case", "images/s", "GB/s", "against"), rows)


def log_tails(
    steps: Sequence[Mapping[str, Any]], logs: Path, tails: Mapping[str, int], mark: str
) -> list[str]:
    """The last lines of the logs that a reader wants at once, and of every step that went wrong."""
    parts = []
    for step in steps:
        lines = tails.get(step["name"], 0)
        if step["status"] in ("red", "killed"):
            lines = max(lines, 12)
        log = logs / step["log"]
        if lines and step["log"] and log.is_file():
            text = log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
            shown = "\n".join(line[:300] for line in text)
            parts.append(f"## {mark}{step['name']}: end of its log\n\n```\n{shown}\n```")
    return parts


def table(heads: Row, rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = [cells(heads), cells(["-"] * len(heads))]
    lines += [cells(row) for row in rows]
    return "\n".join(lines)


def cells(row: Row) -> str:
    """One line of a table; a bar inside a cell is escaped."""
    escaped = [str(cell).replace("|", "\\|").replace("\n", " ") for cell in row]
    return f"| {' | '.join(escaped)} |"


def read_json(path: Path) -> dict[str, Any]:
    """What a step wrote; nothing where it wrote no whole file."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError:  # of a step that was killed while writing
        return {}
