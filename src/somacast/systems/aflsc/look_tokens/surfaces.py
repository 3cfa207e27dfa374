"""The nearest and the farthest surface of a body on a canvas: what its camera sees first and what it would see last."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.body.table import load_body
from somacast.geometry.rasteriser import interpolate, rasterize
from somacast.systems.aflsc.picture_layer.canvas import Canvas


@dataclass(frozen=True)
class Surfaces:
    """depth [2, H, W] float32: z of the view frame, nearest first, 0 where there is no body; on [H, W] bool: where
    there is; triangle [2, H, W] int32 and shares [2, H, W, 2] of its corners."""

    depth: np.ndarray
    on: np.ndarray
    triangle: np.ndarray
    shares: np.ndarray

    @classmethod
    def of(cls, vertices: np.ndarray, canvas: Canvas, width: int, height: int) -> Surfaces:
        """Of the skin [13380, 3] in the view frame."""
        projected = canvas.camera(width, height).project(vertices.astype(np.float64))
        depth, near = np.zeros((2, height, width), np.float32), np.empty((height, width), np.float32)
        triangle, shares = np.empty((2, height, width), np.int32), np.zeros((2, height, width, 2))
        for side, sign in enumerate((1, -1)):
            points = np.concatenate([projected[:, :2], sign / projected[:, 2:]], 1).astype(np.float32)
            rasterize(points, load_body().faces, False, near, triangle[side], shares[side])
            there = triangle[side] >= 0
            depth[side][there] = canvas.pelvis_m[2] - 1 / np.abs(near[there])
        return cls(depth, triangle[0] >= 0, triangle, shares)

    def values(self, of_vertices: np.ndarray) -> np.ndarray:
        """Values [13380, C] of the skin on both surfaces, [2, H, W, C] float32, 0 where there is no body."""
        values = np.ascontiguousarray(of_vertices, np.float32)
        out = np.zeros((*self.triangle.shape, values.shape[1]), np.float32)
        for triangle, shares, plane in zip(self.triangle, self.shares, out, strict=True):
            interpolate(values, load_body().faces, triangle, shares, plane)
        return out
