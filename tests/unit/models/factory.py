"""Configs of networks and weights for the tests, plain but for what a test changes."""

from bench.config.schema import ModelConfig, WeightsConfig


def model_config(name: str = "small_cnn", **changes) -> ModelConfig:
    plain = {
        "stem": "stock",
        "input_size": None,
        "interpolation": "bicubic",
        "checkpoint_activations": False,
    }
    return ModelConfig(name=name, **{**plain, **changes})


def weights_config(source: str = "file", **changes) -> WeightsConfig:
    plain = {
        "tag": None,
        "sha256": None,
        "accept_license": None,
        "file": None,
        "recipe": None,
        "stem": None,
        "transform": None,
    }
    return WeightsConfig(source=source, **{**plain, **changes})
