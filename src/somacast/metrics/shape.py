"""How far one body is from another: surfaces by samples, skeletons by joints. Metres in, metres out."""

from __future__ import annotations

import numpy as np

from somacast.geometry.nearest import PointTree
from somacast.geometry.sampling import draw_on_faces
from somacast.kernels import compiled
from somacast.metrics.config import SAMPLES
from somacast.types import Mesh

FSCORE_M = 0.01
P2S_NEIGHBOURS = 4


@compiled(nogil=True, inline="always")
def _dot(ax, ay, az, bx, by, bz):
    return ax * bx + ay * by + az * bz


@compiled(nogil=True)
def triangle_distances(points, corners, candidates, out):
    """Least distance of points [N, 3] to the triangles named by candidates [N, K] among corners [F, 3, 3] -> out [N].

    The nearest point of a triangle lies in its inside, on an edge or at a corner; the regions follow Ericson,
    Real-Time Collision Detection, section 5.1.5. Written without small arrays, which would each be allocated.
    """
    for n in range(points.shape[0]):
        best = np.inf
        for m in range(candidates.shape[1]):
            t = candidates[n, m]
            ox, oy, oz = corners[t, 0, 0], corners[t, 0, 1], corners[t, 0, 2]
            bx, by, bz = corners[t, 1, 0] - ox, corners[t, 1, 1] - oy, corners[t, 1, 2] - oz
            cx, cy, cz = corners[t, 2, 0] - ox, corners[t, 2, 1] - oy, corners[t, 2, 2] - oz
            px, py, pz = points[n, 0] - ox, points[n, 1] - oy, points[n, 2] - oz
            d1, d2 = _dot(bx, by, bz, px, py, pz), _dot(cx, cy, cz, px, py, pz)
            aa, bb = _dot(bx, by, bz, bx, by, bz), _dot(bx, by, bz, cx, cy, cz)
            cc = _dot(cx, cy, cz, cx, cy, cz)
            d3, d4 = d1 - aa, d2 - bb  # the same products seen from corner b
            d5, d6 = d1 - bb, d2 - cc  # and from corner c
            v, w = 0.0, 0.0
            vc, vb, va = d1 * d4 - d3 * d2, d5 * d2 - d1 * d6, d3 * d6 - d5 * d4
            if d1 <= 0 and d2 <= 0:
                pass
            elif d3 >= 0 and d4 <= d3:
                v = 1.0
            elif vc <= 0 and d1 >= 0 and d3 <= 0:
                v = d1 / max(d1 - d3, 1e-30)
            elif d6 >= 0 and d5 <= d6:
                w = 1.0
            elif vb <= 0 and d2 >= 0 and d6 <= 0:
                w = d2 / max(d2 - d6, 1e-30)
            elif va <= 0 and d4 - d3 >= 0 and d5 - d6 >= 0:
                w = (d4 - d3) / max((d4 - d3) + (d5 - d6), 1e-30)
                v = 1.0 - w
            else:
                v, w = vb / (va + vb + vc), vc / (va + vb + vc)
            rx, ry, rz = px - v * bx - w * cx, py - v * by - w * cy, pz - v * bz - w * cz
            best = min(best, _dot(rx, ry, rz, rx, ry, rz))
        out[n] = np.sqrt(best)


class _Side:
    """Samples of one mesh: places [N, 3], normals [N, 3], the face of each sample, and a tree over the places."""

    def __init__(self, mesh: Mesh, count: int, seed: int):
        self.face, weights, normals = draw_on_faces(mesh, count, np.random.default_rng(seed))
        self.corners = mesh.vertices[mesh.faces].astype(np.float64)
        self.points = (self.corners[self.face] * weights[..., None]).sum(1)
        self.normals = normals[self.face]
        self.tree = PointTree(self.points)


class _Surface:
    """Distances to the triangles of one side.

    Candidates are the triangles of the nearest samples, which find large triangles, and of the nearest triangle
    centres, which find those too small to have a sample.
    """

    def __init__(self, side: _Side):
        self.corners = side.corners
        self.face = np.concatenate([side.face, np.arange(len(side.corners), dtype=side.face.dtype)])
        self.tree = PointTree(np.concatenate([side.points, side.corners.mean(1)]))

    def distances(self, points: np.ndarray) -> np.ndarray:
        """Distances [N] of points [N, 3]."""
        _, near = self.tree.query(points, P2S_NEIGHBOURS)
        out = np.empty(len(points))
        triangle_distances(points, self.corners, self.face[near], out)
        return out


