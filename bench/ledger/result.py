"""What one run did, folded from its events: result.json's content."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from bench.ledger.json_records import JsonValue, Record, stored_as
from bench.ledger.records import FINISHED, RunStart, Split, Status


@dataclass(frozen=True, kw_only=True)
class Evaluation(Record):
    """One scoring of a split: where the run stood, and seconds by segment so far (slowest rank)."""

    step: int
    epoch: float
    samples: int  # training images
    segments_s: Mapping[str, float]
    data_wait_s: float = 0.0
    correct: int | float  # whole but in curves from elsewhere, which tell no counts
    total: int
    loss: float | None = None
    class_correct: Sequence[int] | None = None

    @property
    def accuracy(self) -> float:
        """Share of the images that were classified rightly."""
        return self.correct / self.total


@dataclass(frozen=True, kw_only=True)
class RunResult(Record):
    """What one run did.

    `confusion` [K, K] counts the test images of each class (row) by what they were taken for, at
    the end. `data_wait_fraction` is of the train segment.
    """

    run_id: str
    arm: str
    seed: int
    block: int
    status: Status
    attempts: int = 1
    resumed: bool = False
    error: str | None = None
    evaluations: Annotated[Sequence[Evaluation], stored_as("looks")]
    test_evaluations: Annotated[Sequence[Evaluation], stored_as("test_looks")]
    segments_s: Mapping[str, float]
    test_correct: int | None = None
    test_total: int | None = None
    test_loss: float | None = None
    confusion: Sequence[Sequence[int]] | None = None
    images_per_s: float | None = None
    data_wait_fraction: float | None = None
    stopped_step: int | None = None  # where its own rule ended it, before its budget
    best_step: int | None = None  # of the evaluation whose weights were put back before test
    ledger_sha256: str = ""
    start: RunStart

    @property
    def is_finished(self) -> bool:
        """Whether the run has its answer and is not made again."""
        return self.status in FINISHED

    @property
    def budget_samples(self) -> int:
        """Training images that the run was given. Raises ValueError where its config has none."""
        samples = self._configured("train", "samples")
        if not isinstance(samples, int):
            raise ValueError(
                f"{self.run_id}: train.samples is {samples!r}; allowed: a whole number"
            )
        return samples

    @property
    def learning_rate(self) -> float:
        """Greatest learning rate of its schedule. Raises ValueError where its config has none."""
        rate = self._configured("optim", "lr")
        if not isinstance(rate, int | float):
            raise ValueError(f"{self.run_id}: optim.lr is {rate!r}; allowed: a number")
        return float(rate)

    def _configured(self, section_name: str, key: str) -> JsonValue:
        """Return a value of the stored config; None where it has no such section or key."""
        section = self.start.config.get(section_name)
        return section.get(key) if isinstance(section, dict) else None

    @property
    def test_accuracy(self) -> float | None:
        """Share of the test images classified rightly at the end; None if it did not get there."""
        if self.test_correct is None or not self.test_total:
            return None
        return self.test_correct / self.test_total

    @property
    def wall_s(self) -> float | None:
        """The process's age when the run ended.

        None where the process made other runs too, or several processes made this one.
        """
        is_alone = self.start.process_runs == 1 and self.attempts == 1
        if not is_alone or not self.is_finished:
            return None
        return sum(self.segments_s.values())

    @property
    def scored_evaluation(self) -> Evaluation:
        """The evaluation on val of the weights that test was scored on."""
        for evaluation in self.evaluations:
            if evaluation.step == self.best_step:
                return evaluation
        return self.evaluations[-1]

    def evaluations_on(self, split: Split) -> Sequence[Evaluation]:
        """Return the evaluations on val, or on test."""
        return self.evaluations if split == "val" else self.test_evaluations
