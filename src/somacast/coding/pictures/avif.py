"""AVIF pictures of any size as bare AV1 frames: what follows from the size is not sent, and made again.

Pillow writes and reads AVIF files; of a file only the coded frame depends on the picture. The sequence header is the
same on every machine: `encode` refuses an encoder that would need another one, `decode` puts it before the frame again,
in the file of a grey picture.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np

from somacast.coding.pictures.headers import obu, split_avif
from somacast.errors import BitstreamError, SomacastError

QUALITIES = 64  # 0 .. 63, more bytes with each: the quantisers that stand behind Pillow's 0 to 100
STEP_PX = 8  # sides are multiples of this
MAX_SIDE_PX = 8 * 255
# Of 10: at equal bytes 8 errs by 7 % more in a third of the time, 4 by 4 % less in four times the time: small pictures
# have it.
SPEED, TRIAL_SPEED, SMALL_SPEED = 6, 8, 4
SMALL_PIXELS = 6000
# Tools of the coder that the sequence header switches, and that encoders would set by their version and speed.
_TOOLS = {"tune": "psnr", "enable-cdef": "0", "enable-restoration": "0", "sb-size": "64"}


def encode(pixels: np.ndarray, quality: int) -> bytes:
    """The coded frame of a picture [H, W, 3] uint8 whose sides are multiples of STEP_PX, at a quality 0 .. 63.

    SomacastError for other pictures, and if this build of Pillow has no AVIF or another coder than expected.
    """
    height, width = pixels.shape[:2]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or not _fits(width) or not _fits(height):
        raise SomacastError(
            f"picture: expected uint8 with sides of {STEP_PX} to {MAX_SIDE_PX} px in steps of {STEP_PX}, "
            f"got {pixels.shape} {pixels.dtype}"
        )
    speed = SMALL_SPEED if width * height <= SMALL_PIXELS else SPEED
    header, frame = split_avif(_saved(pixels, quality, speed))
    if _any_level(header) != _any_level(sequence_header(width, height)):
        raise SomacastError(f"AVIF: expected a coder with the sequence header of the format, got {header.hex()}")
    return frame


def trial(pixels: np.ndarray, quality: int) -> tuple[int, np.ndarray]:
    """What `encode` and `decode` come to, roughly and much quicker: bytes, and the decoded picture [H, W, 3] uint8."""
    file = _saved(pixels, quality, TRIAL_SPEED)
    return len(split_avif(file)[1]), _opened(file, pixels.shape[1], pixels.shape[0])


def decode(frame: bytes, width: int, height: int) -> np.ndarray:
    """Inverse of `encode`: the picture [height, width, 3] uint8 of a coded frame. BitstreamError for what is none."""
    if not _fits(width) or not _fits(height):
        raise BitstreamError(f"picture: expected sides of {STEP_PX} to {MAX_SIDE_PX} px, got {width} x {height}")
    before, size_place, length_place = _grey_boxes()
    units = obu(2, b"") + obu(1, sequence_header(width, height)) + obu(6, frame)
    boxes = bytearray(before)
    boxes[size_place : size_place + 8] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    boxes[length_place : length_place + 4] = len(units).to_bytes(4, "big")
    return _opened(bytes(boxes) + (8 + len(units)).to_bytes(4, "big") + b"mdat" + units, width, height)


def sequence_header(width: int, height: int) -> bytes:
    """The AV1 sequence header of a still picture: 8 bits, 4:4:4, full range, BT.601 with sRGB's primaries and
    transfer, of any level; filtered intra prediction and edges, no superresolution, CDEF or restoration."""
    bits = "001" + "1" + "1" + "11111"  # profile 1, still picture, reduced header, level 31: no limits
    wide, high = (width - 1).bit_length(), (height - 1).bit_length()
    bits += f"{wide - 1:04b}{high - 1:04b}{width - 1:0{wide}b}{height - 1:0{high}b}"
    bits += "0" + "11" + "000"  # blocks of 64; filter intra, edge filter; superresolution, CDEF, restoration
    bits += "0" + "1" + f"{1:08b}{13:08b}{6:08b}" + "1"  # 8 bits; colours: BT.709 primaries, sRGB, BT.601; full range
    bits += "0" + "0" + "1"  # one quantiser for both chroma planes; no film grain; trailing bit
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def _any_level(header: bytes) -> int:
    """A sequence header without its level, as a number."""
    level = 0b11111 << (8 * len(header) - 10)
    return int.from_bytes(header, "big") | level


def _fits(side: int) -> bool:
    return STEP_PX <= side <= MAX_SIDE_PX and side % STEP_PX == 0


def _saved(pixels: np.ndarray, quality: int, speed: int) -> bytes:
    from PIL import Image, features

    if not features.check("avif"):
        raise SomacastError("AVIF: this build of Pillow has none; expected Pillow 11.3 or newer")
    options: dict[str, Any] = {"subsampling": "4:4:4", "range": "full", "max_threads": 1, "advanced": _TOOLS}
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "AVIF", quality=round(quality * 100 / (QUALITIES - 1)), speed=speed, **options)
    return buffer.getvalue()


def _opened(file: bytes, width: int, height: int) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(file)) as image:
            if image.size != (width, height):
                raise BitstreamError(f"picture: expected {width} x {height} px, got {image.width} x {image.height}")
            return np.asarray(image.convert("RGB"))
    except BitstreamError:
        raise
    except (OSError, ValueError, SyntaxError, RuntimeError) as fault:  # what Pillow's readers raise
        raise BitstreamError(f"damaged picture: {fault}") from fault


@lru_cache(maxsize=1)
def _grey_boxes() -> tuple[bytes, int, int]:
    """Of the file of a grey picture: what stands before its media data, and where in that the picture's size and the
    length of the media data stand."""
    file = _saved(np.full((16, 16, 3), 128, np.uint8), QUALITIES // 2, SPEED)
    start = 0
    while file[start + 4 : start + 8] != b"mdat":
        length = int.from_bytes(file[start : start + 4], "big")
        if length < 8 or start + length > len(file):
            raise SomacastError("AVIF: expected a file with media data")
        start += length
    before, media = file[:start], file[start + 8 :]
    # The item's extent: its offset from the start of the file, then its length, four bytes each.
    extent = (start + 8).to_bytes(4, "big") + len(media).to_bytes(4, "big")
    size = b"ispe" + bytes(4) + (16).to_bytes(4, "big") * 2
    if before.count(extent) != 1 or before.count(size) != 1:
        raise SomacastError("AVIF: expected a file of one item with one extent and one size")
    return before, before.index(size) + 8, before.index(extent) + 4
