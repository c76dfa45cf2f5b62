"""What a machine is and whether all that headstart imports works there; torch itself may be
missing.

python -m bench.experiment.machine --json FILE
"""

import argparse
import importlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.results.store import write_json

# What decides the rest of a day first: where this is cut short, what was found so far is kept.
MODULES = (
    "torch",
    "nvidia.dali.plugin.pytorch",
    "triton",
    "accelerate",
    "timm",
    "pydantic",
    "wandb",
    "xdist",
    "kernels.augment.op",
    "bench.data.dali",
    "bench.experiment.suite",
)
GPU_FIELDS = (
    "name",
    "driver_version",
    "clocks.sm",
    "clocks.max.sm",
    "clocks.mem",
    "clocks.max.mem",
    "power.limit",
    "memory.total",
    "temperature.gpu",
)


@dataclass(frozen=True, kw_only=True)
class ImportCheck:
    """Say how long a module took to import, and what was raised, if anything."""

    seconds: float
    error: str | None


def check_import(name: str) -> ImportCheck:
    """Import a module; whatever it raises is recorded."""
    start_s = time.monotonic()
    error = None
    try:
        importlib.import_module(name)
    except Exception as raised:
        error = _text(raised)
    return ImportCheck(seconds=round(time.monotonic() - start_s, 2), error=error)


def gpu_fields() -> dict[str, str]:
    """Read the first GPU's clocks, power limit and driver from nvidia-smi; nothing where it is
    not.
    """
    if shutil.which("nvidia-smi") is None:
        return {}
    query = ["nvidia-smi", f"--query-gpu={','.join(GPU_FIELDS)}", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    lines = answer.stdout.splitlines()
    if answer.returncode != 0 or not lines:
        return {"error": (answer.stderr or answer.stdout).strip()[:300]}
    return dict(zip(GPU_FIELDS, lines[0].split(", "), strict=True))


def dali_batch() -> dict[str, str]:
    """Make one batch of white images by the `dali` loader on this machine's device; say what it
    is.
    """
    import numpy as np
    import torch

    from bench import registry
    from bench.data.batches import LoaderSpec
    from bench.data.order import Augmentation, Order
    from bench.data.source import Split

    is_cuda = torch.cuda.is_available()
    spec = LoaderSpec(
        device=torch.device("cuda" if is_cuda else "cpu"),
        dtype=torch.float16 if is_cuda else torch.float32,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        augmentation=Augmentation(pad=2, pad_mode="reflect", flip="random", cutout=0),
        threads=1,
    )
    split = Split(images=np.full((8, 8, 8, 3), 255, np.uint8), labels=np.zeros(8, np.int64))
    order = Order(samples=8, global_batch_size=4, rank=0, world_size=1, seed=0, last_batch="drop")
    loader = registry.resolve("loader", "dali")(split, spec)
    images = next(iter(loader.batches(order, 0, 1))).images
    pixel = images[0, :, 0, 0].tolist()
    if pixel != [1.0, 1.0, 1.0]:
        raise RuntimeError(f"a white pixel came out as {pixel}, not as 1 in each channel")
    return {"batch": f"{tuple(images.shape)} {images.dtype} on {images.device}"}


def torch_facts() -> dict[str, Any]:
    """Record the environment facts, and the GPU as torch sees it (null: none)."""
    import torch

    from bench.runtime.environment import environment_facts

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "gpu": torch.cuda.get_device_name() if device.type == "cuda" else None,
        "cudnn": torch.backends.cudnn.version(),
        "environment": environment_facts(device, 1),
    }


def look(path: Path) -> bool:
    """Write all facts to a JSON file, anew after each; whether torch and our own modules work."""
    content: dict[str, Any] = {"gpu": None, "nvidia_smi": gpu_fields(), "imports": {}}
    content["torch"] = _recorded(torch_facts)
    content["gpu"] = content["torch"].get("gpu")
    for name in MODULES:
        content["imports"][name] = asdict(check_import(name))
        write_json(path, content)
    content["dali_batch"] = _recorded(dali_batch)
    write_json(path, content)
    print(json.dumps(content, indent=1), flush=True)
    suite = content["imports"]["bench.experiment.suite"]
    return suite["error"] is None and "error" not in {**content["torch"], **content["dali_batch"]}


def _recorded(facts: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Facts, or as their only one the error that was raised."""
    try:
        return facts()
    except Exception as error:
        return {"error": _text(error)}


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


def main(arguments: Sequence[str]) -> int:
    """Look at this machine. Exit codes: 0 all works, 1 something does not."""
    parser = argparse.ArgumentParser(prog="bench.experiment.machine", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where the facts go")
    args = parser.parse_args(arguments)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    return 0 if look(args.json) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
