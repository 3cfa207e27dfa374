"""What stands off the body: its skin moved to where both sides of the person lie, and points where the body ends.

posed skin --on the look canvas--> its own depths --to those of both sides--> skin moved along the view
cover beyond the body --> points of both sides: skirts, hair, bags
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.body.table import load_body
from somacast.geometry.gaussian import gaussian_filter
from somacast.geometry.harmonic import harmonic
from somacast.geometry.rasteriser import rasterize
from somacast.geometry.silhouette import sample
from somacast.systems.aflsc.look_tokens.show import Sides
from somacast.systems.aflsc.picture_layer.aligned import AlignedBody
from somacast.systems.aflsc.picture_layer.canvas import Canvas, grid_places
from somacast.systems.aflsc.receiver.assemble import PosedSkin
from somacast.types import PointCloud

SMOOTH_PX = 1.0  # depths are as uncertain as that
THINNEST_M = 0.012  # of what lies beyond the body
COVERED = 0.5


@dataclass(frozen=True)
class _Depths:
    """Fields on the canvas: body [2, H, W] z of the skin's nearest and farthest surface, change [2, H, W] of it to what
    the sides show, slope [2, 2, H, W] of that across and up, in metres a metre; on [H, W]: where the body is."""

    canvas: Canvas
    body: np.ndarray
    change: np.ndarray
    slope: np.ndarray
    on: np.ndarray


def skin_depths(vertices: np.ndarray, canvas: Canvas, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """z [2, H, W] of the nearest and the farthest surface of a skin [13380, 3], and where it is [H, W]."""
    body = load_body()
    projected = canvas.camera(width, height).project(vertices.astype(np.float64))
    depth, on = np.zeros((2, height, width), np.float32), np.zeros((height, width), bool)
    for side, sign in enumerate((1, -1)):
        points = np.concatenate([projected[:, :2], sign / projected[:, 2:]], 1).astype(np.float32)
        near, triangle = np.empty((height, width), np.float32), np.empty((height, width), np.int32)
        weights = np.zeros((height, width, 2))
        rasterize(points, body.faces, False, near, triangle, weights)
        on = triangle >= 0
        depth[side][on] = canvas.pelvis_m[2] - 1 / np.abs(near[on])
    return depth, on


def _depths(skin: PosedSkin, canvas: Canvas, sides: Sides) -> _Depths:
    height, width = sides.cover.shape
    body, on = skin_depths(skin.vertices, canvas, width, height)
    known = on & (sides.cover > COVERED)
    change = harmonic((sides.depth - body).transpose(1, 2, 0), known)
    change = gaussian_filter(change, SMOOTH_PX, int(3 * SMOOTH_PX), (0, 1)).transpose(2, 0, 1)
    pixel_m = (canvas.high - canvas.low)[1] / height * canvas.pelvis_m[2]
    slope = np.stack([np.stack([np.gradient(c, axis=1), -np.gradient(c, axis=0)]) for c in change]) / pixel_m
    return _Depths(canvas, body, change, slope.astype(np.float32), on)


def dressed(aligned: AlignedBody, sides: Sides) -> tuple[PosedSkin, PointCloud]:
    """The skin as both sides show it, and oriented points (without colours) of what lies beyond it; view frame."""
    skin = aligned.skin
    canvas = Canvas(sides.canvas.low, sides.canvas.high, aligned.canvas.pelvis_m)
    depths = _depths(skin, canvas, sides)
    height, width = sides.cover.shape
    pixels = canvas.places(skin.vertices) * [width, height]
    fields = np.concatenate([depths.body, depths.change, depths.slope.reshape(4, height, width)])
    front, back, near, far, near_x, near_y, far_x, far_y = sample(fields.transpose(1, 2, 0), pixels).T
    share = np.clip((skin.vertices[:, 2] - back) / np.maximum(front - back, 1e-3), 0, 1)
    move = far + share * (near - far)
    slope_x, slope_y = far_x + share * (near_x - far_x), far_y + share * (near_y - far_y)
    vertices = skin.vertices.copy()
    vertices[:, 2] += move
    # along the ray of its pixel, so that what lies on the picture stays there
    scale = (canvas.pelvis_m[2] - vertices[:, 2]) / (canvas.pelvis_m[2] - skin.vertices[:, 2])
    vertices[:, :2] += (skin.vertices[:, :2] + canvas.pelvis_m[:2] * [1, -1]) * (scale - 1)[:, None]
    n = skin.normals
    normals = np.stack([n[:, 0] - n[:, 2] * slope_x, n[:, 1] - n[:, 2] * slope_y, n[:, 2]], 1)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-8)
    moved = PosedSkin(vertices.astype(np.float32), normals.astype(np.float32), skin.joints)
    return moved, _beyond(depths, sides)


def _beyond(depths: _Depths, sides: Sides) -> PointCloud:
    """Both sides where there is a person and no body."""
    canvas = depths.canvas
    height, width = sides.cover.shape
    total = np.where(depths.on, depths.body + depths.change, sides.depth)
    total = gaussian_filter(total.transpose(1, 2, 0), SMOOTH_PX, int(3 * SMOOTH_PX), (0, 1)).transpose(2, 0, 1)
    middle, half = (total[0] + total[1]) / 2, np.maximum((total[0] - total[1]) / 2, THINNEST_M / 2)
    where = (sides.cover > COVERED) & ~depths.on
    pixel_m = (canvas.high - canvas.low)[1] / height * canvas.pelvis_m[2]
    tangents = canvas.tangents(grid_places(width, height))
    points, normals = [], []
    for z, sign in ((middle + half, 1), (middle - half, -1)):
        away = canvas.pelvis_m[2] - z
        x, y = tangents[..., 0] * away - canvas.pelvis_m[0], -(tangents[..., 1] * away - canvas.pelvis_m[1])
        points.append(np.stack([x, y, z], -1)[where])
        slope = np.stack([-np.gradient(z, axis=1), np.gradient(z, axis=0)], -1) / pixel_m
        normal = sign * np.concatenate([slope, np.ones((height, width, 1))], -1)[where]
        normals.append(normal / np.linalg.norm(normal, axis=1, keepdims=True))
    found, facing = (np.concatenate(part).astype(np.float32) for part in (points, normals))
    return PointCloud(found, facing, np.full(found.shape, 0.5, np.float32))
