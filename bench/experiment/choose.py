"""What `make bench` runs when nothing is named: the machine, what it has or can fetch, and a small table."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.config.load import arm_config, load
from bench.data import cifar10, download
from bench.experiment.plan import text_table
from bench.models import hub

EXPERIMENTS = Path("configs/experiments")
LAUNCH = Path("launch/accelerate")
GPU, CIFAR10, HUB, LITE0 = "a GPU", "CIFAR-10", "resnet18 a1_in1k", "tf_efficientnet_lite0.safetensors"
# Experiments and what each needs; the first whose needs are all found is taken.
TABLE: dict[str, tuple[str, ...]] = {
    "pretrained_vs_random": (GPU, CIFAR10, HUB),
    "efficientnet_lite0_cpu": (CIFAR10, LITE0),
    "small_cnn": (GPU, CIFAR10),
    "embedded": (),
}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What this machine has for headstart: of each need where it is or comes from, and of each it lacks why."""

    gpus: tuple[str, ...]
    cpu_cores: int
    found: dict[str, str]
    missing: dict[str, str]


def look() -> Machine:
    """See the machine, with torch, which alone knows which GPUs this process may use; asks servers only where it matters."""
    gpus = tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    weights = _folder("HEADSTART_WEIGHTS_DIR")
    lite0 = weights if weights and Path(weights, LITE0).is_file() else None
    ask = bool(gpus or lite0)
    seen = {
        GPU: (f"{len(gpus)} x {gpus[0]}" if gpus else None, "none"),
        CIFAR10: (_cifar10(ask=ask), "set CIFAR10_DIR" + ("; none of data.urls answers" if ask else "")),
        HUB: (_hub(), "neither in the cache nor from the hub") if gpus else (None, "not looked for without a GPU"),
        LITE0: (lite0, "not in HEADSTART_WEIGHTS_DIR" if weights else "set HEADSTART_WEIGHTS_DIR"),
    }
    return Machine(
        gpus=gpus,
        cpu_cores=len(os.sched_getaffinity(0)),
        found={need: where for need, (where, _) in seen.items() if where},
        missing={need: why for need, (where, why) in seen.items() if not where},
    )


def choose(machine: Machine) -> str:
    """The experiment's name that the table gives."""
    return next(experiment for experiment, needs in TABLE.items() if not set(needs) - set(machine.found))


def launch(machine: Machine, gpus: int | None) -> tuple[Path, int, str]:
    """accelerate's file, how many processes, and their layer of configs/hardware, if any. Raises ValueError for too many GPUs."""
    there = len(machine.gpus)
    if gpus is not None and not 1 <= gpus <= there:
        raise ValueError(f"GPUS={gpus}: this machine has {there} CUDA GPUs; allowed: {f'1 to {there}' if there else 'none'}")
    count = gpus or there
    file, layer = {0: ("cpu", ""), 1: ("single_gpu", "gpu_1")}.get(count, ("multi_gpu", "gpu_8"))
    return LAUNCH / f"{file}.yaml", max(1, count), layer


def describe(machine: Machine) -> str:
    """What was found and what is missing, and which experiments need it, for a person."""
    rows = [("", "CPU", f"{machine.cpu_cores} cores", "")]
    for need in (GPU, CIFAR10, HUB, LITE0):
        users = ", ".join(experiment for experiment, needs in TABLE.items() if need in needs)
        rows.append(("", need, machine.found.get(need) or f"no: {machine.missing[need]}", f"for {users}"))
    return text_table(rows, words=4)


def _folder(variable: str) -> str | None:
    """The folder that a variable names, None where it is not set. Raises ValueError for one that is not there."""
    folder = os.environ.get(variable)
    if folder and not Path(folder).exists():
        raise ValueError(f"{variable}: no folder {folder!r}")
    return folder or None


def _cifar10(*, ask: bool) -> str | None:
    if here := _folder("CIFAR10_DIR") or cifar10.downloaded():
        return str(here)
    server = download.answering(load("pretrained_vs_random").data.urls) if ask else None
    return f"to be fetched from {server}" if server else None


def _hub() -> str | None:
    own = arm_config(load("pretrained_vs_random"), "pretrained")
    return hub.available(hub.hub_weights(own.model.name, own.weights))
