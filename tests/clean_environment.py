"""What from outside decides how headstart behaves: cleared for tests, and for what they start.

`clear` is called once, by conftest.py. Where real data and weights lie is read before that.
"""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

# Of headstart and W&B; of accelerate and its plug-ins; of the hub; of torch, its launcher and its
# collectives; of SLURM and MPI; of make, also of a make that runs the tests.
PREFIXES = (
    *("HEADSTART_", "CIFAR10_", "WANDB_", "NETRC"),
    *("ACCELERATE_", "FSDP_", "DEEPSPEED_", "MEGATRON_", "DYNAMO_"),
    *("HF_", "HUGGING", "TRANSFORMERS_"),
    *("TORCH", "PYTORCH_", "TRITON_", "MASTER_", "NCCL_", "GLOO_", "ROLE_"),
    *("SLURM_", "OMPI_", "PMI_"),
    *("MAKE", "MFLAGS", "GNUMAKEFLAGS"),
)
# Ranks; what the verbs of the Makefile take; what `make gpu-day` takes.
NAMES = {
    *("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK"),
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"),
    *("EXP", "ARGS", "GPUS", "K", "PYTHON", "PART", "KIT", "OUT", "WORK"),
}
# Where compiled code lies and how many compile it at once; the interpreter that kernels' tests ask.
KEPT = {
    *("TORCHINDUCTOR_CACHE_DIR", "TORCHINDUCTOR_COMPILE_THREADS"),
    *("TRITON_CACHE_DIR", "TRITON_INTERPRET"),
}

CIFAR10_DIR = os.environ.get("CIFAR10_DIR", "")
WEIGHTS_DIR = Path(os.environ.get("HEADSTART_WEIGHTS_DIR", "/nowhere"))


def is_cleared(name: str) -> bool:
    """Whether a variable is cleared."""
    if name in KEPT:
        return False
    return name in NAMES or name.startswith(PREFIXES)


def cleared(variables: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that are not cleared."""
    return {name: value for name, value in variables.items() if not is_cleared(name)}


def clear(variables: MutableMapping[str, str]) -> None:
    """Clear variables in place."""
    for name in list(variables):
        if is_cleared(name):
            del variables[name]
