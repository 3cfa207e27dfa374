"""Sender: the posed body as the camera of a crop sees it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somacast.body.table import load_body
from somacast.geometry.rasteriser import rasterize
from somacast.systems.aflsc.labels.state import PersonState
from somacast.systems.aflsc.receiver.assemble import displaced_body


@dataclass(frozen=True)
class WeakCamera:
    """Projection of the view frame into a crop: place = place_px + scale * (x, -y) / (1 - z / distance), in crop sides
    from the centre or, after `at_size`, in pixels. The same as `metrics.views.view_camera`.

    place_px [2]: the pelvis; scale_px_per_m: at the pelvis' distance; focal_px: focal length.
    """

    place_px: np.ndarray
    scale_px_per_m: float
    focal_px: float

    @property
    def distance_m(self) -> float:
        """From the camera to the pelvis."""
        return self.focal_px / self.scale_px_per_m

    def project(self, points: np.ndarray) -> np.ndarray:
        """View-frame points [N, 3] to places in the crop [N, 2]."""
        w = self.scale_px_per_m / (1 - points[:, 2] / self.distance_m)
        return self.place_px + np.stack([points[:, 0] * w, -points[:, 1] * w], 1)

    def at_size(self, size: float) -> WeakCamera:
        """A camera in crop sides from the centre as one in pixels of a crop of that side."""
        return WeakCamera((self.place_px + 0.5) * size, self.scale_px_per_m * size, self.focal_px * size)

    def facing(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Cosine [N] between unit normals [N, 3] and the way from points [N, 3] to the camera."""
        ray = np.array([0, 0, self.distance_m], np.float32) - points
        return (normals * ray).sum(1) / np.linalg.norm(ray, axis=1)


@dataclass(frozen=True)
class RenderedBody:
    """Skin moved out by the chart's offset [H, W] in metres: vertices and unit normals [13380, 3] in the view frame;
    camera in crop sides; size: pixels of the crop's side."""

    offset: np.ndarray
    vertices: np.ndarray
    normals: np.ndarray
    camera: WeakCamera
    size: int

    @staticmethod
    def of(state: PersonState, offset: np.ndarray, camera: WeakCamera, size: int) -> RenderedBody:
        """The body of a person's state."""
        vertices, normals, _ = displaced_body(state, offset)
        return RenderedBody(offset, vertices, normals, camera, size)

    @cached_property
    def nearness_m(self) -> np.ndarray:
        """z of the nearest skin at every pixel [S, S], -3e38 where there is none."""
        pixels = self.camera.at_size(self.size)
        screen = np.concatenate([pixels.project(self.vertices), self.vertices[:, 2:]], 1).astype(np.float32)
        near, triangle = np.empty((self.size, self.size), np.float32), np.empty((self.size, self.size), np.int32)
        rasterize(screen, load_body().faces, False, near, triangle, np.empty((*near.shape, 2), np.float32))
        return near

    @property
    def covered(self) -> np.ndarray:
        """Which pixels [S, S] the body covers."""
        return self.nearness_m > -1e38
