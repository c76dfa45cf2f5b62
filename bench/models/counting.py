"""What a network holds and costs, counted on the meta device: nothing allocated or computed."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.config.schema import ModelConfig
from bench.ledger.records import NetworkFacts
from bench.models.counts import Counts
from bench.models.networks import build, timm_facts

SIZES_TRIED = 16  # multiples of a network's stride
STRIDE_UNKNOWN = 8  # pixels, where a network does not say by how much it reduces its images


class IsoFlopSize(NamedTuple):
    """The input size in pixels whose forward pass comes nearest to a cost, and its ratio to it."""

    input_size: int
    flops_ratio: float


def count(model: ModelConfig, classes: int, input_size: int) -> Counts:
    """Count parameters, BatchNorm statistics and the forward pass of one image.

    Raises ValueError where the network cannot take images of that size.
    """
    with torch.device("meta"):
        network = build(model.name, classes, model.stem).eval()
        images = torch.empty(1, 3, input_size, input_size)
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(images)
    except (RuntimeError, AssertionError) as error:
        cause = " ".join(str(error).split())
        raise ValueError(
            f"model.input_size: {model.name} cannot take images of {input_size} px: "
            f"{cause}{_size_hint(network)}"
        ) from None
    statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    return Counts(
        parameters=_numel(network.parameters()),
        statistics=_numel(statistics),
        forward_mmac=counter.get_total_flops() / 2e6,
    )


def network_facts(model: ModelConfig, classes: int, input_size: int) -> NetworkFacts:
    """Count a network for the ledger, without what training it costs and how images are normalised.

    Raises ValueError where the network cannot take images of that size.
    """
    counts = count(model, classes, input_size)
    return NetworkFacts(
        name=model.name,
        stem=model.stem,
        parameters=counts.parameters,
        buffers=counts.statistics,
        flops_per_image=counts.flops_per_image,
        input_size=input_size,
    )


def iso_flop_size(model: ModelConfig, classes: int, size: int, flops: int) -> IsoFlopSize:
    """Find the input size whose forward pass comes nearest to so many FLOP.

    One of the first multiples of the network's total stride, or the `size` that it has.
    """
    stride = _total_stride(model, classes)
    multiples = range(stride, (SIZES_TRIED + 1) * stride, stride)
    candidates = []
    for candidate_size in {size, *multiples}:
        try:
            counts = count(model, classes, candidate_size)
        except ValueError:  # a network may take its own size alone
            continue
        candidates.append(IsoFlopSize(candidate_size, counts.flops_per_image / flops))
    return min(candidates, key=_distance)


def _numel(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def _distance(candidate: IsoFlopSize) -> float:
    return abs(math.log(candidate.flops_ratio))


def _total_stride(model: ModelConfig, classes: int) -> int:
    """Return by how much a network reduces its images, as timm says of one with a stock stem."""
    with torch.device("meta"):
        network = build(model.name, classes, model.stem)
    stages = getattr(network, "feature_info", None)
    if not stages or model.stem != "stock":
        return STRIDE_UNKNOWN
    reduction: int = stages[-1]["reduction"]
    return reduction


def _size_hint(network: nn.Module) -> str:
    facts = timm_facts(network)
    return "" if facts is None else f"; it was made for {facts.input_size} px"
