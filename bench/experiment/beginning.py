"""How a run begins where something of it lies there already: goes on, or is begun anew, and why."""

from dataclasses import dataclass
from pathlib import Path

from bench.ledger.errors import LedgerError
from bench.ledger.records import RunBasis
from bench.ledger.result import RunResult
from bench.ledger.store import CHECKPOINTS, RESULT, RunStore
from bench.training.checkpoint_files import Manifest, checkpoints_in, remove_all_but


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Where a run begins: at a checkpoint, or at step 0.

    `begun_anew` says why a run that had begun is not gone on with. `attempt` counts from 1.
    `sentences` tell of what was passed over.
    """

    attempt: int
    checkpoint: Path | None
    begun_anew: str | None
    sentences: tuple[str, ...] = ()


def find_beginning(store: RunStore, basis: RunBasis) -> Beginning:
    """Look at what lies there of a run, and make the store ready for its next attempt.

    A ledger that this attempt does not go on with is set aside, with the checkpoints gone. For rank
    0, which holds the run's lock.
    """
    run_id = basis.run_id
    folder = store.run_dir(run_id)
    attempt = store.next_attempt(run_id)
    try:
        earlier = store.result(run_id)
        obstacle = _obstacle(earlier, basis)
    except LedgerError as error:
        earlier = None
        obstacle = f"its ledger cannot be believed: {error}"
    if obstacle is not None:
        remove_all_but(folder / CHECKPOINTS, 0)
        store.set_aside(run_id)
        return Beginning(attempt=attempt, checkpoint=None, begun_anew=obstacle)
    (folder / RESULT).unlink(missing_ok=True)  # of an attempt that failed
    checkpoints, sentences = checkpoints_in(folder / CHECKPOINTS)
    for stored in checkpoints:
        if earlier is not None and _continues(stored.manifest, earlier, basis):
            return Beginning(
                attempt=attempt,
                checkpoint=stored.folder,
                begun_anew=None,
                sentences=tuple(sentences),
            )
    remove_all_but(folder / CHECKPOINTS, 0)
    begun_anew = None
    if earlier is not None:
        begun_anew = "no checkpoint was saved"
    if checkpoints or sentences:
        begun_anew = "no checkpoint is whole and of this ledger"
    return Beginning(
        attempt=attempt, checkpoint=None, begun_anew=begun_anew, sentences=tuple(sentences)
    )


def _continues(manifest: Manifest, earlier: RunResult, basis: RunBasis) -> bool:
    """Say whether a checkpoint is of this run, and the ledger tells of all until there."""
    if manifest.basis != basis or not earlier.evaluations:
        return False
    return manifest.step <= earlier.evaluations[-1].step


def _obstacle(earlier: RunResult | None, basis: RunBasis) -> str | None:
    """Say why an earlier attempt cannot be gone on with; None where it can, or there is none."""
    if earlier is None:
        return None
    if earlier.status == "invalid":
        return f"it is invalid: {earlier.error}"
    if earlier.start.basis is None:
        return "it does not say by which code it was made"
    return basis.difference_to(earlier.start.basis)
