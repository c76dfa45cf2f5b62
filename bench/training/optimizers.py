"""Optimizers by name, fused; weight decay only on matrices and kernels. Uncompiled, so that a changing rate costs nothing."""

from typing import Any

import torch
from torch import nn

from bench.config.schema import OptimConfig


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Tensors of two and more dimensions decay; biases and normalisation do not."""
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def adamw(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019): decay apart from the gradient."""
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(_groups(network, config.weight_decay), lr=config.lr, betas=betas, fused=True)


def adam(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015): decay as part of the gradient."""
    betas = (config.beta1, config.beta2)
    return torch.optim.Adam(_groups(network, config.weight_decay), lr=config.lr, betas=betas, fused=True)


def sgd(network: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum (plain SGD where momentum is 0)."""
    groups = _groups(network, config.weight_decay)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=True)
