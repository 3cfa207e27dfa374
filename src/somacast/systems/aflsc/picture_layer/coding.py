"""The picture on the canvas as bytes: an AV1 frame of the size and quality that suit the room there is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.coding.pictures import avif
from somacast.errors import BitstreamError
from somacast.geometry.preview import to_bytes_image
from somacast.systems.aflsc.picture_layer.canvas import CANVAS_PX, MAX_CANVAS_PX, size_of

SIDES_PX = (32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 640, 768, 1024)  # longer ones, as coded
HEAD_BYTES = 2  # width and height, in steps of avif.STEP_PX
BEST_BPP, WEIGHT = 0.4, 0.1  # bits a pixel that suit most pictures, and how much it weighs to be off, in log errors
TRIED = 3  # sizes
_RATE = 0.088  # of log2 bytes a quality
_PER_PIXEL = 0.65  # of log2 bytes a log2 pixel, at one quality
_USUAL = (600, 8192, 29)  # bytes of a usual picture, its pixels and quality
_ERROR = 0.4  # of the log error a log byte
_NEAR = 0.12  # log2 bytes beside the room at which a trial tells enough
_FULL = 0.955  # of the room that is well spent: a quality more takes 6 %


@dataclass(frozen=True)
class _Trial:
    """A size [width, height], at which quality its file would fill the room, and how far it would err."""

    size: tuple[int, int]
    quality: float
    error: float


def best_picture(picture: np.ndarray, counts: np.ndarray, room_bytes: int) -> bytes | None:
    """The best of all files of at most room_bytes, by the decoded picture where it counts; None if nothing fits.

    picture [H, W, 3] in [0, 1]: the canvas; counts [H, W] bool: where it will be seen.
    """
    trials = sorted(_trials(picture, counts, room_bytes), key=lambda trial: trial.error)
    for trial in trials:
        data = _largest(to_bytes_image(resized(picture, *trial.size)), room_bytes, trial.quality)
        if data is not None:
            return data
    return None


def sizes_tried(aspect: float, room_bytes: int) -> list[tuple[int, int]]:
    """The sizes whose bits a pixel lie nearest to the usual best ones for a room."""
    sizes = [size_of(aspect, side, avif.STEP_PX) for side in SIDES_PX]
    return sorted(sizes, key=lambda size: _off(size, room_bytes))[:TRIED]


def canvas_side(aspect: float, room_bytes: int, source_px: float) -> int:
    """Longer side of the canvas on which a picture for a room is cut out: that of the largest size that may be tried,
    as long as the source has as many pixels there."""
    best = max(max(size) for size in sizes_tried(aspect, room_bytes))
    return int(np.clip(min(best, source_px), CANVAS_PX, MAX_CANVAS_PX))


def _off(size: tuple[int, int], room_bytes: int) -> float:
    return abs(np.log(8 * max(room_bytes, 1) / (size[0] * size[1]) / BEST_BPP))


def _trials(picture: np.ndarray, counts: np.ndarray, room_bytes: int) -> list[_Trial]:
    """One trial of each size, by a quick coder; what one size needs tells where to begin with the next."""
    height, width = counts.shape
    half = (max(width // 2, 2), max(height // 2, 2))
    weight = resized(counts[..., None].astype(np.float32), *half)
    wanted = resized(picture, *half)
    found, bytes_, pixels, quality = [], *_USUAL
    for size in sizes_tried(width / height, room_bytes):
        if max(size) > max(width, height) and found:
            continue
        small = to_bytes_image(resized(picture, *size))
        room = max(room_bytes - HEAD_BYTES, 1)
        expected = np.log2(bytes_) + _PER_PIXEL * np.log2(size[0] * size[1] / pixels)
        for _ in range(2):
            quality = int(np.clip(round(quality + (np.log2(room) - expected) / _RATE), 0, avif.QUALITIES - 1))
            bytes_, decoded = avif.trial(small, quality)
            pixels, expected = size[0] * size[1], np.log2(bytes_)
            if abs(np.log2(room) - expected) < _NEAR:
                break
        difference = (resized(decoded.astype(np.float32) / 255, *half) - wanted) * weight
        error = np.log(max(float((difference**2).mean()) ** 0.5, 1e-6)) + _ERROR * np.log(bytes_ / room)
        full = quality + (np.log2(room) - expected) / _RATE
        found.append(_Trial(size, full, error + WEIGHT * _off(size, room_bytes)))
    return found


def _largest(pixels: np.ndarray, room_bytes: int, guess: float) -> bytes | None:
    """The file of the highest quality that fits, found from a guess, or one that nearly fills the room; None if none
    fits."""
    head = bytes(side // avif.STEP_PX for side in (pixels.shape[1], pixels.shape[0]))
    low, high, best = -1, avif.QUALITIES, None
    while high - low > 1:
        quality = int(np.clip(np.floor(guess), low + 1, high - 1))
        data = head + avif.encode(pixels, quality)
        if len(data) <= room_bytes:
            low, best = quality, data
            if len(data) >= _FULL * room_bytes:
                break
        else:
            high = quality
        guess = quality + np.log2(max(room_bytes, 1) / len(data)) / _RATE
    return best


def decode_picture(data: bytes, aspect: float) -> np.ndarray:
    """The picture of a layer on a canvas of an aspect, [H, W, 3] float32 in [0, 1], as fine as it was coded but for
    the limits of a canvas. BitstreamError for a layer that holds none."""
    pixels = decode_pixels(data)
    size = size_of(aspect, int(np.clip(max(pixels.shape), CANVAS_PX, MAX_CANVAS_PX)))
    return np.clip(resized(pixels, *size), 0, 1)


def decode_pixels(data: bytes) -> np.ndarray:
    """The picture of a layer as it was coded, [H, W, 3] float32 in [0, 1]; BitstreamError if it holds none."""
    return avif.decode(data[HEAD_BYTES:], *picture_size(data)).astype(np.float32) / 255


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of the picture in a layer; BitstreamError for a layer that holds none."""
    if len(data) <= HEAD_BYTES or not data[0] or not data[1]:
        raise BitstreamError(f"picture layer: expected more than {HEAD_BYTES} bytes with a size, got {len(data)}")
    return data[0] * avif.STEP_PX, data[1] * avif.STEP_PX


def resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture [H, W, C] float32 of another size: Lanczos."""
    from PIL import Image

    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((width, height), Image.Resampling.LANCZOS))
        for plane in np.moveaxis(picture.astype(np.float32), -1, 0)
    ]
    return np.stack(planes, -1)
