"""Configurations of the picture systems: light, as they are read for every list of systems."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PictureConfig:
    """sides_px: of coded pictures, some of `codecs.SIDES_PX`; flat: everything but the person becomes one colour;
    good_psnr_db: what a file without a budget reaches inside the silhouette; attempts: pictures, best first, that are
    tried until the receiver sees the person, at each of `shares` of the budget in turn."""

    sides_px: tuple[int, ...] = (32, 48, 64, 96, 128, 192, 256)
    flat: bool = False
    good_psnr_db: float = 30.0
    attempts: int = 3
    shares: tuple[float, ...] = (1.0, 0.7, 0.5)


VARIANTS = {"flat": PictureConfig(flat=True)}
