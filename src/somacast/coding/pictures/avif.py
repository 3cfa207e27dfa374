"""AVIF pictures of any size as bare AV1 frames: what follows from the size is not sent, and made again.

Pillow writes and reads AVIF files; of a file only the coded frame depends on the picture. `decode` puts it into the
file of an even grey picture of the same size.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np

from somacast.coding.pictures.headers import obu, split_avif
from somacast.errors import BitstreamError, SomacastError

QUALITIES = 64  # 0 .. 63, more bytes with each: the quantisers that stand behind Pillow's 0 to 100
STEP_PX = 8  # sides are multiples of this
MAX_SIDE_PX = 8 * 255
SPEED = 6  # of 10; 8 takes half of the time and errs by 7 % more, 4 four times as long and errs by 4 % less
_GREY_QUALITY = QUALITIES // 2


def encode(pixels: np.ndarray, quality: int) -> bytes:
    """The coded frame of a picture [H, W, 3] uint8 whose sides are multiples of STEP_PX, at a quality 0 .. 63.

    SomacastError for other pictures, and if this build of Pillow has no AVIF.
    """
    height, width = pixels.shape[:2]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or not _fits(width) or not _fits(height):
        raise SomacastError(
            f"picture: expected uint8 with sides of {STEP_PX} to {MAX_SIDE_PX} px in steps of {STEP_PX}, "
            f"got {pixels.shape} {pixels.dtype}"
        )
    headers, frame = split_avif(_saved(pixels, quality))
    if headers != _grey_parts(width, height)[1]:
        raise SomacastError("AVIF: this encoder's headers depend on the picture, expected on its size alone")
    return frame


def decode(frame: bytes, width: int, height: int) -> np.ndarray:
    """Inverse of `encode`: the picture [height, width, 3] uint8 of a coded frame. BitstreamError for what is none."""
    from PIL import Image

    if not _fits(width) or not _fits(height):
        raise BitstreamError(f"picture: expected sides of {STEP_PX} to {MAX_SIDE_PX} px, got {width} x {height}")
    before, headers, place = _grey_parts(width, height)
    units = obu(2, b"") + obu(1, headers) + obu(6, frame)
    box = (8 + len(units)).to_bytes(4, "big") + b"mdat" + units
    file = before[:place] + len(units).to_bytes(4, "big") + before[place + 4 :] + box
    try:
        with Image.open(io.BytesIO(file)) as image:
            if image.size != (width, height):
                raise BitstreamError(f"picture: expected {width} x {height} px, got {image.width} x {image.height}")
            return np.asarray(image.convert("RGB"))
    except BitstreamError:
        raise
    except (OSError, ValueError, SyntaxError, RuntimeError) as fault:  # what Pillow's readers raise
        raise BitstreamError(f"damaged picture: {fault}") from fault


def _fits(side: int) -> bool:
    return STEP_PX <= side <= MAX_SIDE_PX and side % STEP_PX == 0


def _saved(pixels: np.ndarray, quality: int) -> bytes:
    from PIL import Image, features

    if not features.check("avif"):
        raise SomacastError("AVIF: this build of Pillow has none; expected Pillow 11.3 or newer")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(
        buffer, "AVIF", quality=round(quality * 100 / (QUALITIES - 1)), subsampling="4:2:0", speed=SPEED,
        max_threads=1, range="full", advanced={"tune": "psnr"},
    )  # fmt: skip
    return buffer.getvalue()


@lru_cache(maxsize=256)
def _grey_parts(width: int, height: int) -> tuple[bytes, bytes, int]:
    """Of the file of a grey picture: what stands before its media data, the sequence header's content, and where in the
    former the length of the media data stands."""
    file = _saved(np.full((height, width, 3), 128, np.uint8), _GREY_QUALITY)
    start = 0
    while file[start + 4 : start + 8] != b"mdat":
        length = int.from_bytes(file[start : start + 4], "big")
        if length < 8 or start + length > len(file):
            raise SomacastError("AVIF: expected a file with media data")
        start += length
    before, media = file[:start], file[start + 8 :]
    # The item's extent: its offset from the start of the file, then its length, four bytes each.
    extent = (start + 8).to_bytes(4, "big") + len(media).to_bytes(4, "big")
    if before.count(extent) != 1:
        raise SomacastError("AVIF: expected a file of one item with one extent")
    return before, split_avif(file)[0], before.index(extent) + 4
