"""Sender: the warp that brings the outline of the decoded body onto the silhouette in the picture."""

from __future__ import annotations

import numpy as np

from somacast.geometry.gaussian import gaussian_filter
from somacast.geometry.rasteriser import render_camera
from somacast.systems.aflsc.picture_layer.canvas import Canvas, sample
from somacast.systems.aflsc.picture_layer.warp import COLUMNS, ROWS, corner_weights, interpolated
from somacast.types import Mesh

FIT_PX = 160  # height of the canvas in which outlines are compared
ROUNDS = 6
SMOOTH, SMALL = 0.06, 0.01  # how firmly neighbouring corners are held together, and each at its place
REACH = 0.07  # how far from the body's outline the silhouette's is looked for, in heights of the canvas
FAR = 0.02  # a gap beyond this counts ever less: it may be another limb's
_STEP_PX = 0.5


def fit_warp(mesh: Mesh, canvas: Canvas, silhouette: np.ndarray) -> np.ndarray:
    """The field [ROWS, COLUMNS, 2], in heights of the canvas, that brings the outline of a mesh of the view frame onto
    that of a silhouette [H, W] in [0, 1] over the canvas, H = FIT_PX."""
    height, width = silhouette.shape
    camera, aspect = canvas.camera(width, height), canvas.aspect
    places = canvas.places(mesh.vertices)
    field = np.zeros((ROWS, COLUMNS, 2))
    neighbours = _neighbours()
    count = ROWS * COLUMNS
    for _ in range(ROUNDS):
        moved = canvas.moved(mesh.vertices, interpolated(field, places) / [aspect, 1])
        covered = render_camera(Mesh(moved, mesh.faces), camera).mask
        point, normal = border_points(covered)
        gap, found = gaps(point, normal, silhouette, REACH * height)
        if found.sum() < 2 * count // 10:
            break
        point, normal, gap = point[found], normal[found], gap[found] / height
        corners, weights = corner_weights(point / [width, height])
        design = np.zeros((len(point), count))
        np.put_along_axis(design, corners, weights, 1)
        weight = np.sqrt(1 / (1 + (gap / FAR) ** 2))[:, None]
        rows = np.concatenate([design * normal[:, :1], design * normal[:, 1:]], 1) * weight
        wanted = (gap + (normal * (design @ field.reshape(count, 2))).sum(1)) * weight[:, 0]
        matrix = rows.T @ rows
        hold = (SMOOTH * neighbours + SMALL * np.eye(count)) * (len(point) / count)
        matrix[:count, :count] += hold
        matrix[count:, count:] += hold
        found_field = np.linalg.solve(matrix, rows.T @ wanted)
        field = np.stack([found_field[:count], found_field[count:]], 1).reshape(ROWS, COLUMNS, 2)
    return field


def _neighbours() -> np.ndarray:
    """What differences between neighbouring corners cost, as a matrix [N, N]."""
    number = np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS)
    out = np.zeros((number.size, number.size))
    for a, b in ((number[:, :-1], number[:, 1:]), (number[:-1], number[1:])):
        for i, j in zip(a.ravel(), b.ravel(), strict=True):
            out[[i, j], [i, j]] += 1
            out[[i, j], [j, i]] -= 1
    return out


def border_points(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 2] on the border of a mask [H, W], in pixels, and the normals [N, 2] that point out of it."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, :-2] & padded[1:-1, 2:] & padded[:-2, 1:-1] & padded[2:, 1:-1]
    rows, columns = np.nonzero(mask & ~inner)
    down, right = np.gradient(gaussian_filter(mask.astype(np.float32), 1.2, 4, (0, 1)))
    normal = -np.stack([right[rows, columns], down[rows, columns]], 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    return np.stack([columns, rows], 1) + 0.5 + 0.5 * normal, normal


def gaps(
    point: np.ndarray, normal: np.ndarray, silhouette: np.ndarray, reach_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """How far from points [N, 2] along their normals the nearest border of a silhouette lies, [N] in pixels, and at
    which of them there is one within reach, [N] bool."""
    steps = np.arange(-reach_px, reach_px + 1e-6, _STEP_PX)
    seen = sample(silhouette, point[:, None] + steps[:, None] * normal[:, None])
    falls = (seen[:, :-1] >= 0.5) & (seen[:, 1:] < 0.5)
    drop = np.maximum(seen[:, :-1] - seen[:, 1:], 1e-6)
    where = steps[:-1] + (seen[:, :-1] - 0.5) / drop * _STEP_PX
    nearest = np.where(falls, np.abs(where), np.inf).argmin(1)
    return where[np.arange(len(point)), nearest], np.any(falls, axis=1)
