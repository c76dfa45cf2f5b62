"""Which recipes make the weights that an arm needs."""

from pathlib import Path

import pytest
import yaml

from bench.config.load import arm_config, load
from bench.experiment.plan import recipe_run
from tests.unit.config.studies import write


def test_weights_of_a_stock_stem_serve_a_3x3_one_that_says_how(tmp_path):
    (tmp_path / "of_weights").mkdir()
    recipe = write(tmp_path / "of_weights", model={"name": "resnet18"})
    needed = {
        "weights.source": "self",
        "weights.recipe": str(recipe),
        "model.name": "resnet18",
        "model.stem": "3x3",
    }
    arms = {"slow": {}, "fast": {**needed, "weights.stem": "resample"}, "lost": needed}
    config = load(write(tmp_path, arms=arms, factors=["weights", "model", "optim.lr"]))
    assert recipe_run(arm_config(config, "fast")).config.model.stem == "stock"
    with pytest.raises(
        ValueError, match=r"trains 'resnet18' \(stock stem\), the arm needs 'resnet18' \(3x3 stem\)"
    ):
        recipe_run(arm_config(config, "lost"))


def test_the_recipe_of_another_network_is_refused():
    config = load("embedded", ["--arms.pretrained.model.name=small_cnn"])
    with pytest.raises(
        ValueError, match=r"^weights\.recipe: .* trains 'resnet18' .*, the arm needs 'small_cnn'"
    ):
        recipe_run(arm_config(config, "pretrained"))


def test_a_recipe_is_one_run_and_does_not_itself_start_from_a_recipe(tmp_path):
    config = load("embedded")
    run = recipe_run(arm_config(config, "pretrained"))
    assert (run.seed, run.block, run.config.weights.source) == (0, 0, "random")
    circle = tmp_path / "circle.yaml"
    recipe = yaml.safe_load(Path(config.arms["pretrained"]["weights.recipe"]).read_text())
    weights = {"source": "self", "recipe": config.arms["pretrained"]["weights.recipe"]}
    circle.write_text(yaml.safe_dump({**recipe, "weights": weights}))
    study = load("embedded", [f"--arms.pretrained.weights.recipe={circle}"])
    with pytest.raises(ValueError, match=r"circle\.yaml itself starts from self-trained weights"):
        recipe_run(arm_config(study, "pretrained"))
