"""Where a surface that lies around the posed body lies in the body's UV square.

Every vertex asks the points of the body next to it that face the same way, and follows their map from metres to the
square. The square is cut along seams: what lies across a cut follows the map of the rest of its triangle, a little
beyond the island's edge, so that no triangle is stretched over the square.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from somacast.body.table import load_body, vertex_normals
from somacast.geometry.nearest import PointTree
from somacast.geometry.surface import connected_parts
from somacast.kernels import compiled

NEIGHBOURS = 6  # of a vertex among the points of the body
CLOSE_M = 1e-3  # distances below it make no difference between neighbours
MIN_FACING = 0.2  # cosine between normals of neighbours that lie on the same limb
MAX_STRETCH = 2.5  # how much larger a way in the square may be than on the body; farther is across a cut
KEPT = 1.5  # how far a corner may lie from where its triangle's middle has it and keep its place, of the way from there
MIN_SHARE = 0.5  # of an island's faces that can be seen from outside: mouth cavity and eyeballs are none of a surface's


@dataclass(frozen=True)
class BodyPoints:
    """Points of a posed body: points, normals [N, 3] metres; uvs [N, 2], u to the right, v down; slopes [N, 2, 3]: what
    a metre along each axis adds to them there."""

    points: np.ndarray
    normals: np.ndarray
    uvs: np.ndarray
    slopes: np.ndarray


def body_corners() -> np.ndarray:
    """Corners [F, 3, 2] float32 of the body's faces in its UV square, u to the right, v down."""
    body = load_body()
    return _downwards(body.uvs)[body.face_uvs]


def _downwards(uvs: np.ndarray) -> np.ndarray:
    return np.stack([uvs[:, 0], 1 - uvs[:, 1]], 1).astype(np.float32)


@lru_cache(maxsize=1)
def outer_islands() -> np.ndarray:
    """Faces of the body [F] bool that lie on islands of its UV square of which most can be seen from outside."""
    body = load_body()
    part = np.arange(len(body.uvs))
    connected_parts(body.face_uvs, part)
    island = part[body.face_uvs[:, 0]]
    seen = np.bincount(island, ~body.inner_faces) / np.maximum(np.bincount(island), 1)
    return (seen >= MIN_SHARE)[island]


def uv_slopes(vertices: np.ndarray, faces: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """What a metre along each axis adds to the place in the square on each face: vertices [V, 3], faces [F, 3], corners
    [F, 3, 2] -> [F, 2, 3] float32; 0 along the normal, and for faces without area."""
    out = np.zeros((len(faces), 2, 3), np.float32)
    _uv_slopes(np.ascontiguousarray(vertices, np.float32), faces, corners, out)
    return out


@compiled(nogil=True)
def _uv_slopes(vertices, faces, corners, out):
    e, g = np.empty(3), np.empty(3)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ee, eg, gg = 0.0, 0.0, 0.0
        for i in range(3):
            e[i] = np.float64(vertices[b, i]) - vertices[a, i]
            g[i] = np.float64(vertices[c, i]) - vertices[a, i]
            ee += e[i] * e[i]
            eg += e[i] * g[i]
            gg += g[i] * g[i]
        area = ee * gg - eg * eg
        if area <= 1e-6 * ee * gg or area <= 0:
            continue
        for k in range(2):
            p = corners[f, 1, k] - corners[f, 0, k]
            q = corners[f, 2, k] - corners[f, 0, k]
            along, across = (p * gg - q * eg) / area, (q * ee - p * eg) / area
            for i in range(3):
                out[f, k, i] = along * e[i] + across * g[i]


def uv_slopes_reference(vertices, faces, corners):
    """Readable twin of `uv_slopes`, for faces with an area."""
    edges = np.diff(vertices[faces].astype(np.float64)[:, [0, 1, 0, 2]].reshape(-1, 2, 2, 3), axis=2)[:, :, 0]
    ways = corners[:, 1:].astype(np.float64) - corners[:, :1]
    return np.transpose(np.linalg.pinv(edges) @ ways, (0, 2, 1))


def unwrap(vertices: np.ndarray, faces: np.ndarray, body: BodyPoints) -> np.ndarray:
    """Corners [F, 3, 2] float32 in [0, 1] in the body's UV square (u to the right, v down) of a surface around the
    body: vertices [V, 3] in the body's frame, metres, and faces [F, 3] counter-clockwise from outside."""
    vertices = np.ascontiguousarray(vertices, np.float32)
    faces = np.ascontiguousarray(faces, np.int32)
    normals = np.empty_like(vertices)
    vertex_normals(vertices, faces, normals)
    tree = PointTree(body.points)
    uv, slope = _followed(tree, body, vertices, normals)
    corners = uv[faces]
    cut = np.empty(len(faces), np.bool_)
    _find_cut(vertices, faces, uv, slope, cut)
    cut = np.flatnonzero(cut)
    # Triangles across a cut lie where their middle does.
    triangles = vertices[faces[cut]]
    middle, towards = triangles.mean(1), normals[faces[cut]].mean(1)
    towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-9)
    uv, slope = _followed(tree, body, middle, towards)
    followed = uv[:, None] + np.einsum("fmi,fki->fkm", slope, triangles - middle[:, None])
    own = np.linalg.norm(corners[cut] - followed, axis=2) < KEPT * np.linalg.norm(followed - uv[:, None], axis=2)
    corners[cut] = np.where(own[..., None], corners[cut], followed)
    return np.clip(corners, 0, 1)


