"""What a rank's memory holds while it trains, counted on tensors without data: nothing is allocated, nothing computed."""

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from bench.config.schema import ExperimentConfig
from bench.models.networks import build, checkpoint_activations, head_prefixes


def memory_bytes(config: ExperimentConfig, input_size: int, classes: int = 10) -> dict[str, int]:
    """Bytes a rank by what they hold. An estimate: data, workspaces and the block that is computed again come on top.

    One rank where the config names no number. Precision auto counts as bf16, which a GPU takes.
    """
    with torch.device("meta"):
        network = build(config.model.name, classes, config.model.stem)
    heads, tune_all = head_prefixes(network), config.finetune.layers == "all"
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(tune_all or name.startswith(heads))
    if config.model.checkpoint_activations:
        checkpoint_activations(network, config.model.name)
    trained = sum(4 * p.numel() for p in network.parameters() if p.requires_grad)
    whole = sum(4 * t.numel() for t in (*network.parameters(), *network.buffers()) if t.is_floating_point())
    moments = int(config.optim.momentum > 0) if config.optim.name == "sgd" else 2
    parts = (config.hardware.world_size or 1) * config.train.accumulate_steps
    shape = (max(1, config.train.global_batch_size // parts), 3, input_size, input_size)
    return {
        "parameters": whole, "gradients": trained, "optimizer": moments * trained,
        "copies": whole * (bool(config.schedule.average_decay) + config.train.restore_best),
        "activations": _saved_bytes(network.train(tune_all), shape, half=config.precision != "fp32"),
    }  # fmt: skip


def _saved_bytes(network: nn.Module, shape: tuple[int, ...], *, half: bool) -> int:
    """Bytes that a forward pass of images [N, 3, H, W] keeps for the backward pass, parameters and buffers left out."""
    saved: dict[int, int] = {}  # by storage, which tensors may share

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    with FakeTensorMode(allow_non_fake_inputs=True), torch.autocast("cpu", torch.bfloat16, enabled=half):
        network.to_empty(device="cpu")
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            logits = network(torch.empty(shape))  # held: with it goes its graph, and another storage could take an address
        own = {tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())}
    del logits
    return sum(size for key, size in saved.items() if key not in own)
