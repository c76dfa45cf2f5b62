"""The configs that are shipped: each loads, and is started by its command."""

from pathlib import Path

import pytest

from bench.config.load import arm_config, load
from tests.unit.config.studies import ROOT

EXPERIMENTS = sorted(path.relative_to(ROOT) for path in ROOT.glob("configs/experiments/*.yaml"))
RECIPES = sorted(path.relative_to(ROOT) for path in ROOT.glob("configs/weights/*.yaml"))


@pytest.mark.parametrize("path", [*EXPERIMENTS, *RECIPES], ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_says_what_it_is(path):
    config = load(path)
    assert config.name == path.stem
    for key in ("question", "cost", "command", "expected"):
        assert getattr(config, key).strip(), f"{path}: {key} is empty"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_is_started_by_its_command(path):
    config = load(path)
    assert f"EXP={path}" in config.command.split()
    recipes = [arm_config(config, arm).weights.recipe for arm in config.arms]
    assert {Path(recipe) for recipe in recipes if recipe is not None} <= set(RECIPES)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_names_the_experiment_that_uses_it(path):
    words = load(path).command.split()
    (experiment,) = [Path(word) for word in words if word.endswith(".yaml")]
    assert experiment in EXPERIMENTS
    config = load(experiment)
    assert str(path) in [arm_config(config, arm).weights.recipe for arm in config.arms]


@pytest.mark.parametrize("name", ["embedded", "efficientnet_lite0_cpu"])
def test_the_comparisons_have_seven_blocks(name):
    config = load(name)
    assert config.blocks == 7
    assert {config.baseline, config.primary.arm} == {"random", "pretrained"}
