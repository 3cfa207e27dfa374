"""The surface chart: the body's UV square as a grid of surface points.

A dressed person in the rest pose is a map over the chart: how far the outermost surface stands off the skin along
its normal, and its colour. Posing the chart gives an oriented, coloured point cloud (Algorithm 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.body.table import load_body
from somacast.kernels import compiled

CHART_PX = 128
OFFSET_UNIT_M = 0.04  # offsets are stored in this unit, so that they are of order one
OFFSET_LOW_M, OFFSET_HIGH_M = -0.02, 0.30


@dataclass(frozen=True)
class Chart:
    """face [H, W] int32 (-1 outside the islands), bary [H, W, 3] float32, inside [H, W] bool, joint [H, W] uint8."""

    face: np.ndarray
    bary: np.ndarray
    inside: np.ndarray
    joint: np.ndarray


@compiled()
def _fill_chart(corner_uv, face, bary):
    size = face.shape[0]
    for t in range(corner_uv.shape[0]):
        ax, ay = corner_uv[t, 0, 0] * size, (1 - corner_uv[t, 0, 1]) * size
        bx, by = corner_uv[t, 1, 0] * size, (1 - corner_uv[t, 1, 1]) * size
        cx, cy = corner_uv[t, 2, 0] * size, (1 - corner_uv[t, 2, 1]) * size
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if -1e-12 < area < 1e-12:
            continue
        for y in range(max(0, int(min(ay, by, cy))), min(size - 1, int(max(ay, by, cy))) + 1):
            for x in range(max(0, int(min(ax, bx, cx))), min(size - 1, int(max(ax, bx, cx))) + 1):
                px, py = x + 0.5, y + 0.5
                u = ((px - ax) * (cy - ay) - (py - ay) * (cx - ax)) / area
                v = ((bx - ax) * (py - ay) - (by - ay) * (px - ax)) / area
                if u >= 0 and v >= 0 and u + v <= 1:
                    face[y, x] = t
                    bary[y, x, 0] = 1 - u - v
                    bary[y, x, 1] = u
                    bary[y, x, 2] = v


@lru_cache(maxsize=2)
def load_chart(size: int = CHART_PX) -> Chart:
    """The chart of the body's UV square at size x size texels."""
    body = load_body()
    face = np.full((size, size), -1, np.int32)
    bary = np.zeros((size, size, 3), np.float32)
    _fill_chart(body.uvs[body.face_uvs], face, bary)
    inside = face >= 0
    corner = body.faces[np.maximum(face, 0), 0]
    bone = np.take_along_axis(body.skin_index[corner], body.skin_weight[corner].argmax(-1)[..., None], -1)[..., 0]
    return Chart(face, bary, inside, body.bone_joint[bone].astype(np.uint8))


@lru_cache(maxsize=1)
def face_texels() -> np.ndarray:
    """Texels of the chart [T] bool on the front of the head, from chin to brow, of the mean body."""
    chart, body = load_chart(), load_body()
    corner = body.faces[chart.face[chart.inside]]
    point = np.einsum("nkc,nk->nc", body.shape_mean[corner], chart.bary[chart.inside])
    head = chart.joint[chart.inside] == CANONICAL_JOINTS.index("head")
    low, high = point[head].min(0), point[head].max(0)
    part = (point - low) / (high - low)
    return head & (part[:, 2] > 0.5) & (part[:, 1] < 0.85)
