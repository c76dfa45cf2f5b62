"""What `make bench` runs when nothing is named: the machine, what lies on it, and a small table."""

import os
from dataclasses import dataclass
from pathlib import Path

EXPERIMENTS = Path("configs/experiments")
LAUNCH = Path("launch/accelerate")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What this machine has for headstart; folders are None where they are not set or not there."""

    gpus: tuple[str, ...]
    cpu_cores: int
    cifar10_dir: str | None
    weights_dir: str | None
    weights_files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A row of the table: what it needs, and what it then runs."""

    gpu: bool
    cifar10: bool
    weights: str | None
    experiment: str


# The first row that holds is taken.
TABLE = (
    Rule(gpu=False, cifar10=True, weights="tf_efficientnet_lite0.safetensors", experiment="efficientnet_lite0_cpu"),
    Rule(gpu=True, cifar10=True, weights=None, experiment="small_cnn"),
    Rule(gpu=False, cifar10=False, weights=None, experiment="embedded"),
)


def look() -> Machine:
    """See the machine. Imports torch, which alone knows which GPUs this process may use."""
    import torch

    weights_dir = _existing("HEADSTART_WEIGHTS_DIR")
    return Machine(
        gpus=tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())),
        cpu_cores=len(os.sched_getaffinity(0)),
        cifar10_dir=_existing("CIFAR10_DIR"),
        weights_dir=weights_dir,
        weights_files=tuple(sorted(p.name for p in Path(weights_dir).glob("*.safetensors"))) if weights_dir else (),
    )


def choose(machine: Machine) -> str:
    """The experiment's name that the table gives."""
    return next(rule.experiment for rule in TABLE if _holds(rule, machine))


def launch_file(machine: Machine, gpus: int | None) -> tuple[Path, int]:
    """accelerate's config file and the number of processes. Raises ValueError where more GPUs are asked for than there are."""
    if gpus is not None and not 1 <= gpus <= len(machine.gpus):
        raise ValueError(f"GPUS={gpus}: this machine has {len(machine.gpus)} CUDA GPUs")
    count = gpus or len(machine.gpus)
    return LAUNCH / {0: "cpu.yaml", 1: "single_gpu.yaml"}.get(count, "multi_gpu.yaml"), max(1, count)


def describe(machine: Machine) -> str:
    """What was found, for a person."""
    gpus = f"{len(machine.gpus)} x {machine.gpus[0]}" if machine.gpus else "none"
    weights = ", ".join(machine.weights_files) or "no .safetensors in it"
    return "\n".join([
        f"  GPU       {gpus}",
        f"  CPU       {machine.cpu_cores} cores",
        f"  CIFAR-10  {machine.cifar10_dir or 'not found (set CIFAR10_DIR)'}",
        f"  weights   {f'{machine.weights_dir}: {weights}' if machine.weights_dir else 'none (set HEADSTART_WEIGHTS_DIR)'}",
    ])  # fmt: skip


def table_text(machine: Machine) -> str:
    """The table, the row taken marked."""
    taken = choose(machine)
    lines = [f"  {'GPU':<6}{'CIFAR-10':<10}{'weights':<36}experiment"]
    for rule in TABLE:
        mark = "  <- taken" if rule.experiment == taken else ""
        gpu, cifar10 = ("yes" if rule.gpu else "any"), ("yes" if rule.cifar10 else "any")
        lines.append(f"  {gpu:<6}{cifar10:<10}{rule.weights or 'any':<36}{rule.experiment}{mark}")
    return "\n".join(lines)


def _holds(rule: Rule, machine: Machine) -> bool:
    return (
        (not rule.gpu or bool(machine.gpus))
        and (not rule.cifar10 or machine.cifar10_dir is not None)
        and (rule.weights is None or rule.weights in machine.weights_files)
    )


def _existing(variable: str) -> str | None:
    """The folder that a variable names, None where it is not set. Raises ValueError for one that is not there."""
    folder = os.environ.get(variable)
    if folder and not Path(folder).is_dir():
        raise ValueError(f"{variable}: no folder {folder!r}")
    return folder or None
