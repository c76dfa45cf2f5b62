"""What machine.json holds: a machine, and whether all that headstart imports works there.

Needs the standard library alone, so that launch/ can read it anywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Fact = str | int | float | None
Facts = Mapping[str, Fact]  # the environment facts, as bench.ledger.records has them

# nvidia-smi's names of what is asked for.
CARD_NAME = "name"
DRIVER = "driver_version"
SM_CLOCK = "clocks.sm"
MOST_SM_CLOCK = "clocks.max.sm"
MEMORY_CLOCK = "clocks.mem"
MOST_MEMORY_CLOCK = "clocks.max.mem"
POWER_LIMIT = "power.limit"
GPU_FIELDS = (
    CARD_NAME,
    DRIVER,
    SM_CLOCK,
    MOST_SM_CLOCK,
    MEMORY_CLOCK,
    MOST_MEMORY_CLOCK,
    POWER_LIMIT,
    "memory.total",
    "temperature.gpu",
)


@dataclass(frozen=True, kw_only=True)
class ImportCheck:
    """Say how long a module took to import, and what was raised, if anything."""

    seconds: float
    error: str | None


@dataclass(frozen=True, kw_only=True)
class TorchFacts:
    """The GPU as torch sees it (null: none) and the environment facts, or what was raised."""

    gpu: str | None = None
    cudnn: int | None = None
    environment: Facts = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class DaliCheck:
    """What a batch of the `dali` loader is, or what was raised."""

    batch: str | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class MachineFacts:
    """All that was learned of a machine so far; null: not looked at yet."""

    gpu: str | None = None
    nvidia_smi: Mapping[str, str] = field(default_factory=dict)  # by GPU_FIELDS, or an error
    imports: Mapping[str, ImportCheck] = field(default_factory=dict)
    torch: TorchFacts | None = None
    dali_batch: DaliCheck | None = None
