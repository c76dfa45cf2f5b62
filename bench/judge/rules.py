"""The sets of rules that runs can be judged by: headstart's, and those of other benchmarks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bench.ledger.records import Split


@dataclass(frozen=True, kw_only=True)
class Rules:
    """One way to judge curves.

    `reached`: what counts, a crossing that is upheld, the first touch, or the mean of all runs'
    last evaluations. `clock` None: the experiment's.
    """

    split: Split
    reached: Literal["crossing", "touch", "mean"]
    clock: str | None
    meaning: str


HEADSTART = Rules(
    split="val",
    reached="crossing",
    clock=None,
    meaning="a crossing on val that holds, the experiment's clock",
)
RULES: Mapping[str, Rules] = {
    "headstart": HEADSTART,
    "dawnbench": Rules(
        split="test",
        reached="touch",
        clock="train",
        meaning="the first touch on test, train clock",
    ),
    "airbench": Rules(
        split="test",
        reached="mean",
        clock="airbench",
        meaning="mean test accuracy at the end, airbench clock",
    ),
}
