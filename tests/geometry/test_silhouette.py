"""Edges of silhouettes: the fast kernel against its twin, and shapes whose edges are known."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.geometry.gaussian import gaussian_filter
from somacast.geometry.silhouette import edge_gaps, edge_gaps_reference, edge_points, sample


def disc(radius: float, size: int = 80, x: float = 40.3, y: float = 39.6) -> np.ndarray:
    """Coverage [size, size] of a disc."""
    at = np.arange(size) + 0.5
    return np.clip(radius - np.hypot(at - x, at[:, None] - y) + 0.5, 0, 1).astype(np.float32)


def test_sampling_between_pixels_is_linear_and_goes_on_beyond_the_border() -> None:
    ramp = np.tile(np.arange(8, dtype=np.float32), (4, 1))
    assert sample(ramp, np.array([3.5, 1.5])) == 3 and sample(ramp, np.array([4.0, 2.2])) == pytest.approx(3.5)
    assert sample(ramp, np.array([-9.0, 0.0])) == 0 and sample(ramp, np.array([99.0, 9.0])) == 7
    assert sample(np.stack([ramp, 2 * ramp], -1), np.array([[4.0, 2.0]])).tolist() == [[3.5, 7.0]]


def test_the_edge_of_a_disc_lies_where_it_is_on_average() -> None:
    radii = []
    for radius in np.linspace(14, 20, 13):
        pixels, points, normals = edge_points(disc(radius) >= 0.5)
        way = points - [40.3, 39.6]
        length = np.linalg.norm(way, axis=1)
        assert (np.abs(length - radius) < 0.8).all() and ((way / length[:, None] * normals).sum(1) > 0.95).all()
        assert len(np.unique(pixels, axis=0)) == len(pixels)
        radii.append(length.mean() - radius)
    assert abs(np.mean(radii)) < 0.05


def test_gaps_are_how_much_larger_the_silhouette_is() -> None:
    for larger in (-5.0, -1.2, 0.0, 0.7, 4.4):
        _, points, normals = edge_points(disc(16) >= 0.5)
        gaps = edge_gaps(points, normals, disc(16 + larger), 8)
        assert gaps.mean() == pytest.approx(larger, abs=0.1)
    assert np.isnan(edge_gaps(points, normals, disc(30), 8)).all()
    assert np.isnan(edge_gaps(points, normals, np.zeros((80, 80), np.float32), 8)).all()


def test_between_legs_in_a_skirt_the_edge_is_half_of_the_way() -> None:
    own = np.zeros((40, 60), bool)
    own[:, 10:20] = own[:, 30:40] = True
    skirt = np.zeros((40, 60), np.float32)
    skirt[:, 10:40] = 1
    inner = np.array([[20.0, 20.0]]), np.array([[1.0, 0.0]])
    assert np.isnan(edge_gaps(*inner, skirt, 12)).all()
    assert edge_gaps(*inner, skirt, 12, own)[0] == pytest.approx(5.5, abs=0.5)
    skirt[:, 24:27] = 0  # a gap that is seen: the edge is at its border
    assert edge_gaps(*inner, skirt, 12, own)[0] == pytest.approx(4, abs=0.5)


@pytest.mark.parametrize("seed", range(3))
def test_the_kernel_agrees_with_its_readable_twin(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.standard_normal((60, 50)).astype(np.float32), 3.0, 9, (0, 1))
    silhouette = np.clip(0.5 + 3 * noise / noise.std() / 4, 0, 1).astype(np.float32)
    own = gaussian_filter(rng.standard_normal((60, 50)).astype(np.float32), 4.0, 9, (0, 1)) > 0
    _, points, normals = edge_points(own)
    for covered in (None, own):
        found = edge_gaps(points, normals, silhouette, 6.3, covered)
        expected = edge_gaps_reference(points, normals, silhouette, 6.3, covered)
        np.testing.assert_allclose(found, expected, atol=1e-4, equal_nan=True)
        assert 0.2 < np.isfinite(found).mean() < 1
