"""Pictures as a receiver of coded pictures sees them: made smaller, coded at a low rate, decoded and enlarged again."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from somacast.errors import SomacastError

MIN_SIDE_PX = 32
_CODECS, _SHARES = ("JPEG", "WEBP", "AVIF"), (0.4, 0.45, 0.15)  # AVIF costs several times as much as the others
_SEAM = 0.02  # what of the background is kept around the person, in sides of the picture
_CHROMA = ("4:4:4", "4:2:0")


def spoil(
    image: np.ndarray, rng: np.random.Generator, share: float, silhouette: np.ndarray | None = None
) -> np.ndarray:
    """With probability `share` the picture [S, S, 3] uint8 after a codec at a drawn rate, else the picture itself.

    The side that is coded lies between 32 px and S, the rate between about 100 bytes and 5 kB without headers; half of
    the coded pictures have lost their background if `silhouette` [S, S] uint8 (0 outside the person) is given.
    SomacastError for pictures of another shape or type.
    """
    size = len(image)
    if image.shape != (size, size, 3) or image.dtype != np.uint8:
        raise SomacastError(f"expected a uint8 picture of equal sides, got {image.shape} {image.dtype}")
    if share <= 0 or rng.random() >= share:
        return image
    flat = rng.random() < 0.5
    if flat and silhouette is not None:
        image = flatten_background(image, silhouette)
    # Small sides more often: they are what few bytes buy.
    side = round(min(MIN_SIDE_PX, size) * (size / min(MIN_SIDE_PX, size)) ** rng.random())
    picture = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
    with Image.open(io.BytesIO(encode(picture, rng))) as coded:
        decoded = coded.convert("RGB")
    return np.asarray(decoded.resize((size, size), Image.Resampling.LANCZOS))


def encode(picture: Image.Image, rng: np.random.Generator) -> bytes:
    """A picture as a file of a drawn codec and quality."""
    kind = str(rng.choice(_CODECS, p=_SHARES))
    level, half_chroma = float(rng.random()), bool(rng.random() < 0.6)
    options: dict[str, Any] = {}
    if kind == "JPEG":
        options = {"quality": 3 + round(87 * level**2), "subsampling": 2 if half_chroma else 0}
    elif kind == "WEBP":
        options = {"quality": round(95 * level**1.5), "method": 2}
    else:
        options = {"quality": 5 + round(80 * level), "subsampling": _CHROMA[half_chroma], "speed": 9, "max_threads": 1}
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def flatten_background(image: np.ndarray, silhouette: np.ndarray) -> np.ndarray:
    """The picture [S, S, 3] uint8 with one colour, the mean of what was there, outside the person and a seam."""
    seam = max(1, round(_SEAM * len(image)))
    person = Image.fromarray(silhouette).filter(ImageFilter.MaxFilter(2 * seam + 1))
    keep = np.asarray(person, np.float32)[..., None] / 255
    beyond = keep[..., 0] == 0
    fill = image[beyond].mean(0) if beyond.any() else np.full(3, 127.5)
    return np.round(image * keep + fill * (1 - keep)).astype(np.uint8)
