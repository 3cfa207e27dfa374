"""What a dressed person looks like on the surface chart: rays from the skin outwards. Training alone casts rays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import median_filter

from somacast.body.clothing import MATERIALS
from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.body.table import BODY_VERTICES, load_body, vertex_normals
from somacast.kernels import compiled
from somacast.synthetic.people import Person
from somacast.systems.aflsc.labels.chart import OFFSET_HIGH_M, Chart, load_chart

CELL_M = 0.025
MAX_HITS = 64  # of one ray


class Grid(NamedTuple):
    """Triangles tri [F, 3, 3] by cells of a grid from `low` [3]: those of cell c are items[start[c]:start[c + 1]]."""

    low: np.ndarray
    cell: float
    dims: np.ndarray
    tri: np.ndarray
    start: np.ndarray
    items: np.ndarray


@compiled(fastmath=True, nogil=True)
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


@compiled(fastmath=True, nogil=True)
def _cast(origins, directions, grid, open_face, out_t, out_f, reach_m):
    """Outermost surface along each ray, by the rule of `outer_surface`."""
    low, cell, dims, tri, start, items = grid
    hits_t, hits_f = np.zeros(MAX_HITS, np.float32), np.zeros(MAX_HITS, np.int32)
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
    out_t, out_f = cast_rays(origin, direction, tri, kind.astype(np.uint8))
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


def cast_rays(
    origin: np.ndarray, direction: np.ndarray, tri: np.ndarray, kind: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Outermost surface along rays [N, 3] among triangles [F, 3, 3] float32, by the rule of `outer_surface`: distance
    [N] float32 in metres (0 without a hit), triangle [N] int32 (-1 without). kind [F] uint8: 1 solid, 2 open sheet."""
    low = (tri.reshape(-1, 3).min(0) - 0.01).astype(np.float32)
    dims = ((tri.reshape(-1, 3).max(0) + 0.01 - low) / CELL_M).astype(np.int64) + 1
    start = np.zeros(int(dims.prod()) + 1, np.int64)
    _grid_triangles(low, CELL_M, dims, tri, start, np.zeros(0, np.int32), True)
    start = np.cumsum(start)
    items = np.zeros(int(start[-1]), np.int32)
    _grid_triangles(low, CELL_M, dims, tri, start.copy(), items, False)
    out_t, out_f = np.zeros(len(origin), np.float32), np.zeros(len(origin), np.int32)
    _cast(origin, direction, Grid(low, CELL_M, dims, tri, start, items), kind, out_t, out_f, OFFSET_HIGH_M)
    return out_t, out_f


def inner_faces() -> np.ndarray:
    """Body faces [F] bool that no one sees (mouth cavity, behind the eyes): a ray from them meets the body from inside.

    The product has them as a table, `Body.inner_faces`.
    """
    body = load_body()
    rest = np.ascontiguousarray(body.shape_mean[:BODY_VERTICES], np.float32)
    tri = np.ascontiguousarray(rest[body.faces])
    normal = np.cross(tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0])
    normal = (normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    centre = tri.mean(1) + 1e-3 * normal
    head = body.bone_joint[body.skin_index[body.faces[:, 0], 0]] == CANONICAL_JOINTS.index("head")
    out = np.zeros(len(tri), bool)
    # kind 2 lets every hit count: the last one within reach tells whether something closes the way out
    t, f = cast_rays(centre[head], normal[head], tri, np.full(len(tri), 2, np.uint8))
    out[np.flatnonzero(head)[(f >= 0) & (t > 2e-3) & (t < 0.12)]] = True
    return out


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
    chart = chart or load_chart()
    loose = np.isin(material, [MATERIALS.index("hair") + 1, MATERIALS.index("hat") + 1])
    limited = np.where(loose, offset, np.minimum(offset, 0.14))
    smooth = median_filter(limited, 5)
    spike = np.abs(limited - smooth) > np.where(loose, 0.05, 0.025)
    return np.where(chart.inside, np.where(spike, smooth, limited), 0).astype(np.float32)
