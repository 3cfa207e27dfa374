"""Where the picture of a person lies over a body that both ends know: the same rectangle there.

The canvas is what the sender's camera sees of the body, its box with a margin; places in it are shares of its width and
height, 0 at the upper left. Nothing of it is sent: it follows from labels and warp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.capture.cropping import rectangle_crop
from somacast.metrics.views import VIEW_AXES, view_camera
from somacast.types import Camera

CANVAS_PX, MAX_CANVAS_PX = 320, 1024  # longer side at which the picture is cut out and laid over the person
MIN_CANVAS_PX = 16  # shorter side
MARGIN = 0.04  # around the body's box, of its longer side


@dataclass(frozen=True)
class Canvas:
    """low, high [2]: corners of the canvas, as tangents of directions from the sender's camera (x right, y down);
    pelvis_m [3]: where the pelvis stands before that camera, metres."""

    low: np.ndarray
    high: np.ndarray
    pelvis_m: np.ndarray

    @classmethod
    def of(cls, vertices: np.ndarray, pelvis_m: np.ndarray) -> Canvas:
        """Around a body's points [N, 3] in the view frame, metres, the pelvis at the origin."""
        pelvis = np.asarray(pelvis_m, np.float64)
        seen = _tangents(vertices, pelvis)
        low, high = seen.min(0), seen.max(0)
        margin = MARGIN * float((high - low).max())
        return cls(low - margin, high + margin, pelvis)

    @property
    def aspect(self) -> float:
        """Width over height."""
        width, height = self.high - self.low
        return float(width / height)

    def size(self, longer_px: int) -> tuple[int, int]:
        """Width and height in pixels of a picture of the canvas with that longer side."""
        return size_of(self.aspect, longer_px)

    def camera(self, width: int, height: int) -> Camera:
        """The sender's camera, of which the canvas is the whole picture, of width x height pixels."""
        fx, fy = np.array([width, height]) / (self.high - self.low)
        lens = Camera(np.eye(3), np.zeros(3), fx, fy, -self.low[0] * fx, -self.low[1] * fy, width, height)
        return view_camera(lens, self.pelvis_m)

    def places(self, points: np.ndarray) -> np.ndarray:
        """Points [N, 3] of the view frame to places [N, 2]."""
        return (_tangents(points, self.pelvis_m) - self.low) / (self.high - self.low)

    def tangents(self, places: np.ndarray) -> np.ndarray:
        """Places [..., 2] to tangents of directions [..., 2]."""
        return self.low + places * (self.high - self.low)

    def cut(self, picture: np.ndarray, other: Canvas, width: int, height: int) -> np.ndarray:
        """What a picture [h, w, C] of another canvas of the same camera shows on this one, [height, width, C] float32;
        what lies beyond its edge is like the edge."""
        scale = [picture.shape[1], picture.shape[0]] / (other.high - other.low)
        corner, sides = (self.low - other.low) * scale, (self.high - self.low) * scale
        return rectangle_crop(picture, corner, sides, width, height)

    def moved(self, points: np.ndarray, by: np.ndarray) -> np.ndarray:
        """Points [N, 3] of the view frame moved across the view, so that they appear `by` [N, 2] places farther on;
        float32."""
        depth = self.pelvis_m[2] - points[:, 2:]
        across = by * (self.high - self.low) * depth
        return (points + np.concatenate([across * [1, -1], np.zeros_like(depth)], 1)).astype(np.float32)


def size_of(aspect: float, longer_px: int, step_px: int = 1) -> tuple[int, int]:
    """Width and height of a picture of an aspect, its sides multiples of a step that divides both limits."""
    wide, high = min(aspect, 1.0), min(1 / aspect, 1.0)
    width, height = (max(round(longer_px * share / step_px) * step_px, MIN_CANVAS_PX) for share in (wide, high))
    return width, height


def grid_places(width: int, height: int) -> np.ndarray:
    """Places [height, width, 2] of the middles of a picture's pixels."""
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    return np.stack(np.meshgrid(x, y), -1)


def _tangents(points: np.ndarray, pelvis_m: np.ndarray) -> np.ndarray:
    local = points.astype(np.float64) @ VIEW_AXES.T + [0, 0, pelvis_m[2]]
    return pelvis_m[:2] / pelvis_m[2] + local[:, :2] / np.maximum(local[:, 2:], 1e-3)
