"""Weights that the harness trained itself say what that took, unless they began from others."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from bench.config.load import arm_config, load
from bench.experiment.plan import recipe_run
from bench.experiment.selftrain import make_card, self_trained
from bench.ledger.json_records import to_json
from bench.ledger.records import PrecisionFacts, Pretraining
from bench.models.networks import build
from bench.models.weights import save_weights
from tests.unit.results_factory import FLOPS_PER_IMAGE, make_result, with_fact

COUNTED = Pretraining(source="resnet18_letters, counted", flops=5e15, estimate=False)


@pytest.mark.parametrize(("train_flops", "price"), [(5e15, COUNTED), (None, None)])
def test_self_trained_weights_have_the_price_on_their_card(
    tmp_path, monkeypatch, train_flops, price
):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path))
    config = arm_config(load("embedded"), "pretrained")
    path = tmp_path / "weights" / f"{recipe_run(config).run_id}-fp32.safetensors"
    card = replace(make_card(make_result([0.5, 0.9], arm="random")), train_flops=train_flops)
    save_weights(path, build("resnet18", 26).state_dict(), to_json(card))
    context = SimpleNamespace(
        precision=PrecisionFacts(name="fp32"),
        world=SimpleNamespace(on_main=lambda work: work()),
    )
    assert self_trained(config, context).facts.pretraining == price


@pytest.mark.parametrize(
    ("source", "train_flops"), [("random", 3 * FLOPS_PER_IMAGE * 640), ("file", None)]
)
def test_a_card_counts_the_flops_of_a_training_from_random_weights(source, train_flops):
    run = with_fact(make_result([0.5, 0.9], arm="random"), "weights", source=source)
    assert make_card(run).train_flops == train_flops
