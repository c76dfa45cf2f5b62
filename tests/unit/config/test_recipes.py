"""Recipes whose keys contradict each other, and layers of learning rates."""

import re

import pytest

from bench.config.load import load
from tests.unit.config.studies import refusal, write


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["--finetune.layers=head", "--finetune.head_first_steps=2"],
            "2 of 32 steps leave nothing for finetune.layers head",
        ),
        (
            ["--train.accumulate_steps=2", "--data.last_batch=partial"],
            "data.last_batch: .* cannot be cut into 2 equal parts",
        ),
        (
            ["--weights.stem=crop"],
            "weights.stem: 'crop' makes a 3x3 stem, model.stem is 'stock'; allowed: null",
        ),
        (
            ["--train.stop_patience=3", "--kind=annealed"],
            "train.stop_patience: 3 would end an annealed run before its schedule",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(tmp_path, overrides, said):
    assert re.search(said, refusal(write(tmp_path), *overrides))


def test_a_layer_of_learning_rates_is_for_the_arms_that_there_are(tmp_path):
    """As `bench tune` writes it, under the experiment; references were stored of other rates."""
    study = write(tmp_path, reference={"slow": [1.0]}, arms={"slow": {}, "fast": {}})
    layer = tmp_path / "tuned.yaml"
    layer.write_text("arms:\n  fast: {optim.lr: 0.01}\n")
    config = load(study, [f"--layer={layer}"])
    assert (config.arms, config.reference) == ({"slow": {}, "fast": {"optim.lr": 0.01}}, {})
    assert load(study).reference == {"slow": (1.0,)}
    layer.write_text("arms:\n  fsat: {optim.lr: 0.01}\n")
    assert "no arm 'fsat'; allowed: fast, slow; did you mean 'fast'?" in refusal(
        study, f"--layer={layer}"
    )
    layer.write_text("arms:\n  fast: {optim.lr: 0.01}\n")
    arms = "--arms={slow: {}, fast: {}}"
    assert (
        refusal(study, f"--layer={layer}", arms)
        == f"--arms: would hide the arms of layer {layer}; give one of the two"
    )
    assert load(study, [arms]).arms == {"slow": {}, "fast": {}}


@pytest.mark.parametrize(
    ("overrides", "reference"),
    [
        (["--optim.lr=0.5"], {}),
        (["--confirm_looks=2"], {}),
        (["--primary.threshold=0.3"], {}),
        (["--primary.alpha=0.1"], {"slow": (1.0,)}),
        (["--data.download=false"], {"slow": (1.0,)}),  # where files come from decides nothing
        (["--blocks=2", "--output=elsewhere"], {"slow": (1.0,)}),
        (["--optim.lr=0.5", "--reference={fast: [2]}"], {"fast": (2.0,)}),
        (["--optim.lr=0.5", "--reference.fast=[2]"], {"slow": (1.0,), "fast": (2.0,)}),
    ],
)
def test_a_reference_is_dropped_where_the_runs_become_others(tmp_path, overrides, reference):
    study = write(tmp_path, reference={"slow": [1.0]})
    assert load(study, overrides).reference == reference
