"""What else the same bytes could have been: sizes of the person as a picture (JPEG, AVIF) or as a Draco mesh."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np

from somacast.geometry.preview import to_bytes_image
from somacast.types import Mesh

GOOD_PSNR_DB = 30.0
CROP_PX = 256
DRACO_BITS = 11
_CODECS = {"JPEG": (1, 95), "AVIF": (0, 95)}  # Pillow's name: lowest and highest quality


@dataclass(frozen=True)
class Baseline:
    """One way to send the person: what it is, its bytes (None if it could not be made) and a remark."""

    name: str
    size_bytes: int | None
    remark: str = ""


def picture_baselines(crop: np.ndarray, mask: np.ndarray | None = None) -> list[Baseline]:
    """Sizes of a person crop [S, S, 3] (float in [0, 1]) as JPEG and AVIF: at 30 dB, and the smallest there is.

    The PSNR counts inside mask [S, S] (> 0.5), or everywhere without one.
    """
    from PIL import Image, features

    pixels = to_bytes_image(crop)
    inside = np.ones(pixels.shape[:2], bool) if mask is None or not (mask > 0.5).any() else mask > 0.5
    baselines = []
    for name, (lowest, highest) in _CODECS.items():
        if name == "AVIF" and not features.check("avif"):
            baselines.append(Baseline("AVIF", None, "this build of Pillow has no AVIF"))
            continue

        def attempt(quality: int, name: str = name) -> tuple[int, float]:
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, name, quality=quality)
            back = np.asarray(Image.open(buffer).convert("RGB"), np.float64)
            error = np.mean((back[inside] - pixels[inside]) ** 2)
            return len(buffer.getvalue()), 10 * math.log10(255**2 / max(float(error), 1e-9))

        size_bytes, psnr_db = _lowest_good(attempt, lowest, highest)
        side = pixels.shape[0]
        baselines.append(Baseline(f"{name}, person crop", size_bytes, f"{side} px, {psnr_db:.0f} dB on the person"))
        size_bytes, psnr_db = attempt(lowest)
        baselines.append(
            Baseline(f"{name}, smallest", size_bytes, f"{side} px, lowest quality, {psnr_db:.0f} dB on the person")
        )
    return baselines


def _lowest_good(attempt, lowest: int, highest: int) -> tuple[int, float]:
    """Size and PSNR at the lowest quality that reaches 30 dB (or at the highest there is)."""
    while lowest < highest:
        middle = (lowest + highest) // 2
        if attempt(middle)[1] >= GOOD_PSNR_DB:
            highest = middle
        else:
            lowest = middle + 1
    return attempt(highest)


def draco_baseline(mesh: Mesh) -> Baseline:
    """Size of the same mesh with Draco at 11 bits, colours included."""
    name = "Draco, this mesh"
    try:
        import DracoPy
    except ImportError:
        return Baseline(name, None, "DracoPy is not installed: pip install 'somacast[bench]'")
    colors = None if mesh.colors is None else np.round(np.clip(mesh.colors, 0, 1) * 255).astype(np.uint8)
    data = DracoPy.encode(mesh.vertices, mesh.faces, quantization_bits=DRACO_BITS, colors=colors)
    return Baseline(
        name, len(data), f"{len(mesh.faces)} triangles, {DRACO_BITS} bits{'' if colors is None else ', colours'}"
    )
