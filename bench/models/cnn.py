"""Two small convolutional networks for 32-pixel images.

With ten classes they have 551,018 and 1,197,578 parameters.
"""

from collections import OrderedDict

from torch import nn


def small_cnn(classes: int) -> nn.Sequential:
    """Build (32, 32, pool), (64, 64, pool), (128, 128, pool), dense 128, dense `classes`.

    Images [N, 3, 32, 32] -> logits [N, K]. BatchNorm after the second convolution of each block.
    """
    layers: list[nn.Module] = []
    for before, after in ((3, 32), (32, 64), (64, 128)):
        layers += [
            nn.Conv2d(before, after, 3, padding="same"),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, 3, padding="same"),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        ]
    layers.append(nn.Flatten())
    return _classifier_on(layers, 128 * 4 * 4, 128, classes)


def maxpool_cnn(classes: int) -> nn.Sequential:
    """Build (64, 64, pool), (128, 128, pool), (256, 256, pool), dense 192, dense `classes`.

    Images [N, 3, H, W], H and W at least 8 -> logits [N, K]. BatchNorm after each convolution, a
    global max-pool before the dense layers.
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
    layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten()]
    return _classifier_on(layers, 256, 192, classes)


def _classifier_on(
    layers: list[nn.Module], feature_count: int, hidden: int, classes: int
) -> nn.Sequential:
    """Put a hidden dense layer and the head behind layers that give `feature_count` an image."""
    dense = nn.Sequential(nn.Linear(feature_count, hidden), nn.ReLU(inplace=True))
    head = nn.Linear(hidden, classes)
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), hidden=dense, head=head))
