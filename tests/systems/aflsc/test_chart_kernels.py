"""Rays to the outermost surface against plain NumPy."""

from __future__ import annotations

import numpy as np

from somacast.systems.aflsc.labels.chart import OFFSET_HIGH_M
from somacast.systems.aflsc.training.outer_surface import cast_rays


def outermost_reference(origin, direction, triangles, kind):
    """Readable twin of `cast_rays` for one ray: every triangle is looked at."""
    a, e1, e2 = triangles[:, 0], triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    columns = np.stack([np.broadcast_to(-direction, a.shape), e1, e2], -1)
    t, u, v = np.linalg.solve(columns, (origin - a)[..., None])[..., 0].T
    hits = np.flatnonzero((u >= -1e-4) & (v >= -1e-4) & (u + v <= 1.0001) & (t >= -0.02) & (t <= OFFSET_HIGH_M))
    leaves = (np.cross(e1, e2) @ direction > 0) | (kind == 2)
    found, distance = -1, 0.0
    for f in hits[np.argsort(t[hits])]:
        if leaves[f]:
            if found >= 0 and t[f] > distance + 0.05 and kind[f] != 2:
                break
            found, distance = int(f), t[f]
        elif t[f] > 0.03:
            break  # another limb begins
    return found, distance


def test_rays_find_the_outermost_surface_of_all_triangles():
    rng = np.random.default_rng(2)
    triangles = (rng.uniform(-0.3, 0.3, (120, 1, 3)) + rng.normal(0, 0.1, (120, 3, 3))).astype(np.float32)
    kind = rng.integers(1, 3, 120).astype(np.uint8)
    origin = rng.uniform(-0.2, 0.2, (500, 3)).astype(np.float32)
    direction = rng.normal(size=(500, 3))
    direction = (direction / np.linalg.norm(direction, axis=1, keepdims=True)).astype(np.float32)
    distance, face = cast_rays(origin, direction, triangles, kind)
    expected = [outermost_reference(*ray, triangles.astype(np.float64), kind)
                for ray in zip(origin.astype(np.float64), direction.astype(np.float64), strict=True)]  # fmt: skip
    expected_face, expected_distance = (np.array(x) for x in zip(*expected, strict=True))
    assert 0.2 < (expected_face >= 0).mean() < 0.95
    same = face == expected_face
    assert same.mean() > 0.99, np.flatnonzero(~same)  # steps along a ray may miss the corner of a cell
    np.testing.assert_allclose(distance[same], expected_distance[same], atol=1e-4)
