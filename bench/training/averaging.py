"""The exponential average of the weights, which evaluations of the anytime recipe are made with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Averages parameters and BatchNorm statistics; `decay` 0: the weights themselves.

    `live` are the network's own tensors, without gradients, and `tensors` their averages. The first
    `parameter_count` are parameters; the others, BatchNorm's `statistics`, differ by rank. `kept`
    are copies of what an earlier evaluation was made with.
    """

    def __init__(self, network: nn.Module, *, decay: float, every_steps: int) -> None:
        self.statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        parameters = [parameter.detach() for parameter in network.parameters()]
        self.live = [*parameters, *self.statistics]
        self.parameter_count = len(parameters)
        self.tensors: list[Tensor] = []
        if decay:
            self.tensors = [torch.empty_like(tensor) for tensor in self.live]
        self.kept: list[Tensor] = []
        self.updates = 0
        self._decay = decay
        self._every_steps = every_steps

    def reset(self) -> None:
        """Begin again at the network's weights of now."""
        self.updates = 0
        self.kept = []
        if self.tensors:
            torch._foreach_copy_(self.tensors, self.live)

    def restore(self, *, averages: Sequence[Tensor], kept: Sequence[Tensor], updates: int) -> None:
        """Stand where a checkpoint was taken; the network's own tensors are put there apart."""
        for average, value in zip(self.tensors, averages, strict=True):
            average.copy_(value)
        self.kept = []
        if kept:
            for live, value in zip(self.live, kept, strict=True):
                self.kept.append(torch.empty_like(live).copy_(value))
        self.updates = updates

    def keep(self) -> None:
        """Remember what evaluations are made with now, in place of what was kept before."""
        self.kept = [tensor.clone() for tensor in self.tensors or self.live]

    def put_back(self) -> None:
        """Make what was kept the weights, and their average."""
        torch._foreach_copy_(self.live, self.kept)
        if self.tensors:
            torch._foreach_copy_(self.tensors, self.kept)

    def update(self, step: int) -> None:
        """Pull the average towards the weights after a step.

        Faster while it is young: after n updates the decay is at most (1 + n) / (10 + n).
        """
        if not self.tensors or (step + 1) % self._every_steps:
            return
        young_decay = (1 + self.updates) / (10 + self.updates)
        decay = min(self._decay**self._every_steps, young_decay)
        torch._foreach_lerp_(self.tensors, self.live, 1 - decay)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the network; the weights come back at the end.

        In place, so that nothing recompiles.
        """
        weights = [tensor.clone() for tensor in self.live]
        if self.tensors:
            torch._foreach_copy_(self.live, self.tensors)
        try:
            yield
        finally:
            torch._foreach_copy_(self.live, weights)
