"""Where a surface that lies around the posed body lies in the body's UV square.

Every vertex asks the points of the body next to it that face the same way, and follows their map from metres to the
square. The square is cut along seams: triangles that lie across a cut are split there, and each part follows the map
of its own side, so that none is stretched over the square.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.body.table import BODY_VERTICES, load_body, vertex_normals
from somacast.geometry.nearest import PointTree
from somacast.geometry.texturing.islands import island_texel, islands, outer_islands
from somacast.kernels import compiled

NEIGHBOURS = 4  # of a vertex among the points of the body
CLOSE_M = 1e-3  # distances below it make no difference between neighbours
MIN_FACING = 0.2  # cosine between normals of neighbours that lie on the same limb
MAX_SLOPE = 4.0  # of the body's own map there are none above it
MAX_STRETCH = 2.5  # how much larger a way in the square may be than on the body; farther is across a cut
NEAR = 0.02  # in the square: what lies so near each other there is on no two sides of a cut that matters
FLAT = 0.1  # of its area on the surface, in the square: a triangle with less is folded
UNFOLDING = 20  # rounds
MIN_SHARE_OF_EDGE = 0.1
SMOOTHING = 8  # rounds in which the head is smoothed


@dataclass(frozen=True)
class BodyPoints:
    """Points of a posed body: points, normals [N, 3] metres; uvs [N, 2], u to the right, v down; slopes [N, 2, 3]: what
    a metre along each axis adds to them there."""

    points: np.ndarray
    normals: np.ndarray
    uvs: np.ndarray
    slopes: np.ndarray


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
        size = 0.0
        for k in range(2):
            for i in range(3):
                size += out[f, k, i] ** 2
        if size > MAX_SLOPE * MAX_SLOPE:
            out[f] *= np.float32(MAX_SLOPE / np.sqrt(size))


def uv_slopes_reference(vertices, faces, corners):
    """Readable twin of `uv_slopes`, for faces with an area."""
    edges = np.diff(vertices[faces].astype(np.float64)[:, [0, 1, 0, 2]].reshape(-1, 2, 2, 3), axis=2)[:, :, 0]
    ways = corners[:, 1:].astype(np.float64) - corners[:, :1]
    return np.transpose(np.linalg.pinv(edges) @ ways, (0, 2, 1))


@lru_cache(maxsize=1)
def _head() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices of the head, first of the neighbours of each in a list, and one more number, and that list."""
    body = load_body()
    weight = body.skin_weight[:BODY_VERTICES]
    main = np.take_along_axis(body.skin_index[:BODY_VERTICES], weight.argmax(1)[:, None], 1)[:, 0]
    head = body.bone_joint[main] == CANONICAL_JOINTS.index("head")
    faces = body.faces[outer_islands() & ~body.inner_faces].astype(np.int64)
    ends = np.unique(faces[:, [0, 1, 1, 2, 2, 0, 1, 0, 2, 1, 0, 2]].reshape(-1, 2), axis=0)
    ends = ends[head[ends[:, 0]]]
    vertices, first = np.unique(ends[:, 0], return_index=True)
    return vertices, np.append(first, len(ends)), np.ascontiguousarray(ends[:, 1])


def smoothed_head(vertices: np.ndarray, rounds: int = SMOOTHING) -> np.ndarray:
    """The posed skin [13380, 3] with ears, nostrils, lips and eyelids smoothed into what a coarser surface shows of
    them."""
    out = np.array(vertices, np.float32)
    if rounds:
        _smooth(out, *_head(), rounds)
    return out


@compiled(nogil=True)
def _smooth(vertices, chosen, first, neighbours, rounds):
    moved = np.empty((len(chosen), 3), np.float32)
    for _ in range(rounds):
        for n in range(len(chosen)):
            for k in range(3):
                total = np.float32(0)
                for i in range(first[n], first[n + 1]):
                    total += vertices[neighbours[i], k]
                moved[n, k] = (vertices[chosen[n], k] + total / (first[n + 1] - first[n])) / 2
        for n in range(len(chosen)):
            for k in range(3):
                vertices[chosen[n], k] = moved[n, k]


