"""Two small convolutional networks for 32-pixel images, of 551,018 and of 1,197,578 parameters with ten classes."""

from torch import Tensor, nn


def _small_block(channels_in: int, channels_out: int) -> list[nn.Module]:
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
        self.features = nn.Sequential(*_small_block(3, 32), *_small_block(32, 64), *_small_block(64, 128), nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(128 * 4 * 4, 128), nn.ReLU(inplace=True))
        self.head = nn.Linear(128, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, K] of normalised images [N, 3, 32, 32]."""
        return self.head(self.hidden(self.features(images)))


def _pooling_block(channels_in: int, channels_out: int) -> list[nn.Module]:
    """Two 3x3 convolutions, each with BatchNorm, then halve the map by its maxima."""
    convolutions: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        convolutions += [
            nn.Conv2d(channels, channels_out, 3, padding="same", bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        ]
    return [*convolutions, nn.MaxPool2d(2)]


class MaxPoolCNN(nn.Module):
    """(64, 64, pool), (128, 128, pool), (256, 256, pool), global max-pool, dense 192, dense `classes`; images of any size."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        blocks = [*_pooling_block(3, 64), *_pooling_block(64, 128), *_pooling_block(128, 256)]
        self.features = nn.Sequential(*blocks, nn.AdaptiveMaxPool2d(1), nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(256, 192), nn.ReLU(inplace=True))
        self.head = nn.Linear(192, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, K] of normalised images [N, 3, H, W], H and W at least 8."""
        return self.head(self.hidden(self.features(images)))
