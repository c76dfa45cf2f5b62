"""What a rank's memory holds while it trains, counted on tensors without data.

Nothing is allocated, nothing computed.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from bench.config.schema import ExperimentConfig
from bench.models.networks import build, checkpoint_activations, head_prefixes

FLOAT_BYTES = 4  # parameters and what belongs to them are kept in float32


def memory_bytes(config: ExperimentConfig, input_size: int, classes: int = 10) -> dict[str, int]:
    """Estimate a rank's bytes by what they hold.

    Data, workspaces and the block that is computed again come on top. One rank where the config
    names no number. Precision auto counts as bf16, which a GPU takes.
    """
    network = _network(config, classes)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    trained_bytes = _float_bytes(trained)
    state_bytes = _float_bytes([*network.parameters(), *network.buffers()])
    return {
        "parameters": state_bytes,
        "gradients": trained_bytes,
        "optimizer": _moments(config) * trained_bytes,
        "copies": _copies(config) * state_bytes,
        "activations": _activation_bytes(network, config, input_size),
    }


def _network(config: ExperimentConfig, classes: int) -> nn.Module:
    """Build the network without data, with gradients for what the config trains."""
    with torch.device("meta"):
        network = build(config.model.name, classes, config.model.stem)
    heads = head_prefixes(network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(config.finetune.layers == "all" or name.startswith(heads))
    if config.model.checkpoint_activations:
        checkpoint_activations(network, config.model.name)
    return network


def _float_bytes(tensors: Iterable[Tensor]) -> int:
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    return sum(FLOAT_BYTES * tensor.numel() for tensor in floats)


def _moments(config: ExperimentConfig) -> int:
    """Count the numbers that the optimizer keeps of each parameter."""
    if config.optim.name != "sgd":
        return 2
    return 1 if config.optim.momentum > 0 else 0


def _copies(config: ExperimentConfig) -> int:
    """Count the copies of the network: its average, and its best state so far."""
    copies = 0
    if config.schedule.average_decay:
        copies += 1
    if config.train.restore_best:
        copies += 1
    return copies


def _activation_bytes(network: nn.Module, config: ExperimentConfig, input_size: int) -> int:
    """Count what a forward pass keeps for the backward one, besides the network itself."""
    saved_bytes: dict[int, int] = {}  # by storage, which tensors may share

    def note(tensor: Tensor) -> Tensor:
        saved_bytes[_storage_key(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    is_half = config.precision != "fp32"
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.autocast("cpu", torch.bfloat16, enabled=is_half),
    ):
        network.to_empty(device="cpu")
        with saved_tensors_hooks(note, lambda tensor: tensor):
            logits = network(torch.empty(_images_at_once(config), 3, input_size, input_size))
    state = [*network.parameters(), *network.buffers()]
    state_storages = {_storage_key(tensor) for tensor in state}
    activation_bytes = sum(
        size_bytes for key, size_bytes in saved_bytes.items() if key not in state_storages
    )
    del logits  # and with it its graph: until here no other storage could take a saved one's place
    return activation_bytes


def _images_at_once(config: ExperimentConfig) -> int:
    ranks = config.hardware.world_size or 1
    return max(1, config.train.global_batch_size // ranks // config.train.accumulate_steps)


def _storage_key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
