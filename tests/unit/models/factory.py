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
    keys = ("tag", "sha256", "accept_license", "file", "recipe", "stem", "transform")
    none = {key: None for key in keys}
    return WeightsConfig(source=source, **{**none, **changes})
