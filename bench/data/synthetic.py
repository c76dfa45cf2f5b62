"""Images of noise with labels of chance, to measure throughput without any files. There is nothing to learn in them."""

import numpy as np

from bench.config.schema import DataConfig
from bench.data.source import Dataset, Images, Split, content_sha256
from bench.runtime.streams import Stream, words

CLASS_COUNT, DEFAULT_SIZE = 10, 32
DEFAULT_SAMPLES = {"train": 45_000, "val": 5_000, "test": 10_000}


def load(data: DataConfig) -> Dataset:
    """Uniform bytes [N, S, S, 3], S data.image_size or 32; as many as CIFAR-10's splits hold unless data.*_samples say."""
    size = data.image_size or DEFAULT_SIZE
    splits = {
        name: _split(place, getattr(data, f"{name}_samples") or n, size)
        for place, (name, n) in enumerate(DEFAULT_SAMPLES.items())
    }
    return Dataset(
        name=f"synthetic-{size}", sha256=content_sha256(*splits.values()), classes=tuple(map(str, range(CLASS_COUNT))),
        mean=(0.5,) * 3, std=(12**-0.5,) * 3, **splits,
    )  # fmt: skip


def _split(place: int, samples: int, size: int) -> Split:
    generator = np.random.Generator(np.random.Philox(key=[place, size]))
    images: Images = generator.integers(0, 256, (samples, size, size, 3), dtype=np.uint8)
    return Split(images=images, labels=words(place, Stream.RENDER, np.arange(samples))[:, 0].astype(np.int64) % CLASS_COUNT)
