"""Makes images and labels of the bytes of CIFAR-10's files, one function a format.

No size that bytes claim is believed; what is wrong with them raises many kinds of errors.
"""

import io
import pickle
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from bench.data.source import Images

SIZE = 32  # pixels a side
PLANES_BYTES = 3 * SIZE * SIZE
MAX_IMAGES = 60_000
MAX_PARQUET_BYTES = 1 << 30
MAX_IMAGE_BYTES = 1 << 20


class DecodedBatch(NamedTuple):
    """Images [N, 32, 32, 3], and their labels as the file has them: not checked."""

    images: Images
    labels: Sequence[object]


def decode_batch(content: bytes) -> DecodedBatch:
    """Decode a python batch. A pickle can run anything: for the published bytes only."""
    with warnings.catch_warnings():  # numpy's, of how the numpy of 2009 wrote an array's type
        warnings.simplefilter("ignore")
        batch = pickle.loads(content, encoding="bytes")
    return DecodedBatch(images=_upright(batch[b"data"]), labels=batch[b"labels"])


def decode_records(content: bytes) -> DecodedBatch:
    """Decode a binary batch: records of a label's byte and 3 planes of 32x32 bytes."""
    record_bytes = 1 + PLANES_BYTES
    if not content or len(content) % record_bytes:
        raise ValueError(f"{len(content)} bytes are no whole number of {record_bytes}")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, record_bytes)
    return DecodedBatch(images=_upright(records[:, 1:]), labels=records[:, 0].tolist())


def decode_parquet(content: bytes) -> DecodedBatch:
    """Decode a parquet file of encoded images.

    Few rows at a time, for its dictionary repeats a large value at no cost.
    """
    import pyarrow.parquet as pq  # which few need

    images: list[Images] = []
    labels: list[object] = []
    with pq.ParquetFile(io.BytesIO(content)) as file:
        groups = range(file.metadata.num_row_groups)
        size_bytes = sum(file.metadata.row_group(i).total_byte_size for i in groups)
        _check_claims(file.metadata.num_rows, size_bytes)
        for rows in file.iter_batches(16, columns=["img.bytes", "label"], use_threads=False):
            images += [decode_image(image.as_py()) for image in rows["img"].field("bytes")]
            labels += rows["label"].to_pylist()
    images_NHWC = np.array(images, dtype=np.uint8).reshape(-1, SIZE, SIZE, 3)
    return DecodedBatch(images=images_NHWC, labels=labels)


def decode_image(content: bytes | None) -> Images:
    """Return the pixels [32, 32, 3] of a PNG or JPEG file.

    Raises ValueError, before it decodes, when the file's own header says otherwise.
    """
    if content is None or len(content) > MAX_IMAGE_BYTES:
        raise ValueError(f"an image of {len(content or b'')} bytes")
    with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
        if image.size != (SIZE, SIZE) or image.mode != "RGB":
            raise ValueError(f"{image.width}x{image.height} {image.mode} image")
        return np.asarray(image)


def _check_claims(row_count: int, size_bytes: int) -> None:
    """Raise ValueError for a parquet file that says itself that it is too large."""
    if row_count > MAX_IMAGES or size_bytes > MAX_PARQUET_BYTES:
        raise ValueError(
            f"{row_count} rows in {size_bytes} bytes; at most {MAX_IMAGES} in {MAX_PARQUET_BYTES}"
        )


def _upright(planes: Images) -> Images:
    """Turn [N, 3072], a plane for each channel, into [N, 32, 32, 3]."""
    return np.ascontiguousarray(planes.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1))
