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
        self._live = [*network.parameters(), *self.statistics]
        self._decay, self._every_steps = decay, every_steps
        self.tensors: list[Tensor] = [torch.empty_like(t) for t in self._live] if decay else []
        self.updates = 0

    @torch.no_grad()
    def reset(self) -> None:
        """Begin again at the network's weights of now."""
        self.updates = 0
        if self.tensors:
            torch._foreach_copy_(self.tensors, self._live)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After a step: pull the average towards the weights, faster while it is young (decay <= (1 + n) / (10 + n))."""
        if not self.tensors or (step + 1) % self._every_steps:
            return
        decay = min(self._decay**self._every_steps, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.tensors, self._live, 1 - decay)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the network, in place so that nothing recompiles; the weights come back at the end."""
        with torch.no_grad():
            saved = [t.clone() for t in self._live]
            if self.tensors:
                torch._foreach_copy_(self._live, self.tensors)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._live, saved)
