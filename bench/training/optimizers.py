"""What moves the weights: optimizers by name. They are fused and uncompiled, so a changing rate
is free.
"""

from dataclasses import dataclass, field

import torch
from torch import nn

from bench.config.schema import OptimConfig
from bench.models.layers import layer_scales, without_decay
from bench.models.networks import head_prefixes


@dataclass(frozen=True)
class _GroupKey:
    """What the parameters of an optimizer's group have in common."""

    decays: bool
    lr_scale: float
    is_head: bool


@dataclass(frozen=True)
class _Group:
    parameters: list[nn.Parameter] = field(default_factory=list)


def parameter_groups(network: nn.Module, config: OptimConfig) -> list[dict[str, object]]:
    """Return the optimizer's groups of a network's trained parameters.

    Tensors of two and more dimensions decay, but those that timm lists as exempt; biases and
    normalisation do not. The head, which may be trained first, is apart. `lr_scale`, which torch
    ignores, is a layer's part of the learning rate: the program multiplies with it; `is_head` says
    whose rate rises from when.
    """
    scales = layer_scales(network, config.layer_decay)
    prefixes = head_prefixes(network)
    exempt = without_decay(network)
    groups: dict[_GroupKey, _Group] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            key = _GroupKey(
                decays=parameter.ndim >= 2 and name not in exempt,
                lr_scale=scales[name],
                is_head=name.startswith(prefixes),
            )
            group = groups.setdefault(key, _Group())
            group.parameters.append(parameter)
    torch_groups: list[dict[str, object]] = []
    for key, group in groups.items():
        weight_decay = config.weight_decay if key.decays else 0.0
        torch_groups.append(
            {
                "params": group.parameters,
                "weight_decay": weight_decay,
                "lr_scale": key.lr_scale,
                "is_head": key.is_head,
            }
        )
    return torch_groups


def adamw(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Make AdamW (Loshchilov and Hutter 2019): decay apart from the gradient."""
    return torch.optim.AdamW(
        parameter_groups(network, config),
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        fused=True,
    )


def adam(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Make Adam (Kingma and Ba 2015): decay as part of the gradient."""
    return torch.optim.Adam(
        parameter_groups(network, config),
        lr=config.lr,
        betas=(config.beta1, config.beta2),
        fused=True,
    )


def sgd(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Make SGD with Nesterov momentum; plain SGD where momentum is 0."""
    return torch.optim.SGD(
        parameter_groups(network, config),
        lr=config.lr,
        momentum=config.momentum,
        nesterov=config.momentum > 0,
        fused=True,
    )
