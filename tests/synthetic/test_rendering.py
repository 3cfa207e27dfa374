"""Dressed people on pictures: the kernels against readable twins."""

import numpy as np
import pytest

from somacast.geometry.rasteriser import Atlas
from somacast.synthetic.rendering import Cloth, bounds, halve, shade, shade_reference, visible
from somacast.synthetic.samples import SceneConfig, SyntheticPeople
from somacast.synthetic.scenes import Light


@pytest.fixture
def scene():
    """Triangles that turn every way, in three textures, and what of them is seen."""
    rng = np.random.default_rng(3)
    points = np.concatenate([rng.random((60, 2)) * 60 - 5, rng.random((60, 1)) * 0.5 + 0.2], 1).astype(np.float32)
    faces = rng.integers(0, 60, (40, 3)).astype(np.int32)
    normals = rng.normal(0, 1, (60, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    uvs, face_uvs = (rng.random((50, 2)) * 4 - 2).astype(np.float32), rng.integers(0, 50, (40, 3)).astype(np.int32)
    layer, textures = rng.integers(0, 3, 40).astype(np.int32), rng.integers(0, 256, (3, 8, 8, 4)).astype(np.uint8)
    atlas = Atlas(textures, uvs, face_uvs, layer, np.array([True, False, False]))
    matrices = np.concatenate([np.tile(np.eye(3), (3, 1, 1)), rng.normal(0, 60, (3, 3, 1))], 2)
    light = Light(np.array([0.6, 0, 0.8], np.float32), 0.4, np.array([1.1, 1, 0.9], np.float32))
    return points, faces, normals, atlas, Cloth(matrices, np.array([False, True, True])), light


@pytest.mark.parametrize("lamps", [1, 2])
def test_shade_matches_its_readable_twin(scene, lamps):
    points, faces, normals, atlas, cloth, light = scene
    if lamps == 2:
        colors = {"sky": [1.2, 1.1, 1.3], "ground": [0.4, 0.5, 0.3], "fill_color": [0.5, 0.2, 0.1]}
        colors = {name: np.array(value, np.float32) for name, value in colors.items()}
        light = light._replace(fill_direction=np.array([-0.8, -0.6, 0], np.float32), **colors)
    _, triangle, weights = visible(points, faces, atlas, 48)
    image = np.full((48, 48, 3), 7, np.float32)
    expected = image.copy()
    shade(atlas, cloth, light, faces, normals, triangle, weights, image)
    shade_reference(atlas, cloth, light, faces, normals, triangle, weights, expected)
    np.testing.assert_allclose(image, expected, atol=1e-2)
    assert (image[triangle < 0] == 7).all() and 0.2 < (triangle >= 0).mean() < 1
    one_sided = np.full((48, 48, 3), 7, np.float32)
    shade(atlas, cloth._replace(two_sided=np.zeros(3, bool)), light, faces, normals, triangle, weights, one_sided)
    assert np.abs(one_sided - image).max() > 10


def test_halve_and_bounds():
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (16, 16, 3)).astype(np.float32)
    triangle = rng.integers(-1, 1, (16, 16)).astype(np.int32)
    out, mask = np.empty((8, 8, 3), np.uint8), np.empty((8, 8), np.uint8)
    halve(image, triangle, out, mask)
    np.testing.assert_array_equal(out, image.reshape(8, 2, 8, 2, 3).mean((1, 3)).astype(np.uint8))
    hits = (triangle >= 0).reshape(8, 2, 8, 2).sum((1, 3))
    np.testing.assert_array_equal(mask, hits * 255 // 4)
    points = rng.normal(0, 0.5, (50, 3)).astype(np.float32)
    places = points[:, :2] / (3 - points[:, 2:])
    low, high = places.min(0), places.max(0)
    np.testing.assert_allclose(bounds(points, 3.0), [low[0], high[0], low[1], high[1]], rtol=1e-5)


def test_depth_is_that_of_the_triangle_under_the_pixel():
    sample = next(SyntheticPeople("test", seed=1, config=SceneConfig(size_px=64, views_per_person=1)).samples(0))
    seen = np.isfinite(sample.depth_m)
    assert 0.05 < seen.mean() < 0.9
    low, high = -sample.vertices[:, 2].max(), -sample.vertices[:, 2].min()
    assert low - 1e-4 <= sample.depth_m[seen].min() and sample.depth_m[seen].max() <= high + 1e-4
