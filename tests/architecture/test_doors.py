"""One door per library: who may import what from outside, and that pyproject.toml names it."""

import re
import sys
import tomllib
from collections.abc import Iterable

import pytest

from tests.architecture.reading import PACKAGES, ROOMS, ROOT, Import, imports, imports_of
from tests.architecture.test_floors import part

DOORS = {
    "accelerate": {"bench.runtime"},
    "timm": {"bench.models"},
    "huggingface_hub": {"bench.models"},
    "pydantic": {"bench.config", "bench.ledger"},
    "yaml": {"bench.config"},
    "scipy": {"bench.judge"},
    "triton": {"kernels"},
    "wandb": {"bench.trackers"},
    "wandb_workspaces": {"bench.trackers"},
    "rich": {"bench.trackers"},
    "matplotlib": {"bench.report"},
    "jinja2": {"bench.report"},
    "markupsafe": {"bench.report"},
    "nvidia": {"bench.data"},
    "safetensors": {"bench.models", "bench.training"},
    "torch": {
        "kernels",
        "bench.runtime",
        "bench.data",
        "bench.models",
        "bench.training",
        "bench.experiment",
    },
}
KERNELS_MAY_IMPORT = {"torch", "triton"}  # launch: the standard library alone
# Where the package index knows a library by another name, or it comes with another one, as triton.
INDEX_NAMES = {
    "yaml": "pyyaml",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "nvidia": "nvidia-dali-cuda130",
    "triton": "torch",
    "markupsafe": "jinja2",
    "wandb_workspaces": "wandb",
}


def breach(statement: Import) -> str | None:
    """What is wrong with one import, or None."""
    library = statement.of.split(".")[0]
    here = part(statement.by)
    if library in PACKAGES or library in sys.stdlib_module_names:
        return None
    if here == "kernels" and library not in KERNELS_MAY_IMPORT:
        return f"{statement}: kernels may import {', '.join(sorted(KERNELS_MAY_IMPORT))} only"
    if here == "launch":
        return f"{statement}: launch may import the standard library only"
    if library in DOORS and here not in DOORS[library]:
        return f"{statement}: {library} only in {', '.join(sorted(DOORS[library]))}"
    if INDEX_NAMES.get(library, library) not in declared():
        return f"{statement}: {library} is no dependency in pyproject.toml"
    return None


def breaches(statements: Iterable[Import]) -> list[str]:
    """What is wrong with imports, a line each."""
    lines = [breach(statement) for statement in statements]
    return [line for line in lines if line is not None]


def declared() -> set[str]:
    """Names of the runtime dependencies, as the package index writes them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {re.match(r"[\w.-]+", line)[0].lower() for line in project["dependencies"]}


@pytest.mark.parametrize("room", ROOMS)
def test_every_library_has_one_door(room: str):
    assert breaches(imports_of(room)) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bench.training.loop", "from accelerate import Accelerator"),
        ("bench.training.loop", "def step():\n    import timm"),
        ("bench.ledger.store", "import yaml"),
        ("bench.experiment.plan", "from pydantic import TypeAdapter"),
        ("bench.models.stem", "import triton.language as tl"),
        ("bench.training.loop", "import wandb"),
        ("bench.report.pages", "import wandb_workspaces.reports.v2 as wr"),
        ("bench.judge.records", "from pydantic import Field"),
        ("bench.report.figures", "from scipy import stats"),
        ("bench.judge.verdict", "from markupsafe import Markup"),
        ("bench.judge.verdict", "import jinja2"),
        ("bench.cli", "from rich.console import Console"),
        ("bench.trackers.wandb", "import matplotlib.pyplot as plt"),
        ("bench.models.stem", "import nvidia.dali.fn as fn"),
        ("bench.data.cifar10", "from safetensors.torch import load_file"),
        ("bench.ledger.fold", "import torch"),
        ("bench.trackers.console", "import torch"),
        ("bench.config.load", "import importlib\nimportlib.import_module('torch')"),
        ("kernels.pad.op", "import numpy"),
        ("launch.gpu_day", "import pydantic"),
        ("launch.gpu_day", "import numpy"),
        ("bench.data.letters", "import cv2"),
    ],
)
def test_a_second_door_is_reported(module: str, source: str):
    assert breaches(imports(source, module)) != []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "bench.data.builtin",
            "import json\nfrom sklearn.datasets import load_digits\nfrom PIL import Image",
        ),
        ("bench.ledger.json_records", "from pydantic import TypeAdapter"),
        ("bench.judge.statistics", "import numpy\nimport scipy"),
        ("bench.data.dali", "from nvidia.dali import fn\nimport torch"),
        ("kernels.pad.kernel", "import math\nimport torch\nimport triton"),
    ],
)
def test_a_library_at_its_door_is_let_be(module: str, source: str):
    assert breaches(imports(source, module)) == []
