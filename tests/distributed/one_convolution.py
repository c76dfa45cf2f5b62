"""A network as small as networks get, so that tests of ranks compile one in seconds.

Named in a config as `imports: [tests.distributed.one_convolution]`.
"""

from collections import OrderedDict

from torch import nn

from bench import registry


def one_convolution(classes: int) -> nn.Sequential:
    """Build one convolution with BatchNorm, a global average, and the head."""
    features = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    return nn.Sequential(OrderedDict(features=features, head=nn.Linear(8, classes)))


registry.register("network", "one_convolution", "tests.distributed.one_convolution:one_convolution")
