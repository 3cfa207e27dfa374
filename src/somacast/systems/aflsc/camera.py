"""Sender: the camera of a crop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WeakCamera:
    """Projection of the view frame into a crop: pixel = place_px + scale * (x, -y) / (1 - z / distance).

    place_px [2]: the pelvis; scale_px_per_m: at the pelvis' distance; distance_m from the camera to the pelvis.
    """

    place_px: np.ndarray
    scale_px_per_m: float
    distance_m: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """View-frame points [N, 3] to crop pixels [N, 2]."""
        w = self.scale_px_per_m / (1 - points[:, 2] / self.distance_m)
        return self.place_px + np.stack([points[:, 0] * w, -points[:, 1] * w], 1)

    def at_size(self, size: float) -> WeakCamera:
        """A camera in crop sides from the centre as one in pixels of a crop of that side."""
        return WeakCamera((self.place_px + 0.5) * size, self.scale_px_per_m * size, self.distance_m)
