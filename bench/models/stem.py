"""The first layers of a ResNet, replaced where images are small, and what becomes of 7x7 weights there."""

from timm.layers.patch_embed import resample_patch_embed
from torch import Tensor, nn

KEY = "conv1.weight"  # of a ResNet's first convolution


def replace_stem(network: nn.Module, name: str) -> None:
    """A 3x3 convolution of stride 1 instead of the 7x7 of stride 2, and no max-pool, as He et al. 2015 have it for CIFAR-10.

    Raises ValueError for a network whose first layers are other ones.
    """
    stock, pool = getattr(network, "conv1", None), getattr(network, "maxpool", None)
    if not (
        isinstance(stock, nn.Conv2d)
        and stock.kernel_size == (7, 7)
        and isinstance(pool, nn.MaxPool2d)
    ):
        raise ValueError(
            f"model.stem: '3x3' replaces a 7x7 convolution and a max-pool, which {name} does not begin with; allowed: stock"
        )
    conv = nn.Conv2d(stock.in_channels, stock.out_channels, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(
        conv.weight, mode="fan_out", nonlinearity="relu"
    )  # as timm initialises the layer it replaces
    network.conv1, network.maxpool = conv, nn.Identity()


def convert_stem(
    given: dict[str, Tensor], own: dict[str, Tensor], how: str | None
) -> dict[str, Tensor]:
    """Pretrained tensors with a 7x7 stem made to fit a network's 3x3 one; others as they are.

    `how`: crop (its centre), resample (what answers a resized image as the 7x7 kernel answered the image, by least squares;
    FlexiViT, Beyer et al. 2023) or random (left out). Raises ValueError where null meets a 7x7 stem, or anything else none.
    """
    ends = [(7, 7), (3, 3)]
    needed = [
        tuple(tensors[KEY].shape[2:]) if KEY in tensors else () for tensors in (given, own)
    ] == ends
    if needed != (how is not None):
        told = (
            "the weights have a 7x7 stem, the network a 3x3 one"
            if needed
            else "there is no 7x7 stem to make a 3x3 one of"
        )
        raise ValueError(
            f"weights.stem: {how!r}: {told}; allowed: {'crop, resample, random' if needed else 'null'}"
        )
    if how == "random":
        return {key: value for key, value in given.items() if key != KEY}
    if how is None:
        return given
    weight = given[KEY]
    return given | {
        KEY: weight[:, :, 2:5, 2:5].contiguous()
        if how == "crop"
        else resample_patch_embed(weight, [3, 3])
    }
