"""A network that learns digits in a second, for tests of what is around it."""

from collections import OrderedDict

from torch import nn


def two_convolutions(classes: int) -> nn.Sequential:
    """Build two convolutions with BatchNorm, and a head on what they see in 4 x 4 places."""
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32)):
        layers += [
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
        ]
    layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    head = nn.Linear(32 * 4 * 4, classes)
    return nn.Sequential(OrderedDict(features=nn.Sequential(*layers), head=head))
