"""A network's layers, as fine-tuning needs them: the head apart, learning rates, BatchNorm."""

import copy

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.models.networks import head_prefixes


def split_head(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Return a network without its classifier, and the classifier.

    head(body(images)) is network(images). Parameters are shared, and the network stays as it is.
    Raises ValueError for a network with several classifiers.
    """
    prefixes = head_prefixes(network)
    if len(prefixes) != 1:
        raise ValueError(
            f"finetune.layers: the network has the classifiers {prefixes}, not one; allowed: all"
        )
    *parents, leaf = prefixes[0].removesuffix(".").split(".")
    body = _with_children_of_its_own(network)
    parent = body
    for name in parents:
        child = _with_children_of_its_own(parent.get_submodule(name))
        parent.add_module(name, child)
        parent = child
    head = parent.get_submodule(leaf)
    parent.add_module(leaf, nn.Identity())
    return body, head


def _with_children_of_its_own(module: nn.Module) -> nn.Module:
    """Copy a module so that its children can be exchanged; the children themselves are shared.

    torch offers no copy that leaves parameters and children where they are, so this one reaches
    into the module.
    """
    copied = copy.copy(module)
    copied._modules = module._modules.copy()
    return copied


def without_decay(network: nn.Module) -> set[str]:
    """Name the parameters that timm exempts from weight decay, such as a ViT's `cls_token`."""
    listed = getattr(network, "no_weight_decay", None)
    names: set[str] = set() if listed is None else set(listed())
    return names


def layer_scales(network: nn.Module, decay: float) -> dict[str, float]:
    """Return each parameter's part of the learning rate, by name.

    It is 1 in the last layer, the head, and `decay` times the next layer's in every one before.
    Layers are timm's own groups; of other networks, a weight with the bias and the normalisation
    that follow it.
    """
    layers = _layer_numbers(network)
    last = max(layers.values())
    return {name: decay ** (last - layer) for name, layer in layers.items()}


def _layer_numbers(network: nn.Module) -> dict[str, int]:
    """Give each parameter the number of its layer, which grows from first to last."""
    matcher = getattr(network, "group_matcher", None)
    if matcher is not None:
        numbers: dict[str, int] = group_parameters(network, matcher(coarse=False), reverse=True)
        return numbers
    layers = {}
    layer = 0
    for name, parameter in network.named_parameters():
        if parameter.ndim >= 2:  # the weight that a layer begins with
            layer += 1
        layers[name] = layer
    return layers


def has_batch_norm(network: nn.Module) -> bool:
    """Say whether a network keeps statistics of the batches that it sees."""
    return any(isinstance(module, _BatchNorm) for module in network.modules())


def set_batch_norm_momentum(network: nn.Module, momentum: float) -> None:
    """Give every BatchNorm the share that a new batch has in its running statistics."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = momentum
