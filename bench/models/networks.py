"""Networks by name: our own from the registry, every other from timm, for which this is the one door."""

import contextlib
import copy
import difflib
import functools
import math
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from bench import registry
from bench.config.schema import ModelConfig
from bench.models.counts import Counts
from bench.models.stem import replace_stem

Channels = tuple[float, float, float]


class Resized(nn.Module):
    """A network behind an antialiased resize on the device, as torchvision's: images [N, 3, h, w] -> [N, 3, size, size]."""

    def __init__(self, network: nn.Module, size: int, interpolation: str) -> None:
        super().__init__()
        self.network, self.interpolation = network, interpolation
        self.resize = functools.partial(
            F.interpolate,
            size=(size, size),
            mode=interpolation,
            antialias=True,
            align_corners=False,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, K] of images of any size."""
        return self.network(self.resize(images))


def check_network(name: str) -> None:
    """Raise ValueError, with the nearest names, when neither the registry nor timm has the network."""
    ours = registry.names("network")
    if name not in ours and not timm.is_model(name):
        near = difflib.get_close_matches(name, [*ours, *timm.list_models()], n=1)
        hint = repr(near[0]) if near else "none; timm.list_models() lists them"
        raise ValueError(f"model.name: no network {name!r}; nearest: {hint}")


def build(name: str, classes: int, stem: str = "stock") -> nn.Module:
    """The bare network with random weights from torch's generator. Raises ValueError for an unknown name or stem."""
    check_network(name)
    ours = name in registry.names("network")
    network = (
        registry.resolve("network", name)(classes)
        if ours
        else timm.create_model(name, num_classes=classes)
    )
    if stem != "stock":
        replace_stem(network, name)
    return network


def wrap(network: nn.Module, config: ModelConfig) -> nn.Module:
    """Put the resize in front where the config asks for an input size; have activations computed again where it says so."""
    if config.checkpoint_activations:
        checkpoint_activations(network, config.name)
    return (
        Resized(network, config.input_size, config.interpolation) if config.input_size else network
    )


def checkpoint_activations(network: nn.Module, name: str) -> None:
    """Compute a timm network's activations again in the backward pass. Raises ValueError for one where that cannot be right."""
    problem = "has BatchNorm, whose statistics would count every batch twice"
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        problem, enable = (
            "cannot do it",
            getattr(network, "set_grad_checkpointing", None),
        )  # which our own do not have
        with contextlib.suppress(AssertionError):  # timm's networks without it
            if enable:
                return enable(True)
    raise ValueError(f"model.checkpoint_activations: {name} {problem}; allowed: false")


def preprocessing(
    network: nn.Module, mean: Channels, std: Channels, normalization: str
) -> tuple[Channels, Channels, str]:
    """The mean and deviation that images are normalised with, as fractions of 255, and whose they are.

    A timm network keeps those its weights were trained with, whatever it starts from; others take the data's. `unit` is neither.
    """
    if normalization == "unit":
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "unit"
    if stated := _stated(network):
        return tuple(stated["mean"]), tuple(stated["std"]), "weights"
    return mean, std, "data"


def head_prefixes(network: nn.Module) -> tuple[str, ...]:
    """Prefixes of the classifier's keys in the state dict."""
    names = _stated(network).get("classifier", "head")
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def split_head(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The network without its classifier, and the classifier: head(body(images)) is network(images). Parameters are shared.

    Raises ValueError for a network with several classifiers.
    """
    prefixes = head_prefixes(network)
    if len(prefixes) != 1:
        raise ValueError(
            f"finetune.layers: the network has the classifiers {prefixes}, not one; allowed: all"
        )
    body = part = _shallow(network)
    *parents, leaf = prefixes[0][:-1].split(".")
    for name in parents:
        part._modules[name] = part = _shallow(part.get_submodule(name))
    head, part._modules[leaf] = part.get_submodule(leaf), nn.Identity()
    return body, head


def _shallow(module: nn.Module) -> nn.Module:
    """The same parameters, buffers and children in another module, whose children can be exchanged."""
    copied = copy.copy(module)
    copied._modules = copied._modules.copy()
    return copied


def layer_scales(network: nn.Module, decay: float) -> dict[str, float]:
    """Each parameter's part of the learning rate: 1 in the head, and `decay` times the next layer's in every layer before.

    Layers are timm's own groups; of other networks, a weight with the bias and the normalisation that follow it.
    """
    if matcher := getattr(network, "group_matcher", None):
        layers = group_parameters(network, matcher(coarse=False), reverse=True)
    else:
        ranks = torch.tensor([parameter.ndim for parameter in network.parameters()])
        layers = dict(
            zip(dict(network.named_parameters()), (ranks >= 2).cumsum(0).tolist(), strict=True)
        )
    return {name: decay ** (max(layers.values()) - layer) for name, layer in layers.items()}


def set_batch_norm_momentum(network: nn.Module, momentum: float) -> None:
    """Give every BatchNorm the share that a new batch has in its running statistics."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = momentum


def _stated(network: nn.Module) -> dict[str, Any]:
    """What timm states of a network of its own; nothing of others."""
    return getattr(network, "pretrained_cfg", None) or {}


def count(model: ModelConfig, classes: int, input_size: int) -> Counts:
    """Build on the meta device and count parameters, BatchNorm statistics and the forward pass of one image.

    Raises ValueError where the network cannot take images of that size.
    """
    with torch.device("meta"):
        network = build(model.name, classes, model.stem).eval()
        images = torch.empty(1, 3, input_size, input_size)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(images)
    except (RuntimeError, AssertionError) as error:
        made_for = _stated(network).get("input_size")
        hint = f"; it was made for {made_for[-1]} px" if made_for else ""
        raise ValueError(
            f"model.input_size: {model.name} cannot take images of {input_size} px: {' '.join(str(error).split())}{hint}"
        ) from None
    return Counts(
        parameters=sum(p.numel() for p in network.parameters()),
        statistics=sum(b.numel() for b in network.buffers() if b.is_floating_point()),
        forward_mmac=counter.get_total_flops() / 2e6,
    )


def iso_flop_size(model: ModelConfig, classes: int, size: int, flops: int) -> dict[str, Any]:
    """The input size in pixels whose forward pass comes nearest to so many FLOPs, and its ratio to them.

    One of the first 16 multiples of the network's total stride (of 8 px where that is not told), or the `size` that it has.
    """
    with torch.device("meta"):
        told = getattr(build(model.name, classes, model.stem), "feature_info", None)
    unit, ratios = told[-1]["reduction"] if told and model.stem == "stock" else 8, {}
    for known in {size, *range(unit, 17 * unit, unit)}:
        with contextlib.suppress(ValueError):  # a network may take its own size alone
            ratios[known] = count(model, classes, known).flops_per_image / flops
    best = min(ratios, key=lambda known: abs(math.log(ratios[known])))
    return {"input_size": best, "flops_ratio": ratios[best]}
