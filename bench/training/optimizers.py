"""What moves the weights, how fast and how long: optimizers and learning rates by name, and how a run reacts to its val losses.

Uncompiled, so a changing rate costs nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bench.config.schema import ExperimentConfig, OptimConfig
from bench.models.networks import head_prefixes, layer_scales


def _common(network: nn.Module, config: OptimConfig) -> dict[str, Any]:
    """Fused; tensors of two and more dimensions decay, biases and normalisation do not; the head, perhaps first, is apart.

    `lr_scale`, which torch ignores, is a layer's part of the learning rate: the program multiplies with it.
    """
    scales, heads = layer_scales(network, config.layer_decay), head_prefixes(network)
    groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(
                (parameter.ndim >= 2, scales[name], name.startswith(heads)), []
            ).append(parameter)
    params = [
        {
            "params": tensors,
            "weight_decay": config.weight_decay if decays else 0.0,
            "lr_scale": scale,
        }
        for (decays, scale, _), tensors in groups.items()
    ]
    return {"params": params, "lr": config.lr, "fused": True}


def adamw(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019): decay apart from the gradient."""
    return torch.optim.AdamW(**_common(network, config), betas=(config.beta1, config.beta2))


def adam(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015): decay as part of the gradient."""
    return torch.optim.Adam(**_common(network, config), betas=(config.beta1, config.beta2))


def sgd(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum (plain SGD where momentum is 0)."""
    return torch.optim.SGD(
        **_common(network, config), momentum=config.momentum, nesterov=config.momentum > 0
    )


def constant(step: int, warmup_steps: int, total_steps: int) -> float:
    """lr_warmup from 1 / warmup_steps to 1, then flat: every prefix is a legitimate stop (anytime).

    As every schedule, a fraction of the peak rate and a function of the step alone, so that it is right at any world size.
    """
    return min(1.0, (step + 1) / max(1, warmup_steps))


def cosine(step: int, warmup_steps: int, total_steps: int) -> float:
    """lr_warmup, then half a cosine to zero at the last step (annealed)."""
    if step < warmup_steps:
        return constant(step, warmup_steps, total_steps)
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """What val losses ask for: a factor on the learning rate, whether to end, and the look (from 0 on) of the lowest loss."""

    lr_scale: float
    stop: bool
    best: int


def react(losses: Sequence[float], config: ExperimentConfig) -> Reaction:
    """Reduce-on-plateau and early stopping as Keras has them, counted in looks: a function of all losses so far.

    Without a lower loss than the lowest, the rate falls after every plateau_patience looks, and the run ends after stop_patience.
    """
    schedule, best, waited, reductions = config.schedule, 0, 0, 0
    for look, loss in enumerate(losses):
        if look and not loss < losses[best]:
            waited += 1
            reductions += waited % schedule.plateau_patience == 0
        else:
            best, waited = look, 0
    lowest = min(1.0, schedule.plateau_min_lr / config.optim.lr)
    return Reaction(
        lr_scale=max((schedule.plateau_factor or 1.0) ** reductions, lowest),
        stop=config.train.stop_patience is not None and waited >= config.train.stop_patience,
        best=best,
    )
