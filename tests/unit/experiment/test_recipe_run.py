"""Which recipes make the weights that an arm needs."""

import pytest

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
