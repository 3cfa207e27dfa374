"""The surface chart: the body's UV square as a grid of surface points, and what a dressed person looks like on it.

A dressed person in the rest pose is a map over the chart: how far the outermost surface stands off the skin along
its normal, and its colour. Posing the chart gives an oriented, coloured point cloud (Algorithm 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numba as nb
import numpy as np

from somacast.body.clothing import MATERIALS
from somacast.body.table import BODY_VERTICES, load_body, vertex_normals
from somacast.synthetic.people import Person

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


@nb.njit(cache=True)
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


@nb.njit(fastmath=True, cache=True, nogil=True)
def _grid_triangles(low, cell, dims, tri, start, items, counting):
    """Bucket triangles [F, 3, 3] by the grid cells their boxes touch; two passes: counting, then filling."""
    for f in range(tri.shape[0]):
        x0 = int((min(tri[f, 0, 0], tri[f, 1, 0], tri[f, 2, 0]) - low[0]) / cell)
        x1 = int((max(tri[f, 0, 0], tri[f, 1, 0], tri[f, 2, 0]) - low[0]) / cell)
        y0 = int((min(tri[f, 0, 1], tri[f, 1, 1], tri[f, 2, 1]) - low[1]) / cell)
        y1 = int((max(tri[f, 0, 1], tri[f, 1, 1], tri[f, 2, 1]) - low[1]) / cell)
        z0 = int((min(tri[f, 0, 2], tri[f, 1, 2], tri[f, 2, 2]) - low[2]) / cell)
        z1 = int((max(tri[f, 0, 2], tri[f, 1, 2], tri[f, 2, 2]) - low[2]) / cell)
        for x in range(x0, x1 + 1):
            for y in range(y0, y1 + 1):
                for z in range(z0, z1 + 1):
                    c = (x * dims[1] + y) * dims[2] + z
                    if counting:
                        start[c + 1] += 1
                    else:
                        items[start[c]] = f
                        start[c] += 1


@nb.njit(fastmath=True, cache=True, nogil=True)
def _cast(origins, directions, low, cell, dims, tri, start, items, open_face, hits_t, hits_f, out_t, out_f, reach_m):
    """Outermost surface along each ray, by the rule of `outer_surface`."""
    seen = np.full(tri.shape[0], -1, np.int32)
    for r in range(origins.shape[0]):
        count = 0
        steps = int((reach_m + 0.03) / (0.5 * cell)) + 1
        last = -1
        for s in range(steps):
            t0 = -0.03 + s * 0.5 * cell
            x = int((origins[r, 0] + t0 * directions[r, 0] - low[0]) / cell)
            y = int((origins[r, 1] + t0 * directions[r, 1] - low[1]) / cell)
            z = int((origins[r, 2] + t0 * directions[r, 2] - low[2]) / cell)
            if x < 0 or y < 0 or z < 0 or x >= dims[0] or y >= dims[1] or z >= dims[2]:
                continue
            c = (x * dims[1] + y) * dims[2] + z
            if c == last:
                continue
            last = c
            for i in range(start[c], start[c + 1]):
                f = items[i]
                if seen[f] == r:
                    continue
                seen[f] = r
                e1x, e1y, e1z = tri[f, 1, 0] - tri[f, 0, 0], tri[f, 1, 1] - tri[f, 0, 1], tri[f, 1, 2] - tri[f, 0, 2]
                e2x, e2y, e2z = tri[f, 2, 0] - tri[f, 0, 0], tri[f, 2, 1] - tri[f, 0, 1], tri[f, 2, 2] - tri[f, 0, 2]
                dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
                px, py, pz = dy * e2z - dz * e2y, dz * e2x - dx * e2z, dx * e2y - dy * e2x
                det = e1x * px + e1y * py + e1z * pz
                if -1e-14 < det < 1e-14:
                    continue
                inv = 1 / det
                tx, ty, tz = origins[r, 0] - tri[f, 0, 0], origins[r, 1] - tri[f, 0, 1], origins[r, 2] - tri[f, 0, 2]
                u = (tx * px + ty * py + tz * pz) * inv
                if u < -1e-4 or u > 1.0001:
                    continue
                qx, qy, qz = ty * e1z - tz * e1y, tz * e1x - tx * e1z, tx * e1y - ty * e1x
                v = (dx * qx + dy * qy + dz * qz) * inv
                if v < -1e-4 or u + v > 1.0001:
                    continue
                t = (e2x * qx + e2y * qy + e2z * qz) * inv
                if t < -0.02 or t > reach_m or count >= hits_t.shape[0]:
                    continue
                # det < 0: the ray leaves through the front side
                hits_t[count] = t
                hits_f[count] = f + 1 if det < 0 else -(f + 1)
                count += 1
        out_f[r] = -1
        out_t[r] = 0
        for _ in range(count):  # selection in order of distance; counts are small
            best = -1
            for i in range(count):
                if hits_f[i] != 0 and (best < 0 or hits_t[i] < hits_t[best]):
                    best = i
            f = abs(hits_f[best]) - 1
            leaving = hits_f[best] > 0
            if open_face[f] == 2:  # the cloth has no inside: a skirt or hair seen from within counts as leaving
                leaving = True
            t = hits_t[best]
            hits_f[best] = 0
            if leaving:
                if out_f[r] >= 0 and t > out_t[r] + 0.05 and open_face[f] != 2:
                    break
                out_t[r] = t
                out_f[r] = f
            elif t > 0.03:
                break  # entering another limb


def outer_surface(person: Person, chart: Chart | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rest-pose offset [H, W] metres, colour [H, W, 3] and material [H, W] uint8 (0 outside) of a dressed person.

    From every skin point a ray runs outwards. Of its hits the last one counts that leaves a surface (or meets hair
    or another open sheet), before the ray enters another limb. Points whose ray meets nothing keep the skin itself.
    """
    chart = chart or load_chart()
    body = load_body()
    rest = np.ascontiguousarray(person.rest_body[:BODY_VERTICES])
    normal = np.empty_like(rest)
    vertex_normals(rest, body.faces, normal)
    face, bary = chart.face[chart.inside], chart.bary[chart.inside]
    corner = body.faces[face]
    origin = (rest[corner] * bary[..., None]).sum(1).astype(np.float32)
    direction = (normal[corner] * bary[..., None]).sum(1)
    direction = (direction / np.linalg.norm(direction, axis=1, keepdims=True)).astype(np.float32)
    tri = np.ascontiguousarray(person.vertices[person.faces])
    visible = person.albedo(np.arange(len(tri)), np.full((len(tri), 3), 1 / 3))[1] > 110 / 255
    tri_index = np.flatnonzero(visible)
    tri = np.ascontiguousarray(tri[tri_index])
    kind = np.where(np.isin(person.face_material[tri_index], [MATERIALS.index("hair"), MATERIALS.index("hat")]), 2, 1)
    out_t, out_f = _run_cast(origin, direction, tri, kind.astype(np.uint8))
    hit = out_f >= 0
    color = np.zeros((len(face), 3), np.float32)
    material = np.zeros(len(face), np.uint8)
    point = origin + out_t[:, None] * direction
    original = tri_index[np.maximum(out_f, 0)]
    weights = _barycentric(point, tri[np.maximum(out_f, 0)])
    color[hit] = person.albedo(original[hit], weights[hit])[0]
    material[hit] = person.face_material[original[hit]] + 1
    if (~hit).any():  # the skin texture itself
        uv = (body.uvs[body.face_uvs[face[~hit]]] * bary[~hit][..., None]).sum(1)
        texel = (np.stack([uv[:, 0], 1 - uv[:, 1]], 1) * (person.textures.shape[1] - 1)).astype(int)
        rgb = person.textures[0][texel[:, 1], texel[:, 0], :3] @ person.matrices[0][:, :3].T + person.matrices[0][:, 3]
        color[~hit] = np.clip(rgb / 255, 0, 1)
        material[~hit] = 1
    maps = [np.zeros((*chart.face.shape, *a.shape[1:]), a.dtype) for a in (out_t, color, material)]
    for m, a in zip(maps, (out_t, color, material), strict=True):
        m[chart.inside] = a
    return maps[0], maps[1], maps[2]