def _compare(truth: _Side, surface: _Surface, result: _Side, offset: np.ndarray) -> dict[str, float]:
    """Figures of the result moved by offset [3]. Its tree stays where it is: the questions to it move the other way."""
    moved = result.points + offset
    to_result, nearest_result = result.tree.query(truth.points - offset)
    to_truth, nearest_truth = truth.tree.query(moved)
    precision = float((to_truth <= FSCORE_M).mean())
    recall = float((to_result <= FSCORE_M).mean())
    there = (truth.normals * result.normals[nearest_result]).sum(1)
    back = (result.normals * truth.normals[nearest_truth]).sum(1)
    return {
        "chamfer_m": float((to_result.mean() + to_truth.mean()) / 2),
        "p2s_m": float(surface.distances(moved).mean()),
        "normal_consistency": float(np.abs(there).mean() + np.abs(back).mean()) / 2,
        "normal_consistency_signed": float(there.mean() + back.mean()) / 2,
        "fscore_1cm": 2 * precision * recall / (precision + recall) if precision + recall else 0.0,
    }


class SurfaceReference:
    """A true surface, sampled once, that any number of results are compared with."""

    def __init__(self, truth: Mesh, count: int = SAMPLES, seed: int = 0):
        self.count, self.seed = count, seed
        self.side = _Side(truth, count, seed)
        self.surface = _Surface(self.side)

    def compare(self, result: Mesh) -> dict[str, dict[str, float]]:
        """Distances between two surfaces from `count` samples on each, `raw` and `centred` (centroids brought to one
        place).

        chamfer_m: mean of the mean distance from truth samples to result samples and of the way back. Equal surfaces
        do not give 0 but the distance between samples, sqrt(area / count) / 2: 2.2 mm for 2 square metres.
        p2s_m: mean distance from result samples to the surface of the truth (see `_Surface`).
        normal_consistency: mean absolute cosine of a sample's normal and that of its nearest neighbour, both ways
        (Mescheder et al. 2019, Occupancy Networks); normal_consistency_signed: with its sign, so that an inside-out
        mesh gives -1. Clothes and hair are sheets with an inner side, whose normals a closed surface cannot share.
        fscore_1cm: harmonic mean of the shares of samples that have a neighbour within 1 cm.
        The centroid is that of the samples. The same seed gives the same figures.
        """
        other = _Side(result, self.count, self.seed + 1)
        between = self.side.points.mean(0) - other.points.mean(0)
        moves = {"raw": np.zeros(3), "centred": between}
        return {kind: _compare(self.side, self.surface, other, offset) for kind, offset in moves.items()}


def compare_surfaces(truth: Mesh, result: Mesh, count: int = SAMPLES, seed: int = 0) -> dict[str, dict[str, float]]:
    """`SurfaceReference.compare` of two meshes."""
    return SurfaceReference(truth, count, seed).compare(result)


def chamfer(truth: Mesh, result: Mesh, count: int = SAMPLES, seed: int = 0) -> float:
    """Symmetric Chamfer distance in metres, as in `compare_surfaces`, raw."""
    a, b = _Side(truth, count, seed), _Side(result, count, seed + 1)
    return float((b.tree.query(a.points)[0].mean() + a.tree.query(b.points)[0].mean()) / 2)


def _check_joints(truth: np.ndarray, result: np.ndarray) -> None:
    if truth.shape != result.shape or truth.shape[-1] != 3:
        raise ValueError(f"expected two sets of joints of one shape [..., J, 3], got {truth.shape} and {result.shape}")


def mpjpe(truth: np.ndarray, result: np.ndarray, root: int | None = 0) -> np.ndarray:
    """Mean distance of joints [..., J, 3] in metres, shape [...], after the root joint is brought to one place.

    root None compares the places as they are.
    """
    _check_joints(truth, result)
    if root is not None:
        truth = truth - truth[..., root : root + 1, :]
        result = result - result[..., root : root + 1, :]
    return np.linalg.norm(truth - result, axis=-1).mean(-1)


def procrustes(truth: np.ndarray, result: np.ndarray) -> np.ndarray:
    """result [..., J, 3] after the turn, scale and shift that bring it nearest to truth (Umeyama 1991; no mirror)."""
    _check_joints(truth, result)
    truth, result = truth.astype(np.float64), result.astype(np.float64)
    mean_t, mean_r = truth.mean(-2, keepdims=True), result.mean(-2, keepdims=True)
    t, r = truth - mean_t, result - mean_r
    u, s, vt = np.linalg.svd(np.swapaxes(t, -1, -2) @ r)
    sign = np.ones_like(s)
    sign[..., -1] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * sign[..., None, :]) @ vt
    scale = (s * sign).sum(-1) / np.maximum((r**2).sum((-1, -2)), 1e-12)
    return scale[..., None, None] * (r @ np.swapaxes(rotation, -1, -2)) + mean_t


def pa_mpjpe(truth: np.ndarray, result: np.ndarray) -> np.ndarray:
    """Mean distance of joints [..., J, 3] in metres, shape [...], after `procrustes`."""
    return np.linalg.norm(truth - procrustes(truth, result), axis=-1).mean(-1)
