"""What `make bench` runs when nothing is named: the machine, what it has or can fetch, and a small table."""

import os
from dataclasses import dataclass
from pathlib import Path

EXPERIMENTS = Path("configs/experiments")
LAUNCH = Path("launch/accelerate")
GPU, CIFAR10, HUB, LITE0 = "a GPU", "CIFAR-10", "resnet18 a1_in1k", "tf_efficientnet_lite0.safetensors"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What this machine has for headstart: of each need where it is or comes from, and of each it lacks why."""

    gpus: tuple[str, ...]
    cpu_cores: int
    found: dict[str, str]
    missing: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A row of the table: an experiment, and what it needs."""

    experiment: str
    needs: tuple[str, ...]


# The first row whose needs are all found is taken.
TABLE = (
    Rule(experiment="pretrained_vs_random", needs=(GPU, CIFAR10, HUB)),
    Rule(experiment="efficientnet_lite0_cpu", needs=(CIFAR10, LITE0)),
    Rule(experiment="small_cnn", needs=(GPU, CIFAR10)),
    Rule(experiment="embedded", needs=()),
)


def look() -> Machine:
    """See the machine. Imports torch, which alone knows which GPUs this process may use; asks servers only where it matters."""
    import torch

    gpus = tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    found: dict[str, str] = {}
    missing: dict[str, str] = {}

    def note(need: str, where: str | None, why: str) -> None:
        (found if where else missing)[need] = where or why

    note(GPU, f"{len(gpus)} x {gpus[0]}" if gpus else None, "none")
    note(LITE0, _file(LITE0), "not in HEADSTART_WEIGHTS_DIR" if _folder("HEADSTART_WEIGHTS_DIR") else "set HEADSTART_WEIGHTS_DIR")
    asked = bool(gpus) or LITE0 in found
    note(CIFAR10, _cifar10(ask=asked), "set CIFAR10_DIR" + ("; none of data.urls answers" if asked else ""))
    note(HUB, _hub() if gpus else None, "neither in the cache nor from the hub" if gpus else "not looked for without a GPU")
    return Machine(gpus=gpus, cpu_cores=len(os.sched_getaffinity(0)), found=found, missing=missing)


def choose(machine: Machine) -> str:
    """The experiment's name that the table gives."""
    return next(rule.experiment for rule in TABLE if not _lacks(rule, machine))


def launch_file(machine: Machine, gpus: int | None) -> tuple[Path, int]:
    """accelerate's config file and the number of processes. Raises ValueError where more GPUs are asked for than there are."""
    if gpus is not None and not 1 <= gpus <= len(machine.gpus):
        allowed = f"1 to {len(machine.gpus)}" if machine.gpus else "none"
        raise ValueError(f"GPUS={gpus}: this machine has {len(machine.gpus)} CUDA GPUs; allowed: {allowed}")
    count = gpus or len(machine.gpus)
    return LAUNCH / {0: "cpu.yaml", 1: "single_gpu.yaml"}.get(count, "multi_gpu.yaml"), max(1, count)


def hardware_layer(machine: Machine, processes: int) -> str:
    """The layer of configs/hardware for so many processes; empty on a CPU."""
    return "" if not machine.gpus else "gpu_1" if processes == 1 else "gpu_8"


def describe(machine: Machine) -> str:
    """What was found and what is missing, for a person."""
    seen = {"CPU": f"{machine.cpu_cores} cores", **machine.found, **{need: f"no: {why}" for need, why in machine.missing.items()}}
    return "\n".join(f"  {need:<36}{seen[need]}" for need in ("CPU", GPU, CIFAR10, HUB, LITE0))


def table_text(machine: Machine) -> str:
    """The table, with what each row lacks; the row taken marked."""
    taken = choose(machine)
    lines = [f"  {'experiment':<24}{'needs':<54}missing here"]
    for rule in TABLE:
        lacks = "<- taken" if rule.experiment == taken else ", ".join(_lacks(rule, machine)) or "nothing"
        lines.append(f"  {rule.experiment:<24}{', '.join(rule.needs) or 'nothing':<54}{lacks}")
    return "\n".join(lines)


def _lacks(rule: Rule, machine: Machine) -> list[str]:
    return [need for need in rule.needs if need not in machine.found]


def _folder(variable: str) -> str | None:
    """The folder that a variable names, None where it is not set. Raises ValueError for one that is not there."""
    folder = os.environ.get(variable)
    if folder and not Path(folder).exists():
        raise ValueError(f"{variable}: no folder {folder!r}")
    return folder or None


def _file(name: str) -> str | None:
    folder = _folder("HEADSTART_WEIGHTS_DIR")
    return folder if folder and (Path(folder) / name).is_file() else None


def _cifar10(*, ask: bool) -> str | None:
    from bench.config.load import load
    from bench.data.cifar10 import downloaded
    from bench.data.download import answering

    if here := _folder("CIFAR10_DIR") or downloaded():
        return str(here)
    server = answering(load(TABLE[0].experiment).data.urls) if ask else None
    return f"to be fetched from {server}" if server else None


def _hub() -> str | None:
    from bench.config.load import arm_config, load
    from bench.models.hub import available, hub_weights

    own = arm_config(load(TABLE[0].experiment), "pretrained")
    return available(hub_weights(own.model.name, own.weights))
