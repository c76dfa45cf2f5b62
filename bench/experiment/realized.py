"""What an arm really is, read from the things that will run, for the audit and the ledger."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from torch import nn

from bench import registry
from bench.config.schema import ExperimentConfig
from bench.data.batches import LoaderSpec
from bench.data.source import Dataset
from bench.ledger.records import Fact, NetworkFacts
from bench.models.networks import Resized, head_prefixes
from bench.models.weights import initial_state, random_weights
from bench.training.features import are_fixed
from bench.training.program import Program

GROUP_KEYS = ("lr_scale", "weight_decay", "momentum", "betas", "eps")
# Facts of the network that the audit compares.
AUDITED_COUNTS = ("name", "stem", "parameters", "buffers", "flops_per_image", "input_size")


class TrainingFlops(NamedTuple):
    """FLOP of training, as bench.ledger.records.NetworkFacts has them."""

    per_image: int
    once: int
    head_first_samples: int
    head_first_per_image: int


def realized_config(
    config: ExperimentConfig,
    dataset: Dataset,
    spec: LoaderSpec,
    program: Program,
    wrapped: nn.Module,
) -> dict[str, Fact]:
    """Return flat facts of an arm; bench.judge.audit compares them between arms.

    `wrapped` is the network, or its frozen body, with what is done to images in front of it.
    """
    raw = program.raw
    parameters = list(raw.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    dtypes = {str(parameter.dtype) for parameter in parameters}
    splits = (dataset.train, dataset.val, dataset.test)
    split_sizes = [str(len(split.labels)) for split in splits]
    augmentation = [f"{key} {value}" for key, value in vars(spec.augmentation).items()]
    groups = [_group_text(group) for group in program.optimizer.param_groups]
    return {
        "network.class": type(raw).__qualname__,
        "network.interpolation": _interpolation(wrapped),
        "network.trained_parameters": sum(parameter.numel() for parameter in trained),
        **_initial_facts(config, dataset, raw),
        "optimizer.class": type(program.optimizer).__qualname__,
        "optimizer.groups": "; ".join(groups),
        "data.images": f"{dataset.name} {dataset.sha256}",
        "data.splits": ", ".join(split_sizes),
        "data.augmentation": ", ".join(augmentation),
        "data.mean": str(list(spec.mean)),
        "data.std": str(list(spec.std)),
        "precision.images": str(spec.dtype),
        "precision.parameters": ", ".join(sorted(dtypes)),
    }


def audited_counts(network: NetworkFacts) -> dict[str, Fact]:
    """Return what of a network's counts belongs to an arm's realized config."""
    return {f"network.{name}": getattr(network, name) for name in AUDITED_COUNTS}


def rates_text(config: ExperimentConfig) -> str:
    """Return the learning rates of the first, middle and last step."""
    schedule = registry.resolve("schedule", config.schedule.name)
    total_steps = config.train.samples // config.train.global_batch_size
    rates = []
    for step in (0, total_steps // 2, total_steps - 1):
        fraction = schedule(step, config.schedule.lr_warmup_steps, total_steps)
        rates.append(f"{config.optim.lr * fraction:.3g}")
    return ", ".join(rates)


def training_flops(
    config: ExperimentConfig, network: nn.Module, forward_flops: int, samples: int
) -> TrainingFlops:
    """Count what training costs: a forward pass and two backward ones.

    Where the head alone is trained, the two backward ones are its own.
    """
    prefixes = head_prefixes(network)
    head_weights = [
        parameter.numel()
        for name, parameter in network.named_parameters()
        if name.startswith(prefixes) and parameter.ndim > 1
    ]
    head_flops = 2 * sum(head_weights)
    head_only_flops = forward_flops + 2 * head_flops
    image_flops = 3 * forward_flops
    flops_once = 0
    if config.finetune.layers == "head":
        image_flops = head_only_flops
    if are_fixed(config):  # the body is paid once a run
        image_flops = 3 * head_flops
        flops_once = forward_flops * samples
    return TrainingFlops(
        per_image=image_flops,
        once=flops_once,
        head_first_samples=config.finetune.head_first_steps * config.train.global_batch_size,
        head_first_per_image=head_only_flops,
    )


def _initial_facts(
    config: ExperimentConfig, dataset: Dataset, network: nn.Module
) -> dict[str, Fact]:
    """Return how random weights of seed 0 are drawn: what is zero, and how large the rest is."""
    state = initial_state(config.model, len(dataset.classes), 0, random_weights())
    zeroed = []
    square_sum = 0.0
    count = 0
    for name, _ in network.named_parameters():
        tensor = state[name].double()
        square_sum += float(tensor.square().sum())
        count += tensor.numel()
        if not name.endswith("bias") and not state[name].any():
            zeroed.append(name)
    zeroed_text = f"{len(zeroed)} tensors"
    if zeroed:
        zeroed_text += f", the first {zeroed[0]}"
    return {"init.zeroed": zeroed_text, "init.rms": f"{math.sqrt(square_sum / count):.6g}"}


def _interpolation(wrapped: nn.Module) -> str | None:
    return wrapped.interpolation if isinstance(wrapped, Resized) else None


def _group_text(group: Mapping[str, object]) -> str:
    tensors = group["params"]
    assert isinstance(tensors, list)
    settings = [f"{key} {group[key]}" for key in GROUP_KEYS if key in group]
    return f"{len(tensors)} tensors ({', '.join(settings)})"
