"""Exponential average of the weights, which looks of the anytime recipe are taken on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averages parameters and BatchNorm statistics. `decay` 0 is no average: the weights themselves.

    `statistics` are the network's own BatchNorm statistics, which differ by rank.
    """

    def __init__(self, network: nn.Module, *, decay: float, every_steps: int) -> None:
        self.statistics = [b for b in network.buffers() if b.is_floating_point()]
        self.live = [
            t.detach() for t in (*network.parameters(), *self.statistics)
        ]  # the same memory, without gradients
        self._decay, self._every_steps = decay, every_steps
        self.tensors: list[Tensor] = [torch.empty_like(t) for t in self.live] if decay else []
        self.updates = 0
        self.kept: list[Tensor] = []

    def reset(self) -> None:
        """Begin again at the network's weights of now."""
        self.updates, self.kept = 0, []
        if self.tensors:
            torch._foreach_copy_(self.tensors, self.live)

    def keep(self) -> None:
        """Remember what looks are taken on now; it takes the place of what was kept before."""
        self.kept = [t.clone() for t in self.tensors or self.live]

    def put_back(self) -> None:
        """Make what was kept the weights, and their average."""
        for place in filter(len, (self.live, self.tensors)):
            torch._foreach_copy_(place, self.kept)

    def update(self, step: int) -> None:
        """After a step: pull the average towards the weights, faster while it is young (decay <= (1 + n) / (10 + n))."""
        if not self.tensors or (step + 1) % self._every_steps:
            return
        decay = min(self._decay**self._every_steps, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.tensors, self.live, 1 - decay)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the network, in place so that nothing recompiles; the weights come back at the end."""
        saved = [t.clone() for t in self.live]
        if self.tensors:
            torch._foreach_copy_(self.live, self.tensors)
        try:
            yield
        finally:
            torch._foreach_copy_(self.live, saved)
