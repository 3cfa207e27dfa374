"""Sides that a texture may have. Loads nothing, so that settings can name them."""

from __future__ import annotations

from somacast.errors import SomacastError

TEXTURE_PX = (512, 1024, 2048)
DEFAULT_TEXTURE_PX = 1024


def check_texture_px(size: int) -> int:
    """A side of a texture; SomacastError for other sizes than TEXTURE_PX."""
    if size not in TEXTURE_PX:
        raise SomacastError(f"texture: expected a side of {', '.join(map(str, TEXTURE_PX))} texels, got {size}")
    return size
