"""The `dali` loader, the one door to NVIDIA DALI: one graph for CPU and GPU, no random state inside it."""

from collections import deque
from collections.abc import Iterator

import numpy as np
import torch
from nvidia.dali import Pipeline, fn, types
from nvidia.dali.plugin.pytorch import DALIGenericIterator

from bench.data.batches import Batch, LoaderSpec
from bench.data.order import Order
from bench.data.source import Split
from kernels.augment.reference import draw_numbers, draws, middle, padded

OUTPUTS = ["images", "labels", "samples"]
STEPS_HELD = (
    3  # batches on a GPU that live on after the host has done with them; so far it may run ahead
)
# Padded images uint8 [B, H + 2p, W + 2p, 3], labels int64 [B], samples int64 [B], crop x and y in [0, 1] [B], mirror int32 [B],
# and with a cutout its corner (y, x) in pixels [B, 2].
Feed = tuple[np.ndarray, ...]
_DTYPES = {torch.float32: types.FLOAT, torch.float16: types.FLOAT16}


def build_pipeline(
    feed: Iterator[Feed],
    spec: LoaderSpec,
    *,
    batch_size: int,
    size: tuple[int, int],
    device: str,
    device_id: int | None,
) -> Pipeline:
    """The augmentation graph on `device` ("cpu" or "gpu"): crop, mirror, normalise in one operator, then the cutout, if any.

    Images come out HWC. `device_id` None builds where no GPU is; the "gpu" graph can then be serialised but not run.
    Raises ValueError for a dtype that DALI does not give.
    """
    if spec.dtype not in _DTYPES:
        raise ValueError(
            f"data.loader: dali gives {', '.join(map(str, _DTYPES))}, not {spec.dtype}"
        )
    cutout = spec.augmentation.cutout
    pipeline = Pipeline(
        batch_size=batch_size, num_threads=spec.threads, device_id=device_id, prefetch_queue_depth=2
    )
    with pipeline:
        layouts = ["HWC", "", "", "", "", ""] + [""] * (cutout > 0)
        fed = fn.external_source(source=feed, num_outputs=len(layouts), layout=layouts, batch=True)
        images, labels, samples, x, y, mirror, *corner = fed
        if device == "gpu":
            images, labels, samples = images.gpu(), labels.gpu(), samples.gpu()
        images = fn.crop_mirror_normalize(
            images, device=device, dtype=_DTYPES[spec.dtype], output_layout="HWC", crop=size, crop_pos_x=x, crop_pos_y=y,
            rounding="round", mirror=mirror, mean=[255 * m for m in spec.mean], std=[255 * s for s in spec.std],
        )  # fmt: skip
        if cutout:
            images = fn.erase(
                images,
                device=device,
                anchor=corner[0],
                shape=[cutout, cutout],
                axis_names="HW",
                fill_value=0,
            )
        pipeline.set_outputs(images, labels, samples)
    return pipeline


class DaliLoader:
    """Feeds DALI from the padded split in host memory; its threads run ahead of the training step."""

    def __init__(self, split: Split, spec: LoaderSpec) -> None:
        self._size = (split.images.shape[1], split.images.shape[2])
        images, how = torch.from_numpy(np.ascontiguousarray(split.images)), spec.augmentation
        self._images = padded(images, how.pad, how.pad_mode).numpy()
        self._labels = np.ascontiguousarray(split.labels)
        self._spec = spec

    def batches(self, order: Order, start_step: int, stop_step: int) -> Iterator[Batch]:
        """Batches of the steps [start_step, stop_step); the pipeline fills its queue at the first one asked for."""
        cuda = self._spec.device.type == "cuda"
        pipeline = build_pipeline(
            self._feed(order, start_step, stop_step), self._spec, batch_size=order.global_batch_size // order.world_size,
            size=self._size, device="gpu" if cuda else "cpu", device_id=self._spec.device.index if cuda else None,
        )  # fmt: skip
        read = deque[tuple[torch.cuda.Event, object]]()
        for (outputs,) in DALIGenericIterator([pipeline], OUTPUTS, prepare_first_batch=False):
            labels, samples = outputs["labels"].view(-1), outputs["samples"].view(-1)
            yield Batch(
                images=outputs["images"].permute(0, 3, 1, 2), labels=labels, samples=samples
            )
            if cuda:  # DALI takes a dropped buffer back at once, though torch's stream may be steps behind the host
                read.append((torch.cuda.current_stream(self._spec.device).record_event(), outputs))
                if len(read) > STEPS_HELD:
                    read[0][0].synchronize()
                    read.popleft()

    def _feed(self, order: Order, start_step: int, stop_step: int) -> Iterator[Feed]:
        how, cpu = self._spec.augmentation, torch.device("cpu")
        span = np.float32(max(2 * how.pad, 1))
        for step in range(start_step, stop_step):
            rows = order.rows(step)
            numbers = draw_numbers(rows.seed, rows.epoch, cpu)
            drawn = draws(torch.from_numpy(rows.samples), numbers, how.pad, how.flip)
            top, left, mirror, word = (each.numpy() for each in drawn)
            x, y = left.astype(np.float32) / span, top.astype(np.float32) / span
            fed = (
                self._images[rows.samples],
                self._labels[rows.samples],
                rows.samples,
                x,
                y,
                mirror.astype(np.int32),
            )
            corner = np.stack(middle(word, *self._size), axis=1) - how.cutout // 2
            yield (*fed, corner.astype(np.float32)) if how.cutout else fed
