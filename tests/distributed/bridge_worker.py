"""Someone's script over the bridge: writes down each batch, saves its state once, may be killed and
resumed.
"""

import hashlib
import os
import signal
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from bench.data.bridge import EpochLoader
from tests.unit.data.test_loaders import make_spec, make_split

EPOCHS = 3  # of 7 batches each
KILLED_AT = 17  # batches


def main(name: str, folder: Path, resume: bool, die: bool) -> None:
    """Every rank appends `step digest-of-pixels sample sample ...` to its own file."""
    accelerator = Accelerator(cpu=True, rng_types=[])
    assert accelerator.num_processes == 2
    rank = accelerator.process_index
    network = accelerator.prepare(torch.nn.Linear(1, 1))
    # Bytes as they are, so loaders agree to the last bit.
    spec = make_spec(cutout=3, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    loader = EpochLoader(
        make_split(),
        spec,
        batch_size=6,
        rank=rank,
        world_size=2,
        seed=3,
        loader=name,
        last_batch="drop",
    )
    accelerator.register_for_checkpointing(loader)
    if resume:
        accelerator.load_state(str(folder / "state"))
    with loader, (folder / f"rank{rank}.txt").open("a") as file:
        while loader.state_dict()["step"] < EPOCHS * len(loader):
            for batch in loader:
                step = loader.state_dict()["step"]
                pixels = hashlib.sha256(batch.images.numpy().tobytes()).hexdigest()
                file.write(f"{step} {pixels} {batch.samples.tolist()}\n")
                file.flush()
                if die and step == KILLED_AT - 3:
                    accelerator.save_state(str(folder / "state"))
                if die and step == KILLED_AT:
                    accelerator.wait_for_everyone()  # so that both have written as many lines
                    os.kill(os.getpid(), signal.SIGKILL)
    assert network is not None
    accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), "resume" in sys.argv, "die" in sys.argv)
