"""What it took to make known pretrained weights, estimated from configs/pretraining.yaml."""

from dataclasses import dataclass, replace

from bench.config.load import stored_table
from bench.config.schema import ModelConfig
from bench.ledger.records import Pretraining
from bench.models.counting import count

PASSES = 3  # of a training image: one forward, two backward


@dataclass(frozen=True, kw_only=True)
class PretrainingRow:
    """What training took that made known weights: an entry of configs/pretraining.yaml."""

    epochs: int
    images: int
    size: int  # pixels a side
    classes: int
    source: str


def pretrainings() -> dict[str, PretrainingRow]:
    """Read configs/pretraining.yaml: by `<network>.<tag>`."""
    return stored_table("pretraining", dict[str, PretrainingRow])


def estimated_price(config: ModelConfig, tag: str | None) -> Pretraining | None:
    """Estimate what making a network's weights of a tag took; None where that is not known."""
    name = config.name.partition(".")[0]
    row = pretrainings().get(f"{name}.{tag}")
    if row is None:
        return None
    network = replace(config, name=name, stem="stock")
    forward_flops = count(network, row.classes, row.size).flops_per_image
    return Pretraining(
        source=f"{row.epochs} epochs of {row.images:,} images at {row.size} px; {row.source}",
        flops=float(PASSES) * forward_flops * row.epochs * row.images,
        estimate=True,
    )
