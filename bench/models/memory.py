"""What a rank's memory holds while it trains, counted on tensors without data: nothing is allocated, nothing computed."""

import torch
from torch import Tensor
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
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(
            config.finetune.layers == "all" or name.startswith(head_prefixes(network))
        )
    if config.model.checkpoint_activations:
        checkpoint_activations(network, config.model.name)
    saved: dict[int, int] = {}  # by storage, which tensors may share

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    images = (
        config.train.global_batch_size
        // (config.hardware.world_size or 1)
        // config.train.accumulate_steps
    )
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        torch.autocast("cpu", torch.bfloat16, enabled=config.precision != "fp32"),
    ):
        network.to_empty(device="cpu")
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            logits = network(torch.empty(max(1, images), 3, input_size, input_size))
    own = {
        tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())
    }
    kept = sum(size for key, size in saved.items() if key not in own)
    del logits  # and with it its graph: until here no other storage could take the place of one that is saved
    trained = sum(4 * p.numel() for p in network.parameters() if p.requires_grad)
    whole = sum(
        4 * t.numel() for t in (*network.parameters(), *network.buffers()) if t.is_floating_point()
    )
    moments = int(config.optim.momentum > 0) if config.optim.name == "sgd" else 2
    copies = bool(config.schedule.average_decay) + config.train.restore_best
    held = {
        "parameters": whole,
        "gradients": trained,
        "optimizer": moments * trained,
        "copies": copies * whole,
    }
    return {**held, "activations": kept}
