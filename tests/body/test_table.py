"""The kernels of the body table against plain NumPy."""

from __future__ import annotations

import numpy as np

from somacast.body.rotations import rotvec_to_matrix
from somacast.body.table import (
    bone_transforms,
    bone_transforms_reference,
    skin_vertices,
    skin_vertices_reference,
    vertex_normals,
    vertex_normals_reference,
)

RNG = np.random.default_rng(5)
PARENT = np.array([-1, 0, 1, 1, 3, 0])


def normal32(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def test_skinning_matches_its_readable_twin():
    rest, transform = normal32(50, 3), normal32(6, 3, 4)
    index = RNG.integers(0, 6, (50, 4))
    weight = RNG.dirichlet(np.ones(4), 50).astype(np.float32)
    weight[:10, 2:] = 0
    out = np.full_like(rest, np.nan)
    skin_vertices(rest, index, weight, transform, out)
    np.testing.assert_allclose(out, skin_vertices_reference(rest, index, weight, transform), atol=1e-5)


def test_bones_match_their_readable_twin():
    rotation = rotvec_to_matrix(RNG.normal(size=(6, 3))).astype(np.float32)
    rest = normal32(6, 3)
    out = np.full((6, 3, 4), np.nan, np.float32)
    heads = bone_transforms(PARENT, rotation, rest, out)
    expected_heads, expected = bone_transforms_reference(PARENT, rotation, rest)
    np.testing.assert_allclose(heads, expected_heads, atol=1e-5)
    np.testing.assert_allclose(out, expected, atol=1e-5)
    placed = np.einsum("bij,bj->bi", out[..., :3], rest) + out[..., 3]
    np.testing.assert_allclose(placed, heads, atol=1e-5)  # a bone's own head lies where it is said to


def test_normals_match_their_readable_twin():
    vertices = normal32(40, 3)
    faces = np.array([RNG.permutation(39)[:3] for _ in range(80)])
    out = np.full_like(vertices, np.nan)
    vertex_normals(vertices, faces, out)
    np.testing.assert_allclose(out, vertex_normals_reference(vertices, faces), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(out[:39], axis=1), 1, atol=1e-5)
    assert not out[39].any()  # no face has it as a corner
