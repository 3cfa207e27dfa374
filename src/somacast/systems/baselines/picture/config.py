"""Configurations of the picture systems: light, as they are read for every list of systems."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PictureConfig:
    """sides_px: of coded pictures, some of `codecs.SIDES_PX`; flat: everything but the person becomes one colour;
    projected: the receiver lays the picture over the rebuilt person; good_psnr_db: what a file without a budget reaches
    inside the silhouette; attempts: pictures, best PSNR first, of which the receiver must see the person in one, at
    each of `shares` of the budget in turn; rendered: choose among these by how the rebuilt person looks."""

    sides_px: tuple[int, ...] = (32, 48, 64, 96, 128, 192, 256)
    flat: bool = True
    projected: bool = True
    good_psnr_db: float = 30.0
    attempts: int = 3
    shares: tuple[float, ...] = (1.0, 0.7, 0.5)
    rendered: bool = True


VARIANTS = {
    "plain": PictureConfig(flat=False, projected=False, rendered=False),
    "unprojected": PictureConfig(projected=False),
}
