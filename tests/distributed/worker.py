"""What each rank of the two-rank tests does: its part of the batches and of an evaluation, written as JSON."""

import json
import sys
from pathlib import Path

import torch

from bench.config.load import load
from bench.experiment.assemble import Assembler
from bench.experiment.inputs import Inputs, make_order
from bench.models.weights import initial_state
from bench.runtime.distributed import World

TINY = Path(__file__).parents[1] / "experiments" / "tiny.yaml"
STEPS = 40


def main(folder: Path) -> None:
    """Pixels and sample numbers of the first steps, and integer counts of fixed weights."""
    config = load(TINY)
    world = World(cpu_threads=1)
    world.set_precision("fp32")
    inputs = Inputs()
    assembly = Assembler(world, inputs).assemble(config, inputs.start(config))
    assembly.program.reset(initial_state(config.model, len(assembly.dataset.classes), 5, assembly.start))
    score = assembly.program.evaluate(assembly.val)
    order = make_order(config, assembly.dataset, seed=3, rank=world.rank, world_size=world.size)
    steps = [
        {
            "samples": batch.samples.tolist(),
            "labels": batch.labels.tolist(),
            "pixels": batch.images.double().sum((1, 2, 3)).tolist(),
        }
        for batch in assembly.loader.batches(order, 5, STEPS)
    ]
    losses = [float(assembly.program.step(batch, step)) for step, batch in enumerate(assembly.loader.batches(order, 0, 4))]
    weights = torch.cat([p.detach().flatten() for p in assembly.program.raw.parameters()]).double()
    kept = {
        "size": world.size, "correct": sum(score.class_correct), "total": score.total, "loss": score.loss, "steps": steps,
        "losses": losses, "weights": [float(weights.sum()), float(weights.abs().max())],
        "slowest": world.slowest([float(world.rank)]), "from_main": world.from_main({"rank": world.rank}),
    }  # fmt: skip
    (folder / f"rank{world.rank}.json").write_text(json.dumps(kept))
    world.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
