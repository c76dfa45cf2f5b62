"""The `dali` loader, the one door to NVIDIA DALI: one graph for CPU and GPU, no random state in it.

A thread gathers images and their random numbers (feed.py); DALI crops, mirrors and normalises.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from nvidia.dali import Pipeline, fn, types
from nvidia.dali.data_node import DataNode
from nvidia.dali.plugin.pytorch import DALIGenericIterator

from bench.data.ahead import mapped_ahead
from bench.data.batches import Batch, LoaderSpec
from bench.data.feed import Feed, FeedMaker
from bench.data.order import Order
from bench.data.source import Split
from kernels.augment.reference import padded

OUTPUTS = ["images", "labels", "samples"]
QUEUE_DEPTH = 2  # batches that DALI makes ahead of the step
FEEDS_AHEAD = 3  # feeds that lie ready for DALI meanwhile: the first of an epoch takes milliseconds
_LAYOUTS = ["HWC", "", "", "", "", "", ""]  # of the fields of a Feed
# Batches that torch's stream may not have read yet. More than the 20 steps after which the training
# loop itself waits for the GPU: a wait in the loader would count as waiting for data.
UNREAD_LIMIT = 24
_DTYPES = {torch.float32: types.FLOAT, torch.float16: types.FLOAT16}


def build_pipeline(
    feeds: Iterable[Feed],
    spec: LoaderSpec,
    *,
    batch_size: int,
    size: tuple[int, int],
    device: str,
    device_id: int | None,
) -> Pipeline:
    """Build the augmentation graph on `device` ("cpu" or "gpu"). Images come out HWC.

    Crop, mirror and normalise are one operator, after which comes the cutout, if any.
    `device_id` None builds where no GPU is; the "gpu" graph can then be serialised but not run.
    Raises ValueError for a dtype that DALI does not give.
    """
    if spec.dtype not in _DTYPES:
        allowed = ", ".join(map(str, _DTYPES))
        raise ValueError(f"data.loader: dali gives {allowed}, not {spec.dtype}")
    layouts = _LAYOUTS if spec.augmentation.cutout else _LAYOUTS[:-1]
    pipeline = Pipeline(
        batch_size=batch_size,
        num_threads=spec.threads,
        device_id=device_id,
        prefetch_queue_depth=QUEUE_DEPTH,
    )
    with pipeline:
        inputs = fn.external_source(
            source=feeds, num_outputs=len(layouts), layout=layouts, batch=True, no_copy=True
        )
        labels = inputs[1]
        samples = inputs[2]
        if device == "gpu":
            labels = labels.gpu()
            samples = samples.gpu()
        images = _augmented(inputs, spec, size, device)
        pipeline.set_outputs(images, labels, samples)
    return pipeline


def _augmented(
    inputs: Sequence[DataNode], spec: LoaderSpec, size: tuple[int, int], device: str
) -> DataNode:
    """Crop, mirror, normalise and cut out, on the device; `inputs` are the fields of a Feed."""
    images, _, _, crop_x, crop_y, mirror = inputs[:6]
    if device == "gpu":
        images = images.gpu()
    dtype = _DTYPES[spec.dtype]
    cutout = spec.augmentation.cutout
    # DALI's GPU code erases no float16: with a cutout, images are float32 up to the end.
    inner_dtype = types.FLOAT if cutout else dtype
    images = fn.crop_mirror_normalize(
        images,
        device=device,
        dtype=inner_dtype,
        output_layout="HWC",
        rounding="round",
        crop=size,
        crop_pos_x=crop_x,
        crop_pos_y=crop_y,
        mirror=mirror,
        mean=_of_bytes(spec.mean),
        std=_of_bytes(spec.std),
    )
    if cutout:
        images = fn.erase(
            images,
            device=device,
            anchor=inputs[6],
            shape=[cutout, cutout],
            axis_names="HW",
            fill_value=0,
        )
    if inner_dtype != dtype:
        images = fn.cast(images, device=device, dtype=dtype)
    return images


def _of_bytes(fractions: Sequence[float]) -> list[float]:
    """Turn fractions of 255 into values of bytes."""
    return [255 * fraction for fraction in fractions]


class DaliLoader:
    """Feeds DALI from the padded split in host memory; its threads run ahead of the step."""

    def __init__(self, split: Split, spec: LoaderSpec) -> None:
        images = torch.from_numpy(np.ascontiguousarray(split.images))
        augmentation = spec.augmentation
        self._size = (split.images.shape[1], split.images.shape[2])
        self._padded = padded(images, augmentation.pad, augmentation.pad_mode).numpy()
        self._labels = np.ascontiguousarray(split.labels)
        self._spec = spec

    def batches(self, order: Order, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Yield the batches of the steps [start_step, stop_step).

        The threads start, and fill their queues, at the first batch that is asked for.
        """
        device = self._spec.device
        on_gpu = device.type == "cuda"
        maker = FeedMaker(
            self._padded,
            self._labels,
            self._spec.augmentation,
            size=self._size,
            kept=QUEUE_DEPTH + FEEDS_AHEAD + 2,
        )
        # An order is not for two threads: its rows are looked up in this one.
        rows = (order.rows(step) for step in range(start_step, stop_step))
        feeds = mapped_ahead(maker.make, rows, ahead=FEEDS_AHEAD)
        gpu_index = device.index if on_gpu else None
        pipeline = build_pipeline(
            feeds,
            self._spec,
            batch_size=order.global_batch_size // order.world_size,
            size=self._size,
            device="gpu" if on_gpu else "cpu",
            device_id=gpu_index,
        )
        unread = Unread(UNREAD_LIMIT)
        try:
            for (outputs,) in DALIGenericIterator([pipeline], OUTPUTS, prepare_first_batch=False):
                yield Batch(
                    images=outputs["images"].permute(0, 3, 1, 2),
                    labels=outputs["labels"].view(-1),
                    samples=outputs["samples"].view(-1),
                )
                if on_gpu:
                    unread.hold(outputs, torch.cuda.current_stream(device).record_event())
        finally:
            feeds.close()
            if on_gpu:  # all that is unread is dropped now
                torch.cuda.current_stream(device).synchronize()


class Event(Protocol):
    """A mark in a stream of GPU work, such as torch.cuda.Event."""

    def query(self) -> bool:
        """Say whether all work before the mark is done."""
        ...

    def synchronize(self) -> None:
        """Wait until it is."""
        ...


class Unread:
    """Outputs that a GPU may still have to read, oldest first.

    DALI takes the memory of a dropped output back at once, though torch's stream may be steps
    behind the host.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries = deque[tuple[Event, object]]()

    def hold(self, outputs: object, read: Event) -> None:
        """Keep outputs until `read` is done, and drop those whose event is.

        Waits for the oldest only where more than the limit would be kept.
        """
        self._entries.append((read, outputs))
        while self._entries and self._entries[0][0].query():
            self._entries.popleft()
        while len(self._entries) > self._limit:
            oldest, _ = self._entries[0]
            oldest.synchronize()
            self._entries.popleft()
