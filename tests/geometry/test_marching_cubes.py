"""Marching cubes: closed, two-manifold, the outside in front, and next to skimage's surface."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree
from skimage.measure import marching_cubes as marching_of_skimage

from somacast.geometry.marching_cubes import case_table, marching_cubes


def noise(shape: tuple[int, int, int], sigma: float, seed: int) -> np.ndarray:
    """A random field of spread 1 with an outside border."""
    field = np.random.default_rng(seed).normal(size=shape)
    field = gaussian_filter(field, sigma) if sigma else field
    field = (field / field.std()).astype(np.float32)
    for axis in range(3):
        for side in (0, -1):
            edge = np.moveaxis(field, axis, 0)[side]
            np.minimum(edge, -0.1, out=edge)
    return field


def assert_closed(vertices: np.ndarray, faces: np.ndarray) -> None:
    """Every directed edge once, with its opposite; the faces around every vertex form one ring."""
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)
    key, opposite = directed @ [len(vertices), 1], directed @ [1, len(vertices)]
    assert len(np.unique(key)) == len(key) and (np.sort(key) == np.sort(opposite)).all()
    assert (np.unique(faces) == np.arange(len(vertices))).all()
    # Around each vertex: the edges opposite to it in its faces, followed from one to the next, make a single round.
    follows = [{} for _ in vertices]
    for face in faces.tolist():
        for m in range(3):
            follows[face[m]][face[(m + 1) % 3]] = face[(m + 2) % 3]
    for ring in follows:
        first = at = next(iter(ring))
        for _ in range(len(ring) - 1):
            at = ring[at]
            assert at != first
        assert ring[at] == first


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.5])
def test_closed_whatever_the_field(sigma):
    """White noise shows all 256 cases beside each other, those with corners across included."""
    field = noise((14, 13, 15), sigma, 1)
    vertices, faces = marching_cubes(field)
    assert vertices.dtype == np.float32 and faces.dtype == np.int32
    assert_closed(vertices, faces)
    shape = trimesh.Trimesh(vertices, faces, process=False)
    assert shape.is_watertight and shape.is_winding_consistent and shape.volume > 0


def test_every_case_appears_in_noise():
    field = noise((40, 40, 40), 0.0, 2) > 0
    seen = sum(
        field[a : a + 39, b : b + 39, c : c + 39] * (1 << (4 * a + 2 * b + c)) for a, b, c in np.ndindex(2, 2, 2)
    )
    assert len(np.unique(seen)) == 256
    assert_closed(*marching_cubes(np.where(field, 1.0, -1.0)))


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_next_to_skimage(sigma):
    """Equal but for cells where several surfaces are possible inside, of which both choose one."""
    field = noise((50, 60, 40), sigma, 3)
    vertices, faces = marching_cubes(field)
    theirs, their_faces, _, _ = marching_of_skimage(field, 0.0, allow_degenerate=True)
    ours = trimesh.Trimesh(vertices, faces, process=False)
    other = trimesh.Trimesh(theirs, their_faces[:, ::-1], process=False)
    assert ours.volume == pytest.approx(other.volume, rel=0.015)
    assert ours.area == pytest.approx(other.area, rel=0.01)
    nearest = KDTree(theirs).query(vertices)[0]
    assert np.quantile(nearest, 0.995) < 1e-3  # vertices inside cells stand elsewhere
    assert abs(len(vertices) - len(theirs)) < 0.002 * len(theirs)


def test_ball_has_the_volume_and_the_radius():
    axis = np.arange(40) - 19.3
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    vertices, faces = marching_cubes((15 - np.sqrt(x**2 + y**2 + z**2)).astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(vertices - 19.3, axis=1), 15, atol=0.02)
    shape = trimesh.Trimesh(vertices, faces, process=False)
    assert shape.volume == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.005)
    assert (shape.face_normals * (shape.triangles_center - 19.3)).sum(1).min() > 0


def test_one_corner_and_its_opposite():
    """The smallest surfaces: one node inside, and two inside across a side, which stay apart."""
    field = np.full((4, 4, 4), -1.0)
    field[1, 1, 1] = 3
    vertices, faces = marching_cubes(field)
    assert len(vertices) == 6 and len(faces) == 8
    np.testing.assert_allclose(np.abs(vertices - 1).max(1), 0.75)
    for across, parts in ((0.5, 2), (0.9, 2), (1.1, 1), (2.0, 1)):  # the product of the outside corners is 1
        field[1, 1, 1] = field[1, 2, 2] = across
        vertices, faces = marching_cubes(field)
        assert trimesh.Trimesh(vertices, faces, process=False).body_count == parts
        assert_closed(vertices, faces)


def test_table_is_complete():
    table = case_table()
    assert len(table.counts) == (1 << np.array([int(x).bit_count() for x in table.undecided])).sum()
    counts = table.counts[table.first]
    assert counts[0] == counts[255] == 0 and (counts[1:255] > 0).all()
    assert counts[0b00000001] == 1 and counts[0b00001111] == 2 and counts[0b01101001] == 4
    assert table.undecided[0b01101001] == 63 and table.edges.max() == 12


def test_nothing_inside_and_wrong_shapes():
    vertices, faces = marching_cubes(np.full((3, 4, 5), -1.0))
    assert vertices.shape == (0, 3) and faces.shape == (0, 3)
    for wrong in (np.zeros((3, 3)), np.zeros((1, 5, 5))):
        with pytest.raises(ValueError, match="at least two nodes"):
            marching_cubes(wrong)
