"""Meshes made coarser, by clusters of vertices; a texture stays on the triangles that are left."""

from __future__ import annotations

import numpy as np

from somacast.types import Mesh, Texture

_SAME = 1e-4  # of a texture's side: corners nearer than this lie at one place of it


def clustered(mesh: Mesh, cell_m: float) -> Mesh:
    """Vertices of one cell of a cubic grid become their mean, triangles that fall together vanish; 0: no change.

    Corners of one cell take the mean of their places in the texture, those of each of its islands for themselves.
    """
    if cell_m <= 0:
        return mesh
    cells = np.floor(mesh.vertices / cell_m).astype(np.int64)
    _, place, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    place = place.reshape(-1)
    whole = place[mesh.faces]
    a, b, c = whole.T
    kept = np.flatnonzero((a != b) & (b != c) & (c != a))
    _, first = np.unique(np.sort(whole[kept], 1), axis=0, return_index=True)
    kept = kept[np.sort(first)]
    used, renumbered = np.unique(whole[kept], return_inverse=True)
    vertices = _means(mesh.vertices, place, len(counts))[used]
    colors = None if mesh.colors is None else _means(mesh.colors, place, len(counts))[used]
    texture = mesh.texture
    if texture is not None:
        key = islands(mesh)[:, None] * len(counts) + whole
        _, corner = np.unique(key, return_inverse=True)
        means = _means(texture.corners.reshape(-1, 2), corner.reshape(-1), int(corner.max(initial=-1)) + 1)
        texture = Texture(texture.image, means[corner.reshape(-1, 3)[kept]])
    return Mesh(vertices, renumbered.reshape(-1, 3).astype(np.int32), colors, texture)


def _means(values: np.ndarray, place: np.ndarray, count: int) -> np.ndarray:
    """Means [count, C] of values [N, C] by their place [N]; float32."""
    sums = np.stack([np.bincount(place, values[:, i], count) for i in range(values.shape[1])], 1)
    return (sums / np.maximum(np.bincount(place, minlength=count), 1)[:, None]).astype(np.float32)


def welded(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A textured mesh with one place in the texture for each point: points [N, 3], their places [N, 2], faces [F, 3];
    vertices on a seam become several points."""
    assert mesh.texture is not None
    corners = mesh.texture.corners.reshape(-1, 2)
    keys = np.concatenate([mesh.faces.reshape(-1, 1), np.rint(corners / _SAME)], 1).astype(np.int64)
    _, first, point = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return mesh.vertices[mesh.faces.ravel()[first]], corners[first], point.reshape(-1, 3).astype(np.int32)


def islands(mesh: Mesh) -> np.ndarray:
    """The island of the texture that each triangle lies in, [F] int64: triangles that share a corner there and on the
    surface are of one."""
    faces = welded(mesh)[2].astype(np.int64)
    label = np.arange(int(faces.max(initial=-1)) + 1)
    while True:
        before = label.copy()
        np.minimum.at(label, faces.ravel(), np.repeat(label[faces].min(1), 3))
        label = label[label]  # a point takes what its own representative has found
        if np.array_equal(label, before):
            return label[faces[:, 0]]
