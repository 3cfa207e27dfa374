"""The Gaussian filter against scipy's."""

import numpy as np
import pytest
from scipy import ndimage

from somacast.geometry.gaussian import gaussian_filter


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(
    ("shape", "axes"), [((9, 12, 10), (0, 1, 2)), ((9, 12, 3), (0, 1)), ((5, 1), (0, 1)), ((2, 3), (1,))]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_the_filter_of_scipy(mirror, shape, axes, dtype):
    """Also where the window is longer than the axis, so that the mirror image is mirrored again."""
    values = np.random.default_rng(0).random(shape).astype(dtype)
    before = values.copy()
    for sigma, radius in ((0.8, 2), (1.5, 5), (3.0, 8)):
        mode = "reflect" if mirror else "constant"
        expected = ndimage.gaussian_filter(values, sigma, axes=axes, mode=mode, radius=radius)
        out = gaussian_filter(values, sigma, radius, axes, mirror)
        assert out.dtype == dtype
        np.testing.assert_allclose(out, expected, atol=1e-6 if dtype == np.float32 else 1e-12)
    np.testing.assert_array_equal(values, before)
