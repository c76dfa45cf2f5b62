"""What the tests of one small run share: its id, its overrides, and where its events lie."""

from bench.ledger.events import Event, read_events
from bench.ledger.result import RunResult

RUN = "slow-s3-1a2b3c4d"
CODE = "c" * 64
CHECKPOINTS = "--train.checkpoint_every_looks=2"
KEEPING = (CHECKPOINTS, "--checkpoint.keep_at_end=true")
# A few seconds on one busy core: 32 steps, four of them between evaluations.
SMALL = (
    "--data.train_samples=128",
    "--data.val_samples=20",
    "--data.test_samples=20",
    "--train.global_batch_size=8",
    "--train.samples=256",
    "--evaluation.every_samples=32",
)
STOPPING = ("--train.stop_patience=1", "--train.restore_best=true")


def events_in(folder) -> list[Event]:
    return read_events(folder / RUN / "events.rank0.jsonl")


def losses(result: RunResult) -> list[float | None]:
    return [evaluation.loss for evaluation in result.evaluations]
