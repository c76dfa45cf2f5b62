"""The first layers of a ResNet, replaced where images are small, and what 7x7 weights become."""

from collections.abc import Mapping

from timm.layers.patch_embed import resample_patch_embed
from torch import Tensor, nn

KEY = "conv1.weight"  # of a ResNet's first convolution


def replace_stem(network: nn.Module, name: str) -> None:
    """Put a 3x3 convolution of stride 1 for the 7x7 one of stride 2, and take the max-pool out.

    He et al. 2015 have it so for CIFAR-10. Raises ValueError for a network whose first layers are
    other ones.
    """
    stock = getattr(network, "conv1", None)
    pool = getattr(network, "maxpool", None)
    has_conv = isinstance(stock, nn.Conv2d) and stock.kernel_size == (7, 7)
    if stock is None or not has_conv or not isinstance(pool, nn.MaxPool2d):
        raise ValueError(
            "model.stem: '3x3' replaces a 7x7 convolution and a max-pool, which "
            f"{name} does not begin with; allowed: stock"
        )
    conv = nn.Conv2d(stock.in_channels, stock.out_channels, 3, stride=1, padding=1, bias=False)
    # As timm initialises the layer it replaces.
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    network.add_module("conv1", conv)
    network.add_module("maxpool", nn.Identity())


def convert_stem(
    tensors: Mapping[str, Tensor], network_state: Mapping[str, Tensor], conversion: str | None
) -> dict[str, Tensor]:
    """Make pretrained tensors with a 7x7 stem fit a network's 3x3 one; others stay as they are.

    `conversion` is crop (its centre), resample (what answers a resized image as the 7x7 kernel
    answered the image, by least squares; FlexiViT, Beyer et al. 2023) or random (left out). Raises
    ValueError where null meets a 7x7 stem, or anything else none.
    """
    _check_conversion(tensors, network_state, conversion)
    if conversion is None:
        return dict(tensors)
    if conversion == "random":
        return {key: value for key, value in tensors.items() if key != KEY}
    return {**tensors, KEY: _small_kernel(tensors[KEY], conversion)}


def _small_kernel(kernel: Tensor, conversion: str) -> Tensor:
    """Make a 3x3 kernel of a 7x7 one."""
    if conversion == "crop":
        return kernel[:, :, 2:5, 2:5].contiguous()
    return resample_patch_embed(kernel, [3, 3])


def _check_conversion(
    tensors: Mapping[str, Tensor], network_state: Mapping[str, Tensor], conversion: str | None
) -> None:
    must_convert = _kernel_size(tensors) == (7, 7) and _kernel_size(network_state) == (3, 3)
    if must_convert and conversion is None:
        raise ValueError(
            "weights.stem: None: the weights have a 7x7 stem, the network a 3x3 one; allowed: "
            "crop, resample, random"
        )
    if not must_convert and conversion is not None:
        raise ValueError(
            f"weights.stem: {conversion!r}: there is no 7x7 stem to make a 3x3 one of; "
            "allowed: null"
        )


def _kernel_size(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    return tuple(tensors[KEY].shape[2:]) if KEY in tensors else ()
