"""What pretrained weights took to make: estimated by their tag, else not told."""

import pytest
from safetensors.torch import save_file

from bench.ledger.records import Pretraining
from bench.models.networks import build
from bench.models.pretraining import estimated_price, pretrainings
from bench.models.weights import initial_weights
from tests.unit.models.factory import model_config, weights_config

# Epochs, images, and forward GMAC of an image with the classes of the pretraining, the latter by
# other people's counters.
PUBLISHED = {
    "resnet18.a1_in1k": (600, 1_281_167, 1.814),  # torchvision's docs: 1.81 GFLOPS
    "resnet50.a1_in1k": (600, 1_281_167, 4.089),  # torchvision's docs: 4.09
    "resnet18.tv_in1k": (90, 1_281_167, 1.814),
    "resnet50.tv_in1k": (90, 1_281_167, 4.089),
    "tf_efficientnet_lite0.in1k": (
        218_949 * 2048 / 1_281_167,
        1_281_167,
        0.385,
    ),  # d-li14/efficientnet-lite.pytorch: 0.385
    "vit_huge_patch14_224.orig_in21k": (90, 14_197_122, 167.3),  # the formula below
}


def test_every_estimate_is_what_others_count():
    assert pretrainings().keys() == PUBLISHED.keys()
    for name, (epochs, images, forward_gmac) in PUBLISHED.items():
        network, _, tag = name.partition(".")
        price = estimated_price(model_config(network), tag)
        assert price.flops == pytest.approx(
            epochs * images * 3 * 2 * forward_gmac * 1e9, rel=2e-3
        ), name
        assert price.estimate is True
        assert price.source.startswith(f"{round(epochs)} epochs of {images:,} images at 224 px; ")


def test_a_vision_transformers_count_is_that_of_its_formula():
    """Blocks: 4 D^2 (projections of attention) and 8 D^2 (MLP) a token, two products of all
    tokens with all; patches, head.
    """
    tokens = 16 * 16 + 1
    width = 1280
    blocks = 32
    classes = 21_843
    macs = (
        blocks * (12 * width**2 * tokens + 2 * tokens**2 * width)
        + 256 * 3 * 14 * 14 * width
        + width * classes
    )
    price = estimated_price(model_config("vit_huge_patch14_224"), "orig_in21k")
    assert price.flops == pytest.approx(90 * 14_197_122 * 6 * macs, rel=1e-6)


def test_the_headline_weights_took_8367_pflop_whatever_stem_and_size_they_go_into():
    price = estimated_price(model_config("resnet18.a1_in1k", stem="3x3", input_size=32), "a1_in1k")
    recipe = "recipe A1 of Wightman et al. 2021, arXiv 2110.00476"
    assert price == Pretraining(
        source=f"600 epochs of 1,281,167 images at 224 px; {recipe}",
        flops=600 * 1_281_167 * 6 * 1_814_073_344.0,
        estimate=True,
    )


@pytest.mark.parametrize(
    ("network", "tag"), [("resnet18", None), ("resnet18", "a2_in1k"), ("small_cnn", "a1_in1k")]
)
def test_of_other_weights_nothing_is_told(network, tag):
    assert estimated_price(model_config(network), tag) is None


@pytest.mark.parametrize("transform", [None, "shuffled", "random_matched"])
def test_a_file_is_priced_by_its_tag_though_its_values_be_shuffled(tmp_path, transform):
    lite = build("tf_efficientnet_lite0", 10)
    save_file(lite.state_dict(), tmp_path / "lite.safetensors")
    weights = weights_config(
        file=str(tmp_path / "lite.safetensors"), tag="in1k", transform=transform
    )
    start = initial_weights(model_config("tf_efficientnet_lite0"), weights, lite)
    config = model_config("tf_efficientnet_lite0")
    assert start.facts.pretraining == estimated_price(config, "in1k")
    assert start.facts.pretraining.flops / 1e15 == pytest.approx(1036, rel=1e-3)
