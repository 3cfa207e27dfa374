"""Edges of silhouettes in pictures: points on the edge of a mask, and how far another silhouette's edge lies from them.

Pixels: x to the right, y down, middles at .5.
"""

from __future__ import annotations

import numpy as np

from somacast.geometry.gaussian import gaussian_filter
from somacast.kernels import compiled

STEP_PX = 0.5  # in which an edge is looked for


def sample(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """An image [H, W] or [H, W, C] between its pixels, at pixels [..., 2]; beyond its border the border goes on."""
    height, width = image.shape[:2]
    x, y = np.clip(pixels[..., 0] - 0.5, 0, width - 1), np.clip(pixels[..., 1] - 0.5, 0, height - 1)
    left, top = np.minimum(x.astype(int), width - 2), np.minimum(y.astype(int), height - 2)
    right, down = x - left, y - top
    if image.ndim == 3:
        right, down = right[..., None], down[..., None]
    upper = image[top, left] * (1 - right) + image[top, left + 1] * right
    lower = image[top + 1, left] * (1 - right) + image[top + 1, left + 1] * right
    return (upper * (1 - down) + lower * down).astype(np.float32)


def edge_points(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels of a mask [H, W] bool on its edge, rows and columns [N, 2]; the edge's places there [N, 2] and normals
    [N, 2] that point out of the mask."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, :-2] & padded[1:-1, 2:] & padded[:-2, 1:-1] & padded[2:, 1:-1]
    rows, columns = np.nonzero(mask & ~inner)
    blurred = gaussian_filter(padded.astype(np.float32), 1.2, 4, (0, 1))
    r, c = rows + 1, columns + 1
    normal = np.stack([blurred[r, c - 1] - blurred[r, c + 1], blurred[r - 1, c] - blurred[r + 1, c]], 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    # A pixel of the edge has its middle inside and a neighbour's outside: on average the edge is half of the way there.
    beyond = 0.5 * np.abs(normal).max(1, keepdims=True)
    return np.stack([rows, columns], 1), np.stack([columns, rows], 1) + 0.5 + beyond * normal, normal


def edge_gaps(
    points: np.ndarray, normals: np.ndarray, silhouette: np.ndarray, reach_px: float, own: np.ndarray | None = None
) -> np.ndarray:
    """How far from points [N, 2] along their normals [N, 2] the nearest edge of a silhouette [H, W] in [0, 1] lies: [N]
    pixels, positive outwards, NaN where there is none within reach.

    own [H, W] bool: the mask whose edge the points are on. Where the silhouette goes on until own begins again, as
    between legs in a skirt, the edge is wanted half of the way there.
    """
    out = np.empty(len(points))
    covered = np.zeros((1, 1), np.bool_) if own is None else np.ascontiguousarray(own)
    arrays = (np.ascontiguousarray(a, np.float64) for a in (points, normals))
    _edge_gaps(*arrays, np.ascontiguousarray(silhouette, np.float32), covered, float(reach_px), out)
    return out


@compiled(nogil=True)
def _at(image, x, y):
    """An image [H, W] between its pixels; beyond its border the border goes on."""
    height, width = image.shape
    x, y = min(max(x - 0.5, 0.0), width - 1.0), min(max(y - 0.5, 0.0), height - 1.0)
    left, top = min(int(x), width - 2), min(int(y), height - 2)
    right, down = x - left, y - top
    upper = image[top, left] * (1 - right) + image[top, left + 1] * right
    lower = image[top + 1, left] * (1 - right) + image[top + 1, left + 1] * right
    return upper * (1 - down) + lower * down


@compiled(nogil=True)
def _edge_gaps(points, normals, silhouette, own, reach_px, out):
    steps = int(reach_px / STEP_PX)
    for n in range(len(points)):
        px, py, nx, ny = points[n, 0], points[n, 1], normals[n, 0], normals[n, 1]
        out[n] = np.nan
        here = _at(silhouette, px, py)
        before, after = here, here  # of the last step outwards, and inwards
        bridged = len(own) > 1 and here >= 0.5
        for k in range(1, steps + 1):
            t = k * STEP_PX
            x, y = px + t * nx, py + t * ny
            ahead = _at(silhouette, x, y)
            if before >= 0.5 and ahead < 0.5:
                out[n] = t - STEP_PX + STEP_PX * (before - 0.5) / (before - ahead)
                break
            if bridged:
                bridged = ahead >= 0.5
                row, column = int(np.floor(y)), int(np.floor(x))
                inside = 0 <= row < own.shape[0] and 0 <= column < own.shape[1]
                if bridged and t > 1 and inside and own[row, column]:
                    out[n] = t / 2 + STEP_PX
                    break
            behind = _at(silhouette, px - t * nx, py - t * ny)
            if behind >= 0.5 and after < 0.5:
                out[n] = STEP_PX * (behind - 0.5) / (behind - after) - t
                break
            before, after = ahead, behind


def edge_gaps_reference(points, normals, silhouette, reach_px, own=None):
    """Readable twin of `edge_gaps`."""
    count = int(reach_px / STEP_PX)
    steps = np.arange(-count, count + 1) * STEP_PX
    out = np.full(len(points), np.nan)
    for n, (point, normal) in enumerate(zip(points, normals, strict=True)):
        places = point + steps[:, None] * normal
        seen = sample(silhouette, places)
        falls = (seen[:-1] >= 0.5) & (seen[1:] < 0.5)  # between a step and the next one outwards
        gaps = steps[:-1] + STEP_PX * (seen[:-1] - 0.5) / np.where(falls, seen[:-1] - seen[1:], 1)
        for k in range(1, count + 1):
            outwards, inwards = count + k - 1, count - k
            column, row = np.floor(places[count + k]).astype(int)
            again = own is not None and 0 <= row < own.shape[0] and 0 <= column < own.shape[1] and own[row, column]
            if falls[outwards]:
                out[n] = gaps[outwards]
            elif again and k * STEP_PX > 1 and (seen[count : count + k + 1] >= 0.5).all():
                out[n] = k * STEP_PX / 2 + STEP_PX
            elif falls[inwards]:
                out[n] = gaps[inwards]
            else:
                continue
            break
    return out
