"""Pictures continued over what is not known of them."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.geometry.harmonic import harmonic


def test_what_is_known_stays_and_a_slope_is_continued():
    y, x = np.mgrid[:48, :33].astype(np.float32)
    plane = np.stack([x / 33, y / 48, (x + y) / 81], -1)
    known = (x < 6) | (x > 27) | (y < 6) | (y > 41)  # a plane is harmonic: between its border it is itself
    filled = harmonic(np.where(known[..., None], plane, 9).astype(np.float32), known, rounds=60)
    assert filled.dtype == np.float32 and np.array_equal(filled[known], plane[known])
    assert np.abs(filled - plane).max() < 0.03
    assert np.abs(harmonic(plane, known) - plane).max() < 0.12


def test_nothing_lies_beyond_what_is_known():
    rng = np.random.default_rng(0)
    image, known = rng.random((40, 57, 3)).astype(np.float32), rng.random((40, 57)) < 0.05
    filled = harmonic(np.where(known[..., None], image, 99).astype(np.float32), known)
    assert filled.min() >= image[known].min() - 1e-6 and filled.max() <= image[known].max() + 1e-6


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 2), (31, 64)])
def test_any_size_and_nothing_or_all_known(size):
    image = np.random.default_rng(1).random((*size, 3)).astype(np.float32)
    assert np.array_equal(harmonic(image, np.ones(size, bool)), image)
    assert not harmonic(image, np.zeros(size, bool)).any()
