"""Two small convolutional networks for 32-pixel images, of 551,018 and of 1,197,578 parameters with ten classes."""

from collections import OrderedDict

from torch import nn


def small_cnn(classes: int) -> nn.Sequential:
    """(32, 32, pool), (64, 64, pool), (128, 128, pool), dense 128, dense `classes`: images [N, 3, 32, 32] -> logits [N, K].

    BatchNorm after the second convolution of each block.
    """
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3, padding="same"), nn.ReLU(inplace=True)]
        layers += [
            nn.Conv2d(after, after, 3, padding="same"),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        ]
    return _network([*layers, nn.Flatten()], 128 * 4 * 4, 128, classes)


def maxpool_cnn(classes: int) -> nn.Sequential:
    """(64, 64, pool), (128, 128, pool), (256, 256, pool), global max-pool, dense 192, dense `classes`; images of any size.

    BatchNorm after each convolution. Images [N, 3, H, W], H and W at least 8 -> logits [N, K].
    """
    layers: list[nn.Module] = []
    for before, after in ((3, 64), (64, 128), (128, 256)):
        for channels in (before, after):
            layers += [
                nn.Conv2d(channels, after, 3, padding="same", bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
        layers.append(nn.MaxPool2d(2))
    return _network([*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten()], 256, 192, classes)


def _network(features: list[nn.Module], numbers: int, hidden: int, classes: int) -> nn.Sequential:
    """The features, `numbers` an image, then a hidden dense layer and the head."""
    dense = nn.Sequential(nn.Linear(numbers, hidden), nn.ReLU(inplace=True))
    return nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*features), hidden=dense, head=nn.Linear(hidden, classes)
        )
    )