def _followed(
    tree: PointTree, body: BodyPoints, places: np.ndarray, normals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where places [N, 3] with unit normals [N, 3] lie in the square [N, 2], and slopes there [N, 2, 3], by the map of
    the nearest points that face the same way."""
    uv, slope = np.empty((len(places), 2), np.float32), np.empty((len(places), 2, 3), np.float32)
    count = min(NEIGHBOURS, len(body.points))
    distance, index = tree.query(places, count)
    distance, index = distance.reshape(-1, count), index.reshape(-1, count)
    _follow(places, normals, distance, index, body.points, body.normals, body.uvs, body.slopes, uv, slope)
    return uv, slope


@compiled(nogil=True)
def _follow(vertices, normals, distance, index, points, point_normals, uvs, slopes, uv, slope):
    """Place in the square [V, 2] of every vertex, and slopes there [V, 2, 3], from the map of its neighbours."""
    count = index.shape[1]
    trust = np.empty(count)
    for v in range(len(vertices)):
        best = -1
        for k in range(count):
            p = index[v, k]
            facing = 0.0
            for i in range(3):
                facing += normals[v, i] * point_normals[p, i]
            trust[k] = 1 / (distance[v, k] + CLOSE_M) if facing > MIN_FACING else 0.0
            if trust[k] > 0 and best < 0:
                best = k
        if best < 0:  # between limbs: the nearest one
            best = 0
            trust[0] = 1.0
        first = index[v, best]
        total = 0.0
        uv[v] = 0
        slope[v] = 0
        for k in range(count):
            p = index[v, k]
            if trust[k] == 0 or not _joined(points, uvs, slopes, first, p):
                continue
            total += trust[k]
            for m in range(2):
                place = uvs[p, m]
                for i in range(3):
                    place += slopes[p, m, i] * (vertices[v, i] - points[p, i])
                    slope[v, m, i] += trust[k] * slopes[p, m, i]
                uv[v, m] += trust[k] * place
        for m in range(2):
            uv[v, m] /= total
            for i in range(3):
                slope[v, m, i] /= total


@compiled(nogil=True)
def _joined(points, uvs, slopes, a, b):
    """Whether two points with a map each lie on one piece of the square, not across a cut."""
    way, step, scale = 0.0, 0.0, 0.0
    for i in range(3):
        d = points[b, i] - points[a, i]
        step += d * d
    for m in range(2):
        d = uvs[b, m] - uvs[a, m]
        way += d * d
        for i in range(3):
            scale += slopes[a, m, i] * slopes[a, m, i] + slopes[b, m, i] * slopes[b, m, i]
    return way <= MAX_STRETCH * MAX_STRETCH * step * scale / 4  # of two maps with two directions each


@compiled(nogil=True)
def _find_cut(vertices, faces, uv, slope, cut):
    """Which triangles [F] have corners on several pieces of the square."""
    for f in range(len(faces)):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        one, two = _joined(vertices, uv, slope, a, b), _joined(vertices, uv, slope, b, c)
        cut[f] = not (one and two and _joined(vertices, uv, slope, c, a))
