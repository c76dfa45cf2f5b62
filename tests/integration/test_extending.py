"""The recipes of docs/extending.md work as they are written.

The files are written below a temporary folder, where Python finds them as parts of `bench` and
`kernels`; the lines for the table in bench/registry.py are registered.
"""

import copy
import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import bench.data
import bench.models
import bench.trackers
import bench.training
import kernels
from bench import registry
from bench.config.load import load
from bench.data.loaders import ResidentLoader
from bench.data.source import Dataset
from bench.models.networks import build
from tests.architecture.style import RULES, breaches_of, size_breaches
from tests.commands import ROOT, environment
from tests.commands import bench as run_bench
from tests.recipes import read_recipes
from tests.unit.data.factory import data_config
from tests.unit.data.test_loaders import make_order, make_spec, make_split, same
from tests.unit.training.factory import make_config

RECIPES = read_recipes()
PACKAGES = (bench.data, bench.models, bench.trackers, bench.training, kernels)
# A module from outside, which makes the recipes' files parts of the packages in another process.
PLUG_INS = """
import importlib
from pathlib import Path

from bench import registry

for name in {packages}:
    folder = Path(__file__).parent / name.replace(".", "/")
    importlib.import_module(name).__path__.append(str(folder))
for kind, name, target in {lines}:
    registry.register(kind, name, target)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recipes")
    RECIPES.write(folder)
    return folder


@pytest.fixture(autouse=True)
def followed(folder, monkeypatch):
    """Every recipe is followed: files can be imported, lines are in the table."""
    modules = set(sys.modules)
    monkeypatch.setattr(registry, "_ENTRIES", copy.deepcopy(registry._ENTRIES))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
    for package in PACKAGES:
        below = str(folder / package.__name__.replace(".", "/"))
        monkeypatch.setattr(package, "__path__", [*package.__path__, below])
    for line in RECIPES.lines:
        registry.register(line.kind, line.name, line.target)
    yield
    for name in set(sys.modules) - modules:
        path = getattr(sys.modules[name], "__file__", None) or ""
        if path.startswith(str(folder)):
            del sys.modules[name]


def test_every_plug_in_point_has_a_recipe():
    kinds = ", ".join(sorted(line.kind for line in RECIPES.lines))
    with pytest.raises(ValueError, match=f"no plug-in point 'none'; allowed: {kinds}$"):
        registry.register("none", "mine", "third_party:Mine")


def test_no_file_of_a_recipe_is_there_already():
    assert [file.path for file in RECIPES.files if (ROOT / file.path).exists()] == []


@pytest.mark.parametrize("line", RECIPES.lines, ids=lambda line: line.kind)
def test_a_line_of_the_table_leads_to_what_its_file_defines(line):
    assert callable(registry.resolve(line.kind, line.name))


@pytest.mark.parametrize("words", RECIPES.of_bench("run", "plan"), ids=" ".join)
def test_each_command_has_a_config_that_loads(words, folder, monkeypatch):
    experiment, *overrides = [word for word in words if word != "--build"]
    monkeypatch.chdir(folder if (folder / experiment).is_file() else ROOT)
    config = load(experiment, overrides)
    assert len(config.arms) == 2


def test_files_that_commands_test_are_there(folder):
    tests = [words for words in RECIPES.commands if words[:3] == ["python", "-m", "pytest"]]
    assert tests != []
    for _, _, _, path, *_ in tests:
        assert is_file_in(path, ROOT, folder), path


def is_file_in(path: str, *folders: Path) -> bool:
    return any((folder / path).is_file() for folder in folders)


@pytest.mark.parametrize("rule", RULES)
def test_recipes_keep_the_rules_of_style(rule):
    texts = {file.path: file.text for file in RECIPES.files if file.path.endswith(".py")}
    assert breaches_of(rule, texts) == []


def test_recipes_are_short_and_say_what_they_are():
    modules = [file for file in RECIPES.files if file.path.endswith(".py")]
    assert modules != []
    for file in modules:
        assert size_breaches(file.path, file.text) == []


@pytest.mark.parametrize("verb", [["check"], ["format", "--check"]], ids=" ".join)
def test_recipes_are_as_ruff_wants_them(verb):
    ours = 'lint.isort.known-first-party=["bench", "kernels", "tests"]'  # which ruff finds on disk
    for file in RECIPES.files:
        if not file.path.endswith(".py"):
            continue
        options = ["--config", ours, "--stdin-filename", file.path]
        command = [sys.executable, "-m", "ruff", *verb, *options, "-"]
        done = subprocess.run(command, cwd=ROOT, input=file.text, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_the_source():
    dataset: Dataset = registry.resolve("source", "stripes")(data_config(source="stripes"))
    counts = [len(split.labels) for split in (dataset.train, dataset.val, dataset.test)]
    assert counts == [1_400, 300, 300]
    rows = dataset.train.images.mean(axis=(2, 3))  # [N, H]
    is_lying = np.ptp(rows, axis=1) > 60
    assert np.array_equal(is_lying, dataset.train.labels == 0)


def test_the_loader_gives_the_batches_of_the_others():
    split = make_split()
    spec = make_spec(cutout=3)
    order = make_order()
    loader = registry.resolve("loader", "plain")(split, spec)
    batches = zip(
        loader.batches(order, 2, 5),
        ResidentLoader(split, spec).batches(order, 2, 5),
        strict=True,
    )
    for batch, resident_batch in batches:
        same(batch, resident_batch)


def test_the_network():
    network = build("perceptron", 7)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert list(network.state_dict())[-1] == "head.bias"


def test_the_optimizer_has_plain_momentum():
    network = torch.nn.Linear(2, 1, bias=False)
    network.weight.data.zero_()
    config = replace(make_config().optim, lr=0.5, momentum=0.5, weight_decay=0.0)
    optimizer = registry.resolve("optimizer", "heavy_ball")(network, config)
    places = []
    for _ in range(3):
        network.weight.grad = torch.ones_like(network.weight)
        optimizer.step()
        places.append(network.weight[0, 0].item())
    assert places == [-0.5, -1.25, -2.125]  # by 0.5, 0.5 * 1.5, 0.5 * 1.75


def test_the_schedules():
    linear = registry.resolve("schedule", "linear")
    assert [linear(step, 2, 6) for step in range(6)] == [0.5, 1, 1, 0.75, 0.5, 0.25]
    halved = importlib.import_module("steps").halved
    assert [halved(step, 2, 6) for step in range(6)] == [0.5, 1, 1, 0.5, 0.5, 0.5]


def test_the_module_from_outside_registers_its_schedule():
    config = load("two_rates.yaml", ["--imports=[steps]", "--schedule.name=halved"])
    assert config.schedule.name == "halved"
    assert registry.resolve("schedule", "halved")(0, 2, 6) == 0.5


def test_the_trackers_own_test(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    scope: dict[str, object] = {}
    exec((folder / "tests/unit/trackers/test_csv.py").read_text(), scope)
    scope["test_a_line_for_each_evaluation_on_val"](tmp_path)


def test_the_kernel_interpreted_and_the_op(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    op = importlib.import_module("kernels.scale.op")
    kernel = importlib.import_module("kernels.scale.kernel")
    values = torch.randn(kernel.BLOCK + 1, generator=torch.Generator().manual_seed(0))
    out = torch.empty_like(values)
    kernel.launch(values, out, 3.0)
    assert torch.equal(out, values * 3)
    assert torch.equal(op.scale(values, 3.0), values * 3)
    with pytest.raises(TypeError, match=r"torch\.float32, not torch\.float64"):
        op.scale(values.double(), 3.0)


def test_a_study_with_all_of_them(folder, tmp_path):
    packages = [package.__name__ for package in PACKAGES]
    lines = [(line.kind, line.name, line.target) for line in RECIPES.lines]
    (folder / "all_recipes.py").write_text(PLUG_INS.format(packages=packages, lines=lines))
    done = run_bench(
        *("run", "tests/experiments/tiny.yaml", f"--output={tmp_path}", "--blocks=1"),
        *("--data.source=stripes", "--data.loader=plain", "--model.name=perceptron"),
        *("--optim.name=heavy_ball", "--schedule.name=linear", "--trackers=[csv]"),
        "--imports=[all_recipes]",
        env=environment(tmp_path, PYTHONPATH=str(folder)),
    )
    assert done.returncode == 0, done.stderr
    lines_of_csv = (tmp_path / "tiny" / "evaluations.csv").read_text().splitlines()
    assert len(lines_of_csv) == 2 * 8  # two runs, an evaluation every 128 of 1,024 images
