"""Nearest neighbours against scipy's KDTree, their readable twin."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import KDTree

from somacast.geometry.nearest import LEAF_POINTS, PointTree


def shell(count: int, seed: int, radius: float = 1.0) -> np.ndarray:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return radius * points / np.linalg.norm(points, axis=1, keepdims=True) * [0.4, 0.9, 0.3]


def clustered(count: int, seed: int) -> np.ndarray:
    """Crowds far apart, a thin line and one stray point a kilometre away."""
    rng = np.random.default_rng(seed)
    crowds = rng.normal(size=(5, 3)) * 10
    points = crowds[rng.integers(0, 5, count)] + rng.normal(size=(count, 3)) * 1e-3
    points[: count // 4, 1:] = 0
    points[-1] = [1000, -300, 5]
    return points


@pytest.mark.parametrize("k", [1, 2, 4, 7])
@pytest.mark.parametrize(
    ("points", "places"),
    [
        (shell(3000, 0), shell(2000, 1)),
        (shell(3000, 0), shell(2000, 1, 1.5)),
        (clustered(2000, 0), clustered(2000, 1)),
        (clustered(2000, 0), shell(300, 1)),
        (np.random.default_rng(0).random((500, 2)), np.random.default_rng(1).random((700, 2)) * 2 - 0.5),
    ],
    ids=["near", "far", "crowds", "crowds-far", "plane"],
)
def test_equals_the_tree_of_scipy(points, places, k):
    distance, index = PointTree(points).query(places, k)
    expected, same = KDTree(points).query(places, k)
    np.testing.assert_allclose(distance, expected, atol=1e-12)
    assert (index == same).mean() > 0.999  # equally far points may come in another order there
    chosen = points[index.reshape(len(places), k)]
    np.testing.assert_allclose(
        np.linalg.norm(chosen - places[:, None], axis=-1), distance.reshape(len(places), k), atol=1e-9
    )


@pytest.mark.parametrize("count", [1, 2, LEAF_POINTS, LEAF_POINTS + 1, 33, 100])
def test_every_small_number_of_points(count):
    points = shell(count, count)
    distance, index = PointTree(points).query(shell(50, 7), count)
    expected = KDTree(points).query(shell(50, 7), range(1, count + 1))[0]
    np.testing.assert_allclose(distance.reshape(50, count), expected, atol=1e-12)
    assert (np.sort(index.reshape(50, count), 1) == np.arange(count)).all()


def test_of_points_equally_far_the_first_wins():
    """Also where all points are the same, and whatever was asked before."""
    lattice = np.stack(np.meshgrid(*[np.arange(6.0)] * 3, indexing="ij"), -1).reshape(-1, 3)
    places = lattice[:-50] + 0.5
    squares = ((places[:, None] - lattice) ** 2).sum(-1)
    expected = np.argsort(squares, 1, kind="stable")[:, :8]
    tree = PointTree(lattice)
    np.testing.assert_array_equal(tree.query(places, 8)[1], expected)
    np.testing.assert_array_equal(tree.query(places[::-1])[1], expected[::-1, 0])
    distance, index = PointTree(np.ones((100, 3))).query(np.zeros((3, 3)), 5)
    np.testing.assert_allclose(distance, np.sqrt(3))
    np.testing.assert_array_equal(index, np.tile(np.arange(5), (3, 1)))


def test_shapes_and_errors():
    tree = PointTree(shell(20, 0).astype(np.float32))
    distance, index = tree.query(shell(4, 1))
    assert distance.shape == index.shape == (4,) and distance.dtype == np.float64 and index.dtype == np.int64
    assert tree.query(np.empty((0, 3)), 3)[0].shape == (0, 3)
    with pytest.raises(ValueError, match="at least one"):
        PointTree(np.empty((0, 3)))
    with pytest.raises(ValueError, match="expected shape"):
        PointTree(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="finite"):
        tree.query(np.array([[0, np.nan, 0]]))
    for k in (0, 21):
        with pytest.raises(ValueError, match="1 to 20"):
            tree.query(shell(4, 1), k)
