"""What `make bench` runs when nothing is named: what this machine has, and a small table."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.config.load import arm_config, load
from bench.data import cifar10, download
from bench.experiment.plan_text import text_table
from bench.models import hub

EXPERIMENTS = Path("configs/experiments")
LAUNCH = Path("launch/accelerate")
GPU = "a GPU"
CIFAR10 = "CIFAR-10"
HUB = "resnet18 a1_in1k"
LITE0 = "tf_efficientnet_lite0.safetensors"
# Experiments and what each needs; the first whose needs are all there is taken.
NEEDS: Mapping[str, Sequence[str]] = {
    "pretrained_vs_random": (GPU, CIFAR10, HUB),
    "efficientnet_lite0_cpu": (CIFAR10, LITE0),
    "small_cnn": (GPU, CIFAR10),
    "embedded": (),
}


@dataclass(frozen=True, kw_only=True)
class Availability:
    """Where a need is or comes from; None: it is lacking, and `reason` says what to set."""

    place: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How a run is started: accelerate's file, how many processes, a layer of configs/hardware."""

    file: Path
    processes: int
    layer: str | None


def look() -> dict[str, Availability]:
    """See what this machine has of each need.

    With torch, which alone knows which GPUs this process may use. Servers are asked only where it
    matters.
    """
    gpus = torch.cuda.device_count()
    weights_folder = _folder("HEADSTART_WEIGHTS_DIR")
    lite0 = None
    if weights_folder and Path(weights_folder, LITE0).is_file():
        lite0 = weights_folder
    needs_images = bool(gpus or lite0)
    images_reason = "set CIFAR10_DIR"
    if needs_images:
        images_reason += "; none of data.urls answers"
    hub_reason = "not looked for without a GPU"
    if gpus:
        hub_reason = "neither in the cache nor from the hub"
    lite0_reason = "set HEADSTART_WEIGHTS_DIR"
    if weights_folder:
        lite0_reason = "not in HEADSTART_WEIGHTS_DIR"
    return {
        GPU: Availability(place=_gpus_text(gpus), reason="none"),
        CIFAR10: Availability(place=_images(ask_servers=needs_images), reason=images_reason),
        HUB: Availability(place=_hub_weights() if gpus else None, reason=hub_reason),
        LITE0: Availability(place=lite0, reason=lite0_reason),
    }


def choose(available: Mapping[str, Availability]) -> str:
    """Return the first experiment of the table that lacks nothing."""
    for experiment, needs in NEEDS.items():
        if all(available[need].place for need in needs):
            return experiment
    raise AssertionError("the last experiment of the table needs nothing")


def launch(gpus: int | None) -> Launch:
    """Say how a run on so many GPUs is started; None: all there are.

    Raises ValueError for more than this machine has.
    """
    gpus_here = torch.cuda.device_count()
    if gpus is not None and not 1 <= gpus <= gpus_here:
        allowed = f"1 to {gpus_here}" if gpus_here else "none"
        raise ValueError(f"GPUS={gpus}: this machine has {gpus_here} CUDA GPUs; allowed: {allowed}")
    processes = gpus or gpus_here
    if processes == 0:
        return Launch(file=LAUNCH / "cpu.yaml", processes=1, layer=None)
    if processes == 1:
        return Launch(file=LAUNCH / "single_gpu.yaml", processes=1, layer="gpu_1")
    return Launch(file=LAUNCH / "multi_gpu.yaml", processes=processes, layer="gpu_8")


def describe(available: Mapping[str, Availability]) -> str:
    """Say for a person what is here and what is missing, and which experiments need it."""
    rows = [["", "CPU", f"{len(os.sched_getaffinity(0))} cores", ""]]
    for need, availability in available.items():
        users = [experiment for experiment, needs in NEEDS.items() if need in needs]
        place = availability.place or f"no: {availability.reason}"
        rows.append(["", need, place, f"for {', '.join(users)}"])
    return text_table(rows, text_columns=4)


def _gpus_text(gpus: int) -> str | None:
    return f"{gpus} x {torch.cuda.get_device_name(0)}" if gpus else None


def _images(*, ask_servers: bool) -> str | None:
    """Say where CIFAR-10 is or comes from."""
    place = _folder("CIFAR10_DIR") or cifar10.downloaded()
    if place:
        return str(place)
    if ask_servers:
        server = download.answering(load("pretrained_vs_random").data.urls)
        if server:
            return f"to be fetched from {server}"
    return None


def _hub_weights() -> str | None:
    """Say where the headline's ImageNet weights are or come from."""
    config = arm_config(load("pretrained_vs_random"), "pretrained")
    return hub.available(hub.hub_weights(config.model.name, config.weights))


def _folder(variable: str) -> str | None:
    """Return the folder that a variable names, None where it is not set.

    Raises ValueError for one that is not there.
    """
    folder = os.environ.get(variable)
    if folder and not Path(folder).exists():
        raise ValueError(f"{variable}: no folder {folder!r}")
    return folder or None
