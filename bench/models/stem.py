"""The first layers of a ResNet, replaced where images are small. Knows no weights: a new layer starts at random."""

from torch import nn


def replace_stem(network: nn.Module, name: str) -> None:
    """A 3x3 convolution of stride 1 instead of the 7x7 of stride 2, and no max-pool, as He et al. 2015 have it for CIFAR-10.

    Raises ValueError for a network whose first layers are other ones.
    """
    stock, pool = getattr(network, "conv1", None), getattr(network, "maxpool", None)
    if not (isinstance(stock, nn.Conv2d) and stock.kernel_size == (7, 7) and isinstance(pool, nn.MaxPool2d)):
        raise ValueError(
            f"model.stem: '3x3' replaces a 7x7 convolution and a max-pool, which {name} does not begin with; allowed: stock"
        )
    conv = nn.Conv2d(stock.in_channels, stock.out_channels, 3, stride=1, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as timm initialises the layer it replaces
    network.conv1, network.maxpool = conv, nn.Identity()
