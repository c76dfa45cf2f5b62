"""The small CNN of 551,018 parameters (and 448 BatchNorm statistics), for 32-pixel images."""

from torch import Tensor, nn


def _block(channels_in: int, channels_out: int) -> list[nn.Module]:
    """Two 3x3 convolutions, BatchNorm after the second, then halve the map."""
    return [
        nn.Conv2d(channels_in, channels_out, 3, padding="same"),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels_out, channels_out, 3, padding="same"),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    ]


class SmallCNN(nn.Module):
    """(32, 32, pool), (64, 64, pool), (128, 128, pool), dense 128, dense `classes`: images [N, 3, 32, 32] -> logits [N, K]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*_block(3, 32), *_block(32, 64), *_block(64, 128), nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(128 * 4 * 4, 128), nn.ReLU(inplace=True))
        self.head = nn.Linear(128, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, K] of normalised images [N, 3, 32, 32]."""
        return self.head(self.hidden(self.features(images)))
