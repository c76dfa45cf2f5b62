"""Other ways to make the same batches, written from their documentation: float images, cropped,
mirrored, channels last.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from bench.data.batches import LoaderSpec, Normalization
from bench.data.dali import OUTPUTS, build_pipeline
from bench.data.order import Order
from bench.data.source import Split
from kernels.augment.reference import draw_numbers, draws, padded

Pass = Callable[[], Iterator[Tensor]]


class _Transformed(Dataset[Tensor]):
    """One image at a time, as torchvision's datasets give it."""

    def __init__(self, images: list, transform: Callable[..., Tensor]) -> None:
        self._images = images
        self._transform = transform

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, sample: int) -> Tensor:
        return self._transform(self._images[sample])


def pil(split: Split, spec: LoaderSpec, batch: int) -> Pass:
    """The recipe of torchvision's tutorials: transforms on PIL images, in worker processes."""
    from PIL import Image
    from torchvision import transforms

    size = split.images.shape[1:3]
    steps = [
        transforms.RandomCrop(size, padding=spec.augmentation.pad, padding_mode="reflect"),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(spec.mean, spec.std),
    ]
    images = [Image.fromarray(image) for image in split.images]
    return _loaded(_Transformed(images, transforms.Compose(steps)), spec, batch)


def v2(split: Split, spec: LoaderSpec, batch: int) -> Pass:
    """transforms.v2 on uint8 tensors. It draws once a call, so a call is one image here as well."""
    from torchvision.transforms import v2 as transforms

    size = split.images.shape[1:3]
    steps = [
        transforms.RandomCrop(size, padding=spec.augmentation.pad, padding_mode="reflect"),
        transforms.RandomHorizontalFlip(),
        transforms.ToDtype(torch.float32, scale=True),
        transforms.Normalize(spec.mean, spec.std),
    ]
    images_NCHW = torch.from_numpy(split.images).permute(0, 3, 1, 2).contiguous()
    return _loaded(_Transformed(list(images_NCHW), transforms.Compose(steps)), spec, batch)


def _loaded(dataset: Dataset, spec: LoaderSpec, batch: int) -> Pass:
    loader = DataLoader(dataset, batch, shuffle=True, drop_last=True, num_workers=spec.threads)

    def one_pass() -> Iterator[Tensor]:
        for images in loader:
            yield images.to(spec.dtype).contiguous(memory_format=torch.channels_last)

    return one_pass


def kornia(split: Split, spec: LoaderSpec, batch: int) -> Pass:
    """Kornia's modules on whole batches, each image with numbers of its own."""
    augmentation = pytest.importorskip("kornia", reason="kornia is not installed").augmentation
    transform = torch.nn.Sequential(
        augmentation.RandomCrop(
            split.images.shape[1:3], padding=spec.augmentation.pad, padding_mode="reflect"
        ),
        augmentation.RandomHorizontalFlip(p=0.5),
        augmentation.Normalize(torch.tensor(spec.mean), torch.tensor(spec.std)),
    )
    images = torch.from_numpy(split.images)

    def one_pass() -> Iterator[Tensor]:
        for samples in _shuffled(len(images), batch):
            transformed = transform(images[samples].permute(0, 3, 1, 2).to(spec.dtype) / 255)
            yield transformed.contiguous(memory_format=torch.channels_last)

    return one_pass


def ffcv(split: Split, spec: LoaderSpec, batch: int) -> Pass:
    """FFCV fills what a crop uncovers with one colour, so its batches are others."""
    pytest.importorskip("ffcv", reason="ffcv is not installed")
    pytest.skip("ffcv is here, but its crop cannot reflect: it does not make these batches")


def airbench(split: Split, spec: LoaderSpec, batch: int) -> Pass:
    """cifar10-airbench's way: the epoch is cropped and mirrored at once, by masks, then batched.

    Normalising and padding are done once, before any clock runs, as there.
    """
    size = split.images.shape[1]
    normalised = Normalization(spec)(torch.from_numpy(split.images))
    wide = functional.pad(normalised, (spec.augmentation.pad,) * 4, mode="reflect")
    wide = wide.contiguous(memory_format=torch.channels_last)

    def one_pass() -> Iterator[Tensor]:
        epoch = _cropped(wide, size)
        epoch = torch.where(torch.rand(len(epoch), 1, 1, 1) < 0.5, epoch.flip(-1), epoch)
        for samples in _shuffled(len(epoch), batch):
            yield epoch[samples]

    return one_pass


def _cropped(wide: Tensor, size: int) -> Tensor:
    """Images that share a shift are copied together: first by shifts of rows, then of columns."""
    count, channels, _, width = wide.shape
    shifts = width - size + 1
    down, across = torch.randint(shifts, (2, count))
    rows = wide.new_empty(count, channels, size, width).to(memory_format=torch.channels_last)
    crops = wide.new_empty(count, channels, size, size).to(memory_format=torch.channels_last)
    for shift in range(shifts):
        shifted = down == shift
        rows[shifted] = wide[shifted, :, shift : shift + size]
    for shift in range(shifts):
        shifted = across == shift
        crops[shifted] = rows[shifted, :, :, shift : shift + size]
    return crops


def bare_dali(split: Split, spec: LoaderSpec, order: Order) -> Pass:
    """Our DALI graph and nothing around it, which is what the loader may reach.

    Images are gathered; all numbers were made before.
    """
    from nvidia.dali.plugin.pytorch import DALIGenericIterator

    size = split.images.shape[1:3]
    augmentation = spec.augmentation
    span = np.float32(2 * augmentation.pad)
    images = padded(torch.from_numpy(split.images), augmentation.pad, augmentation.pad_mode).numpy()
    fed = []
    for step in range(order.steps_per_epoch):
        rows = order.rows(step)
        numbers = draw_numbers(rows.seed, rows.epoch, torch.device("cpu"))
        samples = torch.from_numpy(rows.samples)
        drawn = draws(samples, numbers, augmentation.pad, augmentation.flip)
        top, left, mirror, _ = (each.numpy() for each in drawn)
        corner = left.astype(np.float32) / span, top.astype(np.float32) / span
        fed.append(
            (
                rows.samples,
                split.labels[rows.samples],
                rows.samples,
                *corner,
                mirror.astype(np.int32),
            )
        )

    def one_pass() -> Iterator[Tensor]:
        feed = ((images[samples], *numbers) for samples, *numbers in fed)
        pipeline = build_pipeline(
            feed, spec, batch_size=order.global_batch_size, size=size, device="cpu", device_id=None
        )
        for (outputs,) in DALIGenericIterator([pipeline], OUTPUTS, prepare_first_batch=False):
            yield outputs["images"].permute(0, 3, 1, 2)

    return one_pass


def copy(split: Split, spec: LoaderSpec, batch: int) -> Pass:
    """The roof: the same bytes, in order, converted into memory that is there already. No image
    is moved or changed.
    """
    images = torch.from_numpy(split.images)
    out = torch.empty(batch, *images.shape[1:], dtype=spec.dtype)

    def one_pass() -> Iterator[Tensor]:
        for first in range(0, len(images) - batch + 1, batch):
            yield out.copy_(images[first : first + batch]).permute(0, 3, 1, 2)

    return one_pass


def _shuffled(count: int, batch: int) -> Iterator[Tensor]:
    """Sample numbers of whole batches."""
    return iter(torch.randperm(count)[: count // batch * batch].split(batch))
