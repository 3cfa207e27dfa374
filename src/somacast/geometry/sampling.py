"""Area-uniform sampling of mesh surfaces."""

from __future__ import annotations

import numpy as np

from somacast.body.table import vertex_normals
from somacast.errors import SomacastError
from somacast.kernels import compiled
from somacast.types import Mesh, PointCloud

DEFAULT_COLOR = 0.7  # sRGB grey of a mesh without colours


def byte_colors(mesh: Mesh) -> np.ndarray:
    """Colours [V, 3] uint8 sRGB of a mesh's vertices; grey where there are none."""
    if mesh.colors is None:
        return np.full((len(mesh.vertices), 3), round(255 * DEFAULT_COLOR), np.uint8)
    return np.round(np.clip(mesh.colors, 0, 1) * 255).astype(np.uint8)


@compiled(nogil=True)
def face_areas(vertices, faces, areas, normals):
    """Triangle areas [F] in square metres and unit face normals [F, 3] (zero where a triangle has no area)."""
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        e0 = np.float64(vertices[b, 0]) - vertices[a, 0]
        e1 = np.float64(vertices[b, 1]) - vertices[a, 1]
        e2 = np.float64(vertices[b, 2]) - vertices[a, 2]
        g0 = np.float64(vertices[c, 0]) - vertices[a, 0]
        g1 = np.float64(vertices[c, 1]) - vertices[a, 1]
        g2 = np.float64(vertices[c, 2]) - vertices[a, 2]
        x = e1 * g2 - e2 * g1
        y = e2 * g0 - e0 * g2
        z = e0 * g1 - e1 * g0
        length = np.sqrt(x * x + y * y + z * z)
        areas[f] = 0.5 * length
        scale = 1.0 / length if length > 0 else 0.0
        normals[f, 0] = x * scale
        normals[f, 1] = y * scale
        normals[f, 2] = z * scale


def face_areas_reference(vertices, faces):
    """Readable twin of `face_areas`: returns (areas [F], normals [F, 3])."""
    corner = vertices[faces].astype(np.float64)
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    length = np.linalg.norm(cross, axis=1)
    return length / 2, cross / np.maximum(length, 1e-300)[:, None]


@compiled(nogil=True)
def _draw(areas, uniform, total, chosen, weights):
    """One point in each of N equal shares of the total area: uniform [N, 3] in [0, 1) -> chosen [N], weights [N, 3]."""
    count = len(chosen)
    face = 0
    below = 0.0  # area of all faces before `face`
    last = len(areas) - 1
    for i in range(count):
        place = (i + uniform[i, 0]) / count * total
        while face < last and (below + areas[face] <= place or areas[face] == 0.0):
            below += areas[face]
            face += 1
        u, v = uniform[i, 1], uniform[i, 2]
        if u + v > 1.0:  # fold the square onto the triangle
            u, v = 1.0 - u, 1.0 - v
        chosen[i] = face
        weights[i, 0] = 1.0 - u - v
        weights[i, 1] = u
        weights[i, 2] = v


def draw_on_faces(mesh: Mesh, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw `count` places on the surface, uniform by area and stratified along the face list.

    Returns (face number [N] int32, barycentric weights [N, 3] float32, unit normals of all faces [F, 3] float32).
    Raises SomacastError if the mesh has no area or holds numbers that are not finite.
    """
    areas = np.empty(len(mesh.faces), np.float64)
    normals = np.empty((len(mesh.faces), 3), np.float32)
    face_areas(mesh.vertices, mesh.faces, areas, normals)
    total = float(areas.sum())
    if not np.isfinite(total) or total <= 0:
        raise SomacastError(f"expected a mesh with a surface, got {len(mesh.faces)} triangles of total area {total}")
    chosen = np.empty(count, np.int32)
    weights = np.empty((count, 3), np.float32)
    # A last face without area must not catch the numbers at the end of the row.
    used = int(np.flatnonzero(areas)[-1]) + 1
    _draw(areas[:used], rng.random((count, 3)), total, chosen, weights)
    return chosen, weights, normals


@compiled(nogil=True)
def _blend(values, faces, chosen, weights, out):
    """Values at the corners [V, 3] to values at the drawn places [N, 3]."""
    for i in range(len(chosen)):
        f = chosen[i]
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        for k in range(3):
            out[i, k] = weights[i, 0] * values[a, k] + weights[i, 1] * values[b, k] + weights[i, 2] * values[c, k]


def blend_reference(values, faces, chosen, weights):
    """Readable twin of the kernel that interpolates over triangles."""
    return (values[faces[chosen]] * weights[..., None]).sum(1)


def sample_surface(mesh: Mesh, count: int, rng: np.random.Generator, smooth_normals: bool = False) -> PointCloud:
    """Area-uniform points of a mesh: points [N, 3], unit normals [N, 3], colours [N, 3], all float32.

    Each of N equal shares of the area holds one point, so density varies less than with independent draws; points
    come in the order of the faces. Normals are those of the faces, or blended over the corners if `smooth_normals`.
    A mesh without colours gives grey points. The same generator state gives the same points.
    """
    chosen, weights, face_normals = draw_on_faces(mesh, count, rng)
    points = np.empty((count, 3), np.float32)
    _blend(mesh.vertices, mesh.faces, chosen, weights, points)
    if smooth_normals:
        corner = np.empty((len(mesh.vertices), 3), np.float32)
        vertex_normals(mesh.vertices, mesh.faces, corner)
        normals = np.empty((count, 3), np.float32)
        _blend(corner, mesh.faces, chosen, weights, normals)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    else:
        normals = face_normals[chosen]
    if mesh.colors is None:
        colors = np.full((count, 3), DEFAULT_COLOR, np.float32)
    else:
        colors = np.empty((count, 3), np.float32)
        _blend(mesh.colors, mesh.faces, chosen, weights, colors)
    return PointCloud(points, normals, colors)
