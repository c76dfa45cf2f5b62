"""Looks at a machine: what it is, and whether all that headstart imports works there.

torch itself may be missing. machine_record.py says what is written.

    python -m bench.experiment.machine --json FILE
"""

import argparse
import importlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from bench.experiment.machine_record import (
    GPU_FIELDS,
    DaliCheck,
    ImportCheck,
    MachineFacts,
    TorchFacts,
)
from bench.files import write_json

ERROR_LENGTH = 500
SUITE = "bench.experiment.suite"

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
    SUITE,
)


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
    """Read the first GPU's clocks, power limit and driver from nvidia-smi.

    Empty where there is none; its message as `error` where it fails.
    """
    if shutil.which("nvidia-smi") is None:
        return {}
    query = ["nvidia-smi", f"--query-gpu={','.join(GPU_FIELDS)}", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    lines = answer.stdout.splitlines()
    if answer.returncode != 0 or not lines:
        return {"error": (answer.stderr or answer.stdout).strip()[:300]}
    return dict(zip(GPU_FIELDS, lines[0].split(", "), strict=True))


def dali_batch() -> str:
    """Make one batch of white images by the `dali` loader, and say what it is.

    It is made on this machine's device. Raises RuntimeError where white does not come out as 1.
    """
    import numpy as np
    import torch

    from bench import registry
    from bench.data.batches import LoaderSpec
    from bench.data.order import Augmentation, Order
    from bench.data.source import Split

    device = torch.device("cpu")
    dtype = torch.float32
    if torch.cuda.is_available():
        device = torch.device("cuda")
        dtype = torch.float16
    spec = LoaderSpec(
        device=device,
        dtype=dtype,
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
    return f"{tuple(images.shape)} {images.dtype} on {images.device}"


def check_dali() -> DaliCheck:
    """Make a batch by DALI; whatever it raises is recorded."""
    try:
        return DaliCheck(batch=dali_batch())
    except Exception as error:
        return DaliCheck(error=_text(error))


def torch_facts() -> TorchFacts:
    """Record what torch sees; whatever it raises, an import's error too, is recorded."""
    try:
        import torch

        from bench.runtime.environment import environment_facts

        is_cuda = torch.cuda.is_available()
        device = torch.device("cuda" if is_cuda else "cpu")
        return TorchFacts(
            gpu=torch.cuda.get_device_name() if is_cuda else None,
            cudnn=torch.backends.cudnn.version(),
            environment=environment_facts(device, 1),
        )
    except Exception as error:
        return TorchFacts(error=_text(error))


def look(path: Path) -> bool:
    """Write all facts to a JSON file, anew after each; whether torch and our own modules work."""
    facts = torch_facts()
    machine = MachineFacts(gpu=facts.gpu, nvidia_smi=gpu_fields(), torch=facts)
    for name in MODULES:
        imports = {**machine.imports, name: check_import(name)}
        machine = replace(machine, imports=imports)
        write_json(path, asdict(machine))
    dali = check_dali()
    machine = replace(machine, dali_batch=dali)
    write_json(path, asdict(machine))
    print(json.dumps(asdict(machine), indent=1), flush=True)
    errors = [machine.imports[SUITE].error, facts.error, dali.error]
    return errors == [None, None, None]


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:ERROR_LENGTH]


def main(arguments: Sequence[str]) -> int:
    """Look at this machine. Exit codes: 0 all works, 1 something does not."""
    parser = argparse.ArgumentParser(prog="bench.experiment.machine", description=__doc__)
    parser.add_argument("--json", type=Path, required=True, help="where the facts go")
    args = parser.parse_args(arguments)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    return 0 if look(args.json) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