class Unwrapped(NamedTuple):
    """A surface, split where a cut of the body's UV square crosses it: vertices [V, 3] float32, the given ones first,
    faces [F, 3] int32, and their corners [F, 3, 2] float32 in [0, 1] in the square, u to the right, v down."""

    vertices: np.ndarray
    faces: np.ndarray
    corners: np.ndarray


def unwrap(vertices: np.ndarray, faces: np.ndarray, body: BodyPoints) -> Unwrapped:
    """Where a surface around the body lies in the body's UV square: vertices [V, 3] in the body's frame, metres, and
    faces [F, 3] counter-clockwise from outside. It stays as closed as it is."""
    vertices = np.ascontiguousarray(vertices, np.float32)
    faces = np.ascontiguousarray(faces, np.int32)
    normals = np.empty_like(vertices)
    vertex_normals(vertices, faces, normals)
    uv, slope = _followed(body, vertices, normals)
    _unfold(vertices, faces, uv, slope, UNFOLDING)
    cut = np.empty((len(faces), 3), np.bool_)
    _find_cuts(vertices, faces, uv, slope, cut)
    whole = ~cut.any(1)
    added, parts, corners = _split(vertices, faces[~whole], cut[~whole], uv, slope)
    corners = np.concatenate([uv[faces[whole]], corners])
    corners = _onto_islands(corners)
    return Unwrapped(np.concatenate([vertices, added]), np.concatenate([faces[whole], parts]), corners)


def _onto_islands(corners: np.ndarray) -> np.ndarray:
    """Corners [F, 3, 2] that lie beyond an island, where another one may be, on its edge; where that is another one's,
    on another corner of the triangle."""
    texel = island_texel(corners)
    within = islands().distance[texel] > 0
    out = np.where(within[..., None], corners, islands().inside[texel])
    side = islands().trunk[island_texel(out)]
    first = within.argmax(1)[:, None]
    other = side != np.take_along_axis(side, first, 1)
    return np.where(other[..., None], np.take_along_axis(out, first[..., None], 1), out)


