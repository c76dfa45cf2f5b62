"""What `make bench` runs when nothing is named: the machine, what it has or can fetch, and a small table."""

import os
from pathlib import Path

import torch

from bench.config.load import arm_config, load
from bench.data import cifar10, download
from bench.experiment.plan import text_table
from bench.models import hub

EXPERIMENTS = Path("configs/experiments")
LAUNCH = Path("launch/accelerate")
GPU, CIFAR10, HUB, LITE0 = (
    "a GPU",
    "CIFAR-10",
    "resnet18 a1_in1k",
    "tf_efficientnet_lite0.safetensors",
)
# Experiments and what each needs; the first whose needs are all found is taken.
TABLE: dict[str, tuple[str, ...]] = {
    "pretrained_vs_random": (GPU, CIFAR10, HUB),
    "efficientnet_lite0_cpu": (CIFAR10, LITE0),
    "small_cnn": (GPU, CIFAR10),
    "embedded": (),
}
Seen = dict[
    str, tuple[str | None, str]
]  # of each need where it is or comes from, or None, and why it would be lacking


def look() -> Seen:
    """See the machine, with torch, which alone knows which GPUs this process may use; asks servers only where it matters."""
    gpus = torch.cuda.device_count()
    weights = _folder("HEADSTART_WEIGHTS_DIR")
    lite0 = weights if weights and Path(weights, LITE0).is_file() else None
    ask = bool(gpus or lite0)
    shipped = load("pretrained_vs_random")
    images = _folder("CIFAR10_DIR") or cifar10.downloaded()
    if not images and ask and (server := download.answering(shipped.data.urls)):
        images = f"to be fetched from {server}"
    own = arm_config(shipped, "pretrained")
    resnet18 = hub.available(hub.hub_weights(own.model.name, own.weights)) if gpus else None
    return {
        GPU: (f"{gpus} x {torch.cuda.get_device_name(0)}" if gpus else None, "none"),
        CIFAR10: (
            str(images or ""),
            "set CIFAR10_DIR" + ("; none of data.urls answers" if ask else ""),
        ),
        HUB: (
            resnet18,
            "neither in the cache nor from the hub" if gpus else "not looked for without a GPU",
        ),
        LITE0: (lite0, "not in HEADSTART_WEIGHTS_DIR" if weights else "set HEADSTART_WEIGHTS_DIR"),
    }


def choose(seen: Seen) -> str:
    """The experiment's name that the table gives."""
    return next(
        experiment for experiment, needs in TABLE.items() if all(seen[need][0] for need in needs)
    )


def launch(gpus: int | None) -> tuple[Path, int, str]:
    """accelerate's file, how many processes, and their layer of configs/hardware, if any. Raises ValueError for too many GPUs."""
    there = torch.cuda.device_count()
    if gpus is not None and not 1 <= gpus <= there:
        raise ValueError(
            f"GPUS={gpus}: this machine has {there} CUDA GPUs; allowed: {f'1 to {there}' if there else 'none'}"
        )
    count = gpus or there
    file, layer = {0: ("cpu", ""), 1: ("single_gpu", "gpu_1")}.get(count, ("multi_gpu", "gpu_8"))
    return LAUNCH / f"{file}.yaml", max(1, count), layer


def describe(seen: Seen) -> str:
    """What was found and what is missing, and which experiments need it, for a person."""
    rows = [("", "CPU", f"{len(os.sched_getaffinity(0))} cores", "")]
    for need, (where, why) in seen.items():
        users = ", ".join(experiment for experiment, needs in TABLE.items() if need in needs)
        rows.append(("", need, where or f"no: {why}", f"for {users}"))
    return text_table(rows, words=4)


def _folder(variable: str) -> str | None:
    """The folder that a variable names, None where it is not set. Raises ValueError for one that is not there."""
    folder = os.environ.get(variable)
    if folder and not Path(folder).exists():
        raise ValueError(f"{variable}: no folder {folder!r}")
    return folder or None
