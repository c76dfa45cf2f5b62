"""What pretrained weights took to make: estimated by their tag, else not told."""

from typing import NamedTuple

import pytest
from safetensors.torch import save_file

from bench.ledger.records import Pretraining
from bench.models.networks import build
from bench.models.pretraining import estimated_price, pretrainings
from bench.models.weights import initial_weights
from tests.unit.models.factory import model_config, weights_config

IMAGENET_1K = 1_281_167
IMAGENET_21K = 14_197_122


class Training(NamedTuple):
    """Epochs of the pretraining, its images, and the forward GMAC of one, its classifier with it.

    The GMAC are by other people's counters.
    """

    epochs: float
    images: int
    forward_gmac: float

    @property
    def flops(self) -> float:
        """Two operations a multiply-accumulate; a backward pass costs two forward ones."""
        return self.epochs * self.images * 3 * 2 * self.forward_gmac * 1e9


PUBLISHED = {
    # torchvision's docs: 1.81 and 4.09 GFLOPS
    "resnet18.a1_in1k": Training(600, IMAGENET_1K, 1.814),
    "resnet50.a1_in1k": Training(600, IMAGENET_1K, 4.089),
    "resnet18.tv_in1k": Training(90, IMAGENET_1K, 1.814),
    "resnet50.tv_in1k": Training(90, IMAGENET_1K, 4.089),
    # d-li14/efficientnet-lite.pytorch: 0.385; 218,949 steps of 2,048 images
    "tf_efficientnet_lite0.in1k": Training(218_949 * 2048 / IMAGENET_1K, IMAGENET_1K, 0.385),
    # the formula below
    "vit_huge_patch14_224.orig_in21k": Training(90, IMAGENET_21K, 167.3),
}


def test_every_estimate_is_of_published_weights():
    assert pretrainings().keys() == PUBLISHED.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_estimate_is_what_others_count(name):
    network, _, tag = name.partition(".")
    published = PUBLISHED[name]
    price = estimated_price(model_config(network), tag)
    assert price.flops == pytest.approx(published.flops, rel=2e-3)
    assert price.estimate is True
    beginning = f"{round(published.epochs)} epochs of {published.images:,} images at 224 px; "
    assert price.source.startswith(beginning)


def test_a_vision_transformers_count_is_that_of_its_formula():
    """Multiply-accumulates of its blocks, the patches in front of them, and its head."""
    tokens = 16 * 16 + 1
    width = 1280
    blocks = 32
    classes = 21_843
    attention_projections = 4 * width**2 * tokens
    attention_products = 2 * tokens**2 * width  # two, of all tokens with all
    mlp = 8 * width**2 * tokens
    patches = 256 * 3 * 14 * 14 * width
    head = width * classes
    macs = blocks * (attention_projections + attention_products + mlp) + patches + head
    price = estimated_price(model_config("vit_huge_patch14_224"), "orig_in21k")
    assert price.flops == pytest.approx(90 * IMAGENET_21K * 6 * macs, rel=1e-6)


def test_the_headline_weights_took_8367_pflop_whatever_stem_and_size_they_go_into():
    price = estimated_price(model_config("resnet18.a1_in1k", stem="3x3", input_size=32), "a1_in1k")
    recipe = "recipe A1 of Wightman et al. 2021, arXiv 2110.00476"
    assert price == Pretraining(
        source=f"600 epochs of 1,281,167 images at 224 px; {recipe}",
        flops=600 * IMAGENET_1K * 6 * 1_814_073_344.0,
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
    path = str(tmp_path / "lite.safetensors")
    weights = weights_config(file=path, tag="in1k", transform=transform)
    model = model_config("tf_efficientnet_lite0")
    pretraining = initial_weights(model, weights, lite).facts.pretraining
    assert pretraining == estimated_price(model, "in1k")
    assert pretraining.flops / 1e15 == pytest.approx(1036, rel=1e-3)
