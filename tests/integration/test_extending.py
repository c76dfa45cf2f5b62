"""The recipes of docs/extending.md, saved and run as they stand there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.config.load import load
from tests.commands import ROOT, TINY, bench, environment

RECIPE = re.compile(
    r"[Ss]ave\s+as\s+`([\w./]+)`:\s*\n\n```\w+\n(.*?)^```", re.DOTALL | re.MULTILINE
)
COMMAND = re.compile(r"^python -m bench run .*$", re.MULTILINE)
KINDS = ("source", "loader", "network", "optimizer", "schedule", "tracker")
CHECK_KERNEL = """
import sys
import torch
import kernels
kernels.__path__.append(sys.argv[1])
from kernels.scale.kernel import launch
from kernels.scale.reference import scale
for count in (1, 1023, 1024, 1025):
    x = torch.randn(count)
    assert torch.equal(launch(x, 0.5), scale(x, 0.5))
"""


@pytest.fixture(scope="module")
def page() -> str:
    """The page, with commands that go on on the next line in one."""
    text = (ROOT / "docs" / "extending.md").read_text()
    return re.sub(r" \\\n +", " ", text)


@pytest.fixture(scope="module")
def recipes(page, tmp_path_factory) -> Path:
    """A folder with every file that the page has its reader save."""
    folder = tmp_path_factory.mktemp("recipes")
    for name, content in RECIPE.findall(page):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def overrides_of(page: str) -> list[str]:
    """What the page's commands say of the plug-ins, all of it together."""
    overrides = []
    modules = []
    for command in COMMAND.findall(page):
        for word in command.split()[5:]:
            if word.startswith("--imports="):
                modules.append(word.removeprefix("--imports=").strip("[]"))
            elif not word.startswith("--output="):
                overrides.append(word)
    names = sorted(set(",".join(modules).split(",")))
    return [*overrides, f"--imports=[{','.join(names)}]"]


def test_every_plug_in_has_a_recipe_and_a_command(recipes, page):
    for kind in KINDS:
        assert (recipes / f"my_{kind}.py").is_file(), kind
        assert f"my_{kind}]" in page, kind


def test_all_plug_ins_run_in_one_study(recipes, page, tmp_path):
    overrides = overrides_of(page)
    assert "--data.source=stripes" in overrides
    env = environment(tmp_path, PYTHONPATH=str(recipes))
    done = bench("run", TINY, *overrides, "--blocks=1", f"--output={tmp_path}", env=env)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "tiny" / "report.json").read_text())
    assert report["dataset"]["name"] == "stripes"
    results = [json.loads(path.read_text()) for path in tmp_path.glob("tiny/*/result.json")]
    assert [result["status"] for result in results] == ["completed", "completed"]
    config = results[0]["start"]["config"]
    assert config["data"]["loader"] == "plain"
    assert config["model"]["name"] == "perceptron"
    assert config["optim"]["name"] == "rmsprop"
    assert config["schedule"]["name"] == "linear"
    rows = (tmp_path / "tiny" / "accuracies.csv").read_text().splitlines()
    val_rows = [row for row in rows if ",val," in row]
    assert len(val_rows) == 2 * 8


def test_the_arm_of_the_page_is_a_study(recipes):
    config = load(recipes / "my_study.yaml")
    assert list(config.arms) == ["usual", "low"]


def test_the_kernel_of_the_page_is_its_reference(recipes):
    env = environment(recipes, TRITON_INTERPRET="1")
    command = [sys.executable, "-c", CHECK_KERNEL, str(recipes / "kernels")]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
