"""Networks by name: this project's own from the registry, every other from timm.

layers.py takes networks apart, counting.py counts them, weights.py fills them.
"""

import difflib
import functools
from dataclasses import dataclass
from typing import NamedTuple

import timm
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench import registry
from bench.config.schema import ModelConfig
from bench.models.stem import replace_stem

Channels = tuple[float, float, float]  # a number for red, green and blue


@dataclass(frozen=True, kw_only=True)
class TimmFacts:
    """What timm states of a network of its own."""

    mean: Channels  # that its weights were trained with, fractions of 255
    std: Channels
    input_size: int  # that its weights were trained with, pixels a side
    classifiers: tuple[str, ...]  # names of its heads, as modules


class Normalization(NamedTuple):
    """The mean and deviation that images are normalised with, as fractions of 255."""

    mean: Channels
    std: Channels
    source: str  # whose they are: weights | data | unit


class Resized(nn.Module):
    """A network behind an antialiased resize on the device, as torchvision's.

    Images [N, 3, h, w] become [N, 3, size, size].
    """

    def __init__(self, network: nn.Module, size: int, interpolation: str) -> None:
        super().__init__()
        self.network = network
        self.interpolation = interpolation
        self.resize = functools.partial(
            F.interpolate,
            size=(size, size),
            mode=interpolation,
            antialias=True,
            align_corners=False,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits [N, K] of images of any size."""
        return self.network(self.resize(images))


def check_network(name: str) -> None:
    """Raise ValueError, with the nearest name, for what neither the registry nor timm has."""
    registered = registry.names("network")
    if name in registered or timm.is_model(name):
        return
    matches = difflib.get_close_matches(name, [*registered, *timm.list_models()], n=1)
    nearest = repr(matches[0]) if matches else "none; timm.list_models() lists them"
    raise ValueError(f"model.name: no network {name!r}; nearest: {nearest}")


def build(name: str, classes: int, stem: str = "stock") -> nn.Module:
    """Build a bare network with random weights from torch's generator.

    Raises ValueError for an unknown name or stem.
    """
    check_network(name)
    network: nn.Module
    if name in registry.names("network"):
        network = registry.resolve("network", name)(classes)
    else:
        network = timm.create_model(name, num_classes=classes)
    if stem != "stock":
        replace_stem(network, name)
    return network


def wrap(network: nn.Module, config: ModelConfig) -> nn.Module:
    """Put a resize in front where the config asks for an input size.

    Activations are computed again where it says so.
    """
    if config.checkpoint_activations:
        checkpoint_activations(network, config.name)
    if config.input_size is None:
        return network
    return Resized(network, config.input_size, config.interpolation)


def checkpoint_activations(network: nn.Module, name: str) -> None:
    """Have a timm network compute its activations again in the backward pass.

    Raises ValueError for a network where that cannot be right.
    """
    sentence = f"model.checkpoint_activations: {name} {{}}; allowed: false"
    if any(isinstance(module, _BatchNorm) for module in network.modules()):
        problem = "has BatchNorm, whose statistics would count every batch twice"
        raise ValueError(sentence.format(problem))
    enable = getattr(network, "set_grad_checkpointing", None)
    if enable is None:  # a network of our own
        raise ValueError(sentence.format("cannot do it"))
    try:
        enable(True)
    except AssertionError:  # timm's networks without it
        raise ValueError(sentence.format("cannot do it")) from None


def timm_facts(network: nn.Module) -> TimmFacts | None:
    """Read what timm states of a network; None of one that is not timm's."""
    stated = getattr(network, "pretrained_cfg", None)
    if not stated:
        return None
    classifiers = stated.get("classifier", "head")
    return TimmFacts(
        mean=tuple(stated["mean"]),
        std=tuple(stated["std"]),
        input_size=stated["input_size"][-1],
        classifiers=(classifiers,) if isinstance(classifiers, str) else tuple(classifiers),
    )


def preprocessing(
    network: nn.Module, mean: Channels, std: Channels, normalization: str
) -> Normalization:
    """Say how a network's images are normalised; `mean` and `std` are the data's.

    A timm network keeps those its weights were trained with, whatever it starts from; others take
    the data's. `unit` is neither.
    """
    if normalization == "unit":
        return Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "unit")
    facts = timm_facts(network)
    if facts is None:
        return Normalization(mean, std, "data")
    return Normalization(facts.mean, facts.std, "weights")


def head_prefixes(network: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the classifier's keys in the state dict."""
    facts = timm_facts(network)
    if facts is None:
        return ("head.",)
    return tuple(f"{name}." for name in facts.classifiers)
