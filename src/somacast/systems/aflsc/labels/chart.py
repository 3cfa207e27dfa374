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
from somacast.geometry.texturing.texels import texels_of

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


@lru_cache(maxsize=2)
def load_chart(size: int = CHART_PX) -> Chart:
    """The chart of the body's UV square at size x size texels."""
    body = load_body()
    face, bary = texels_of(body.uvs[body.face_uvs] * [1.0, -1.0] + [0.0, 1.0], size)
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
