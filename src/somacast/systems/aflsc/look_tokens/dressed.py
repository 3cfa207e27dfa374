"""The body where both sides of the person lie: what stands off the skin.

depths of both sides over those of the posed skin --> how far clothes and hair stand off it, on each side
cover beyond the body                             --> points of both sides: skirts, hair, bags

Joints stay where labels say: limbs bent to the depths that the networks find are further from the truth.
"""

from __future__ import annotations

import numpy as np

from somacast.body.table import load_body, vertex_normals
from somacast.geometry.gaussian import gaussian_filter
from somacast.geometry.harmonic import harmonic
from somacast.geometry.projection import grown
from somacast.geometry.silhouette import sample
from somacast.systems.aflsc.look_tokens.show import Sides
from somacast.systems.aflsc.look_tokens.surfaces import Surfaces
from somacast.systems.aflsc.picture_layer.aligned import AlignedBody
from somacast.systems.aflsc.picture_layer.canvas import Canvas, grid_places
from somacast.systems.aflsc.receiver.assemble import PosedSkin
from somacast.types import PointCloud

COVERED = 0.5
JUMP_M = 0.04  # between neighbouring pixels: another limb begins
OFF_M = (-0.02, 0.3)  # how far clothes may lie within the skin, and off it
SMOOTH_PX = 1.0
THINNEST_M = 0.012  # of what lies beyond the body


def _jumps(surfaces: Surfaces) -> np.ndarray:
    """Where another limb begins near by, [2, H, W] bool."""
    out = np.zeros(surfaces.depth.shape, bool)
    for z, jump in zip(surfaces.depth, out, strict=True):
        for axis in (0, 1):
            both = np.delete(surfaces.on, 0, axis) & np.delete(surfaces.on, -1, axis)
            step = (np.abs(np.diff(z, axis=axis)) > JUMP_M) & both
            for before in (True, False):
                jump |= np.pad(step, [(int(before), int(not before)) if a == axis else (0, 0) for a in (0, 1)])
    return out


def dressed(aligned: AlignedBody, sides: Sides) -> tuple[PosedSkin, PointCloud]:
    """The skin as both sides show it, and oriented points (without colours) of what lies beyond it; view frame."""
    skin = aligned.skin
    canvas = Canvas(sides.canvas.low, sides.canvas.high, aligned.canvas.pelvis_m)
    height, width = sides.cover.shape
    surfaces = Surfaces.of(skin.vertices, canvas, width, height)
    pixels = canvas.places(skin.vertices) * [width, height]
    change = sides.depth - surfaces.depth
    edge = grown(~(surfaces.on & (sides.cover > COVERED)), 1)
    known = ~edge & ~_jumps(surfaces)

    outwards = np.array([1, -1], np.float32)[:, None, None]
    off = np.clip(outwards * change, *OFF_M) * outwards
    for side in (0, 1):
        plane = harmonic(off[side][..., None], known[side])
        off[side] = gaussian_filter(plane, SMOOTH_PX, int(3 * SMOOTH_PX), (0, 1))[..., 0]
    front, back, near, far = sample(np.stack([*surfaces.depth, *off], -1), pixels).T
    share = np.clip((skin.vertices[:, 2] - back) / np.maximum(front - back, 1e-3), 0, 1)
    vertices = _along_rays(skin.vertices, far + share * (near - far), canvas)
    normals = np.empty_like(vertices)
    vertex_normals(vertices, load_body().faces, normals)
    return PosedSkin(vertices, normals, skin.joints), _beyond(sides, canvas, surfaces, off)


def _along_rays(points: np.ndarray, by_m: np.ndarray, canvas: Canvas) -> np.ndarray:
    """Points [N, 3] of the view frame moved by [N] metres along it, each on its pixel."""
    origin = np.array([0, 0, canvas.pelvis_m[2]])  # the camera: the view frame looks along the way to the pelvis
    local = points - origin
    return (origin + local * (1 + by_m / local[:, 2])[:, None]).astype(np.float32)


def _beyond(sides: Sides, canvas: Canvas, surfaces: Surfaces, change: np.ndarray) -> PointCloud:
    """Both sides where there is a person and no body."""
    height, width = sides.cover.shape
    total = np.where(surfaces.on, surfaces.depth + change, sides.depth).astype(np.float32)
    total = gaussian_filter(total.transpose(1, 2, 0), SMOOTH_PX, int(3 * SMOOTH_PX), (0, 1)).transpose(2, 0, 1)
    middle, half = (total[0] + total[1]) / 2, np.maximum((total[0] - total[1]) / 2, THINNEST_M / 2)
    where = (sides.cover > COVERED) & ~surfaces.on
    pixel_m = (canvas.high - canvas.low)[1] / height * canvas.pelvis_m[2]
    tangents = canvas.tangents(grid_places(width, height)) - canvas.pelvis_m[:2] / canvas.pelvis_m[2]
    points, normals = [], []
    for z, sign in ((middle + half, 1), (middle - half, -1)):
        away = canvas.pelvis_m[2] - z
        points.append(np.stack([tangents[..., 0] * away, -tangents[..., 1] * away, z], -1)[where])
        slope = np.stack([-np.gradient(z, axis=1), np.gradient(z, axis=0)], -1) / pixel_m
        normal = sign * np.concatenate([slope, np.ones((height, width, 1))], -1)[where]
        normals.append(normal / np.linalg.norm(normal, axis=1, keepdims=True))
    found, facing = (np.concatenate(part).astype(np.float32) for part in (points, normals))
    return PointCloud(found, facing, np.full(found.shape, 0.5, np.float32))