def _run_cast(origin, direction, tri, kind, cell_m: float = 0.025) -> tuple[np.ndarray, np.ndarray]:
    low = (tri.reshape(-1, 3).min(0) - 0.01).astype(np.float32)
    dims = ((tri.reshape(-1, 3).max(0) + 0.01 - low) / cell_m).astype(np.int64) + 1
    start = np.zeros(int(dims.prod()) + 1, np.int64)
    _grid_triangles(low, cell_m, dims, tri, start, np.zeros(0, np.int32), True)
    start = np.cumsum(start)
    items = np.zeros(int(start[-1]), np.int32)
    fill = start.copy()
    _grid_triangles(low, cell_m, dims, tri, fill, items, False)
    out_t, out_f = np.zeros(len(origin), np.float32), np.zeros(len(origin), np.int32)
    hits_t, hits_f = np.zeros(64, np.float32), np.zeros(64, np.int32)
    _cast(origin, direction, low, cell_m, dims, tri, start, items, kind, hits_t, hits_f, out_t, out_f, OFFSET_HIGH_M)
    return out_t, out_f


def _barycentric(point: np.ndarray, tri: np.ndarray) -> np.ndarray:
    e0, e1, p = tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0], point - tri[:, 0]
    d00, d01, d11 = (e0 * e0).sum(1), (e0 * e1).sum(1), (e1 * e1).sum(1)
    d20, d21 = (p * e0).sum(1), (p * e1).sum(1)
    det = np.maximum(d00 * d11 - d01 * d01, 1e-16)
    v, w = (d11 * d20 - d01 * d21) / det, (d00 * d21 - d01 * d20) / det
    b = np.clip(np.stack([1 - v - w, v, w], 1), 0, 1)
    return b / b.sum(1, keepdims=True)


def clean_offsets(offset: np.ndarray, material: np.ndarray, chart: Chart | None = None) -> np.ndarray:
    """Offsets [H, W] with lone spikes removed: rays from armpits and between the legs sometimes meet another limb."""
    from scipy.ndimage import median_filter

    chart = chart or load_chart()
    loose = np.isin(material, [MATERIALS.index("hair") + 1, MATERIALS.index("hat") + 1])
    limited = np.where(loose, offset, np.minimum(offset, 0.14))
    smooth = median_filter(limited, 5)
    spike = np.abs(limited - smooth) > np.where(loose, 0.05, 0.025)
    return np.where(chart.inside, np.where(spike, smooth, limited), 0).astype(np.float32)
