"""Stored counts of networks with ten classes, so that a plan needs no torch; a test builds each and compares."""

from dataclasses import dataclass

from bench.config.schema import DataConfig, ModelConfig


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


# (network, stem, input size in pixels)
COUNTS: dict[tuple[str, str, int], Counts] = {
    ("resnet18", "stock", 16): Counts(parameters=11_181_642, statistics=9_600, forward_mmac=15.54944),
    ("resnet18", "stock", 32): Counts(parameters=11_181_642, statistics=9_600, forward_mmac=37.016576),
    ("resnet18", "stock", 48): Counts(parameters=11_181_642, statistics=9_600, forward_mmac=97.96096),
    ("resnet18", "stock", 64): Counts(parameters=11_181_642, statistics=9_600, forward_mmac=148.050944),
    ("resnet18", "stock", 96): Counts(parameters=11_181_642, statistics=9_600, forward_mmac=333.108224),
    ("resnet18", "stock", 128): Counts(parameters=11_181_642, statistics=9_600, forward_mmac=592.188416),
    ("resnet18", "stock", 224): Counts(parameters=11_181_642, statistics=9_600, forward_mmac=1813.566464),
    ("resnet18", "3x3", 8): Counts(parameters=11_173_962, statistics=9_600, forward_mmac=34.71872),
    ("resnet18", "3x3", 12): Counts(parameters=11_173_962, statistics=9_600, forward_mmac=92.790784),
    ("resnet18", "3x3", 16): Counts(parameters=11_173_962, statistics=9_600, forward_mmac=138.85952),
    ("resnet18", "3x3", 24): Counts(parameters=11_173_962, statistics=9_600, forward_mmac=312.42752),
    ("resnet18", "3x3", 32): Counts(parameters=11_173_962, statistics=9_600, forward_mmac=555.42272),
    ("vit_huge_patch14_224", "stock", 224): Counts(parameters=630_777_610, statistics=0, forward_mmac=167293.84192),
    ("resnet50", "stock", 32): Counts(parameters=23_528_522, statistics=53_120, forward_mmac=83.431424),
    ("small_cnn", "stock", 32): Counts(parameters=551_018, statistics=448, forward_mmac=38.896896),
    ("maxpool_cnn", "stock", 32): Counts(parameters=1_197_578, statistics=1_792, forward_mmac=152.815488),
    ("tf_efficientnet_lite0", "stock", 32): Counts(parameters=3_383_818, statistics=42_016, forward_mmac=7.847648),
    ("tf_efficientnet_lite0", "stock", 48): Counts(parameters=3_383_818, statistics=42_016, forward_mmac=22.137168),
    ("tf_efficientnet_lite0", "stock", 64): Counts(parameters=3_383_818, statistics=42_016, forward_mmac=31.352192),
    ("tf_efficientnet_lite0", "stock", 96): Counts(parameters=3_383_818, statistics=42_016, forward_mmac=70.526432),
}
_NATIVE_SIZE = {"cifar10": 32, "digits": 32, "letters": 32}


def input_size(model: ModelConfig, data: DataConfig) -> int | None:
    """Pixels a side of the images that reach the network; None where only the source's files can tell."""
    return model.input_size or data.image_size or _NATIVE_SIZE.get(data.source)


def stored_counts(model: ModelConfig, data: DataConfig) -> Counts | None:
    """Counts of a network at the size of its images; None when the table does not hold it."""
    return COUNTS.get((model.name, model.stem, input_size(model, data) or 0))
