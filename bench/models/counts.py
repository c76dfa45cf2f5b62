"""Stored counts of networks with ten classes, so that a plan needs no torch; a test builds each and compares."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Parameters, BatchNorm statistics, and forward multiply-accumulates of one image, in millions."""

    parameters: int
    statistics: int
    forward_mmac: float

    @property
    def flops_per_image(self) -> int:
        """Forward FLOP of one image: two a multiply-accumulate."""
        return round(2e6 * self.forward_mmac)


# (network, input size in pixels)
COUNTS: dict[tuple[str, int], Counts] = {
    ("resnet18", 32): Counts(parameters=11_181_642, statistics=9_600, forward_mmac=37.016576),
    ("resnet18", 64): Counts(parameters=11_181_642, statistics=9_600, forward_mmac=148.050944),
    ("resnet18", 128): Counts(parameters=11_181_642, statistics=9_600, forward_mmac=592.188416),
    ("resnet18", 224): Counts(parameters=11_181_642, statistics=9_600, forward_mmac=1813.566464),
    ("small_cnn", 32): Counts(parameters=551_018, statistics=448, forward_mmac=38.896896),
    ("tf_efficientnet_lite0", 64): Counts(parameters=3_383_818, statistics=42_016, forward_mmac=31.352192),
}
NATIVE_SIZE = {"cifar10": 32, "digits": 32, "letters": 32}


def stored_counts(network: str, input_size: int | None, source: str) -> Counts | None:
    """Counts of a network at the size its images have after resizing; None when the table does not hold it."""
    return COUNTS.get((network, input_size or NATIVE_SIZE.get(source, 0)))
