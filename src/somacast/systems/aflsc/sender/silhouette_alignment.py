"""Sender: where the edge of the rebuilt body should lie, by the silhouette that the sender sees."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from somacast.body.table import BODY_VERTICES, load_body
from somacast.geometry.silhouette import edge_gaps, sample
from somacast.systems.aflsc.sender.evidence import SilhouetteAlignment
from somacast.systems.aflsc.sender.kinematics import PosedJoints
from somacast.systems.aflsc.sender.rendered_body import RenderedBody

REACH = 0.07  # how far from the body's edge the silhouette's is looked for, in crop sides
_SIDEWAYS = 0.35  # cosine to the line of sight under which skin can be on the edge
_CELL = 1 / 64  # one point of the edge in each cell of this side, in crop sides


class _EdgePoints(NamedTuple):
    """Points on the edge of the posed body: vertex [M], place [M, 3] in the view frame in metres, point [M, 2] and
    outward normal [M, 2] in the picture, and how far along it the silhouette's edge lies, gap [M]; in crop sides."""

    vertex: np.ndarray
    place: np.ndarray
    point: np.ndarray
    normal: np.ndarray
    gap: np.ndarray


def _edge_points(rendered: RenderedBody, silhouette: np.ndarray) -> _EdgePoints:
    """Points on the edge; those whose silhouette's edge is farther than REACH, or beside other skin, are left out."""
    camera, vertices, normals, size = rendered.camera, rendered.vertices, rendered.normals, rendered.size
    own = rendered.covered.astype(np.float32)
    facing = camera.facing(vertices, normals)
    side = np.flatnonzero(np.abs(facing) < _SIDEWAYS)
    point = camera.project(vertices[side])
    line = normals[side, :2] * [1, -1]
    line /= np.maximum(np.linalg.norm(line, axis=1, keepdims=True), 1e-6)
    pixels = (point + 0.5) * size
    free = sample(own, pixels + 2 * line) < 0.5
    free &= (sample(own, pixels - 1.5 * line) > 0.5) & (np.abs(point) < 0.5 - 1 / size).all(1)
    cell = ((point + 0.5) / _CELL).astype(np.int64)
    order = np.flatnonzero(free)
    keep = order[np.unique(cell[order, 0] * 4096 + cell[order, 1], return_index=True)[1]]
    gap = edge_gaps(pixels[keep], line[keep], silhouette, REACH * size) / size
    found = keep[~np.isnan(gap)]
    vertex = side[found]
    return _EdgePoints(vertex, vertices[vertex], point[found], line[found], gap[~np.isnan(gap)])


def align_silhouette(rendered: RenderedBody, silhouette: np.ndarray, posed: PosedJoints) -> SilhouetteAlignment:
    """Skin points on the edge of the posed body, tied to its joints, and the edge of the silhouette [S, S] in [0, 1]
    that each should meet."""
    body = load_body()
    edge = _edge_points(rendered, silhouette)
    best = body.skin_weight[:BODY_VERTICES][edge.vertex].argmax(1)
    joint = body.bone_joint[body.skin_index[:BODY_VERTICES][edge.vertex, best]]
    hung = np.einsum("mji,mj->mi", posed.rotations[joint], edge.place - posed.joints[joint])
    aim = ((edge.point + edge.gap[:, None] * edge.normal) * edge.normal).sum(1)
    lines = np.concatenate([edge.normal, aim[:, None]], 1)
    return SilhouetteAlignment(joint.astype(np.int64), hung.astype(np.float64), lines.astype(np.float64))


def silhouette_gaps(rendered: RenderedBody, silhouette: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [M] on the edge of the posed body and how far outside of it [M], in metres, the edge of the silhouette
    [S, S] lies."""
    edge, camera = _edge_points(rendered, silhouette), rendered.camera
    return edge.vertex, edge.gap / camera.scale_px_per_m * (1 - edge.place[:, 2] / camera.distance_m)