def _split(
    vertices: np.ndarray, faces: np.ndarray, cut: np.ndarray, uv: np.ndarray, slope: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triangles [N, 3] split where their edges (0-1, 1-2, 2-0) are cut [N, 3]: new vertices [E, 3], which come after
    the given ones, parts [P, 3], and their corners [P, 3, 2], each part by the map of its own side of the cut."""
    ends = faces[:, [[0, 1], [1, 2], [2, 0]]].astype(np.int64)
    key = np.sort(ends, 2) @ [len(vertices), 1]
    keys, which = np.unique(key[cut], return_inverse=True)
    a, b = np.divmod(keys, len(vertices))
    share = _crossing(uv, slope, a, b)[:, None]
    added = (vertices[a] + share * (vertices[b] - vertices[a])).astype(np.float32)
    places = np.concatenate([vertices, added])
    point = np.full(cut.shape, -1)
    point[cut] = len(vertices) + which

    parts: list[np.ndarray] = []  # columns: three vertices, and the three whose map each follows
    for count, first, pieces in (
        (1, cut.argmax(1), ("ajc aac", "jbc bbc")),  # cut edge first
        (2, ((~cut).argmax(1) + 1) % 3, ("jbk bbb", "ajk aac", "akc acc")),  # corner b is alone
        (3, np.zeros(len(faces), int), ("ajl aaa", "jbk bbb", "lkc ccc", "jkl aaa")),
    ):
        chosen = cut.sum(1) == count
        turn = (first[chosen, None] + np.arange(3)) % 3
        corner, middle = np.take_along_axis(faces[chosen], turn, 1), np.take_along_axis(point[chosen], turn, 1)
        named = dict(zip("abcjkl", [*corner.T, *middle.T], strict=True))
        parts += [np.stack([named[name] for name in piece.replace(" ", "")], 1) for piece in pieces]
    found = np.concatenate(parts)
    part, side = found[:, :3], found[:, 3:]
    corners = uv[side] + np.einsum("pkmi,pki->pkm", slope[side], places[part] - vertices[side])
    return added, part.astype(np.int32), corners.astype(np.float32)


def _crossing(uv: np.ndarray, slope: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where a cut crosses edges from vertices a [E] to b [E], as shares of their length: the one lies as near to the
    edge of its island as the other."""
    scale = np.sqrt((slope**2).sum((1, 2)) / 2)
    metres = islands().distance[island_texel(uv)] / np.maximum(scale, 1e-3)
    share = metres[a] / np.maximum(metres[a] + metres[b], 1e-6)
    return np.clip(share, MIN_SHARE_OF_EDGE, 1 - MIN_SHARE_OF_EDGE)


def _followed(body: BodyPoints, places: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where places [N, 3] with unit normals [N, 3] lie in the square [N, 2], and slopes there [N, 2, 3], by the map of
    the nearest points that face the same way."""
    uv, slope = np.empty((len(places), 2), np.float32), np.empty((len(places), 2, 3), np.float32)
    count = min(NEIGHBOURS, len(body.points))
    distance, index = PointTree(body.points).query(places, count)
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
    # of two maps with two directions each
    return way <= NEAR * NEAR or way <= MAX_STRETCH * MAX_STRETCH * step * scale / 4


@compiled(nogil=True)
def _unfold(vertices, faces, uv, slope, rounds):
    """Move vertices of triangles that are folded over others in the square, as an ear's do, to the mean of what they
    hang on, again and again, until they lie side by side."""
    looked_at = np.ones(len(faces), np.bool_)  # at first all, then those near to what moved
    sums, count = np.zeros_like(uv), np.zeros(len(uv), np.int64)
    for _ in range(rounds):
        folded = np.zeros(len(vertices), np.bool_)
        found = 0
        for f in range(len(faces)):
            a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
            if looked_at[f] and _folded(vertices, uv, slope, a, b, c):
                folded[a] = folded[b] = folded[c] = True
                found += 1
        if found == 0:
            return
        sums[:] = 0
        count[:] = 0
        for f in range(len(faces)):
            looked_at[f] = folded[faces[f, 0]] or folded[faces[f, 1]] or folded[faces[f, 2]]
            if not looked_at[f]:
                continue
            for k in range(3):
                a, b = faces[f, k], faces[f, (k + 1) % 3]
                if _joined(vertices, uv, slope, a, b):
                    for m in range(2):
                        sums[a, m] += uv[b, m]
                        sums[b, m] += uv[a, m]
                    count[a] += 1
                    count[b] += 1
        for v in range(len(uv)):
            if folded[v] and count[v] > 0:
                for m in range(2):
                    uv[v, m] = sums[v, m] / count[v]


@compiled(nogil=True)
def _folded(vertices, uv, slope, a, b, c):
    """Whether a triangle, no edge of which is cut, has little area in the square or lies in it the wrong way round."""
    if not (
        _joined(vertices, uv, slope, a, b) and _joined(vertices, uv, slope, b, c) and _joined(vertices, uv, slope, c, a)
    ):
        return False
    area = (uv[b, 0] - uv[a, 0]) * (uv[c, 1] - uv[a, 1]) - (uv[b, 1] - uv[a, 1]) * (uv[c, 0] - uv[a, 0])
    ee, eg, gg, scale = 0.0, 0.0, 0.0, 0.0
    for i in range(3):
        e, g = vertices[b, i] - vertices[a, i], vertices[c, i] - vertices[a, i]
        ee += e * e
        eg += e * g
        gg += g * g
        for m in range(2):
            scale += slope[a, m, i] * slope[a, m, i]
    return -area < FLAT * scale / 2 * np.sqrt(max(ee * gg - eg * eg, 0.0))  # v goes down


@compiled(nogil=True)
def _find_cuts(vertices, faces, uv, slope, cut):
    """Which edges 0-1, 1-2, 2-0 of triangles have their ends on several pieces of the square, [F, 3]."""
    for f in range(len(faces)):
        for k in range(3):
            cut[f, k] = not _joined(vertices, uv, slope, faces[f, k], faces[f, (k + 1) % 3])
