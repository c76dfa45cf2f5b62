"""What each rank of the two-rank tests does: its part of the batches and of an evaluation, written
as JSON.
"""

import json
import math
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.config.load import load
from bench.experiment.assemble import Assembler
from bench.experiment.inputs import Inputs, make_order
from bench.models.weights import initial_state
from bench.runtime.distributed import World
from bench.training.loss_watch import LossWatch


def main(experiment: str, folder: Path, *overrides: str) -> None:
    """Pixels and sample numbers of two epochs, integer counts of fixed weights, and the weights
    after a few steps.
    """
    config = load(experiment, overrides)
    world = World(cpu_threads=1)
    world.set_precision("fp32")
    inputs = Inputs()
    assembler = Assembler(world, inputs)
    assembly = assembler.assemble(config, inputs.initial_weights(config))
    assembler.compile(config)
    classes = len(assembly.dataset.classes)
    assembly.program.reset(initial_state(config.model, classes, 5, assembly.initial_weights))
    score = assembly.program.evaluate(assembly.val)
    order = make_order(config, assembly.dataset, seed=3, rank=world.rank, world_size=world.size)
    steps = [
        {
            "samples": batch.samples.tolist(),
            "labels": batch.labels.tolist(),
            "pixels": batch.images.double().sum((1, 2, 3)).tolist(),
        }
        for batch in assembly.loader.batches(order, 5, 5 + 2 * order.steps_per_epoch)
    ]
    losses = []
    weights = []
    for step, batch in enumerate(assembly.loader.batches(order, 0, 4)):
        losses.append(float(assembly.program.step(batch, step)))
        weights.append(_weights(assembly.program.raw))
    torch.save(weights, folder / f"rank{world.rank}.pt")
    facts = {
        "size": world.size,
        "confusion": score.confusion,
        "loss": score.loss,
        "steps": steps,
        "losses": losses,
        "finite": _finite(world),
        "slowest": world.slowest([float(world.rank)]),
        "from_main": world.from_main({"rank": world.rank}),
    }
    (folder / f"rank{world.rank}.json").write_text(json.dumps(facts))
    world.close()


def _finite(world: World) -> list[bool]:
    """Answers of checks where the last rank's second and last losses alone are not finite."""
    bad = math.nan if world.rank == world.size - 1 else 2.0
    watch = LossWatch(world)
    checked = [watch.check(torch.tensor(loss)) for loss in (1.0, bad, 3.0, 4.0)]
    settled = [watch.settle(torch.tensor(loss)) for loss in (5.0, bad)]
    return checked + settled


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
