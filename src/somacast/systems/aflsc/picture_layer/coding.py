"""The picture on the canvas as bytes: an AV1 frame of the size and quality that suit the room there is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.coding.pictures import avif
from somacast.errors import BitstreamError
from somacast.geometry.preview import to_bytes_image
from somacast.metrics.image import structure_distance

HEIGHTS_PX = (32, 48, 64, 96, 128, 160, 192, 256, 320, 384)  # of coded pictures; the width follows from the canvas
HEAD_BYTES = 2  # width and height, in steps of avif.STEP_PX
MIN_BPP, MAX_BPP = 0.1, 3.0  # bits a pixel outside of which a size is never the best one
GREY = 0.5  # what stands where the picture does not count


@dataclass(frozen=True)
class CodedPicture:
    """data: as it travels; error: how far the decoded picture lies from the true one, see `structure_distance`."""

    data: bytes
    error: float


def size_of(height: int, aspect: float) -> tuple[int, int]:
    """Width and height of a coded picture of a canvas."""
    width = max(round(height * aspect / avif.STEP_PX), 2) * avif.STEP_PX
    return min(width, avif.MAX_SIDE_PX), height


def best_picture(picture: np.ndarray, counts: np.ndarray, room_bytes: int) -> CodedPicture | None:
    """The best of all files of at most room_bytes, by the decoded picture where it counts; None if nothing fits.

    picture [H, W, 3] in [0, 1]: the canvas; counts [H, W] bool: where it will be seen.
    """
    height, width = counts.shape
    wanted = np.where(counts[..., None], picture, np.float32(GREY)).astype(np.float32)
    best: CodedPicture | None = None
    for size in _sizes(width / height, room_bytes):
        data = _largest(to_bytes_image(resized(picture, *size)), room_bytes)
        if data is None:
            continue
        shown = np.where(counts[..., None], decode_picture(data, width, height), np.float32(GREY))
        found = CodedPicture(data, structure_distance(wanted, shown.astype(np.float32)))
        if best is None or found.error < best.error:
            best = found
    return best


def _sizes(aspect: float, room_bytes: int) -> list[tuple[int, int]]:
    """Sizes worth trying for a room; the nearest one if none is."""
    sizes = [size_of(height, aspect) for height in HEIGHTS_PX]
    bits = [8 * room_bytes / (width * height) for width, height in sizes]
    fitting = [size for size, bpp in zip(sizes, bits, strict=True) if MIN_BPP <= bpp <= MAX_BPP]
    return fitting or [sizes[0] if bits[0] < MIN_BPP else sizes[-1]]


def _largest(pixels: np.ndarray, room_bytes: int) -> bytes | None:
    """The file of the highest quality that fits, or None."""
    head = bytes(side // avif.STEP_PX for side in (pixels.shape[1], pixels.shape[0]))
    low, high, best = -1, avif.QUALITIES, None
    while high - low > 1:
        quality = (low + high) // 2
        frame = avif.encode(pixels, quality)
        if HEAD_BYTES + len(frame) <= room_bytes:
            low, best = quality, head + frame
        else:
            high = quality
    return best


def decode_picture(data: bytes, width: int, height: int) -> np.ndarray:
    """The picture of a layer, enlarged or reduced to [height, width, 3] float32 in [0, 1]. BitstreamError for a layer
    that holds none."""
    pixels = avif.decode(data[HEAD_BYTES:], *picture_size(data))
    return np.clip(resized(pixels.astype(np.float32) / 255, width, height), 0, 1)


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of the picture in a layer; BitstreamError for a layer that holds none."""
    if len(data) <= HEAD_BYTES or not data[0] or not data[1]:
        raise BitstreamError(f"picture layer: expected more than {HEAD_BYTES} bytes with a size, got {len(data)}")
    return data[0] * avif.STEP_PX, data[1] * avif.STEP_PX


def resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture [H, W, 3] float32 of another size: Lanczos."""
    from PIL import Image

    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((width, height), Image.Resampling.LANCZOS))
        for plane in np.moveaxis(picture.astype(np.float32), -1, 0)
    ]
    return np.stack(planes, -1)
