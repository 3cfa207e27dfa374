"""Rotations against scipy's, their readable twin."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from somacast.body.rotations import (
    about_axis,
    matrix_to_quaternion,
    matrix_to_rotvec,
    quaternion_to_matrix,
    rotvec_to_matrix,
)


def vectors() -> np.ndarray:
    """Rotation vectors [..., 3] of all lengths: zero, tiny, small, up to pi, at pi and beyond."""
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(40, 3))
    axes = np.concatenate([axes / np.linalg.norm(axes, axis=1, keepdims=True), np.eye(3), -np.eye(3)])
    angles = [0, 1e-300, 1e-12, 1e-7, 0.9e-3, 1.1e-3, 0.3, 1.5, 3, np.pi - 1e-6, np.pi - 1e-9, np.pi, 4, 7]
    return np.array(angles)[:, None, None] * axes


def test_vectors_to_matrices():
    found = rotvec_to_matrix(vectors())
    assert found.shape == (14, 46, 3, 3) and found.dtype == np.float64
    np.testing.assert_allclose(
        found.reshape(-1, 3, 3), Rotation.from_rotvec(vectors().reshape(-1, 3)).as_matrix(), atol=1e-14
    )
    np.testing.assert_array_equal(rotvec_to_matrix(np.zeros(3, np.float32)), np.eye(3))


def test_matrices_to_vectors_and_quaternions():
    matrix = Rotation.from_rotvec(vectors().reshape(-1, 3)).as_matrix()
    expected = Rotation.from_matrix(matrix)
    found = matrix_to_rotvec(matrix)
    length = np.linalg.norm(found, axis=1)
    assert (length <= np.pi + 1e-15).all()
    below = length < np.pi - 1e-8
    np.testing.assert_allclose(found[below], expected.as_rotvec()[below], atol=1e-12)
    np.testing.assert_allclose(rotvec_to_matrix(found), matrix, atol=1e-14)  # at pi both signs are right
    quaternion = matrix_to_quaternion(matrix.reshape(14, 46, 3, 3))
    assert quaternion.shape == (14, 46, 4)
    quaternion = quaternion.reshape(-1, 4)
    np.testing.assert_allclose(np.abs((quaternion * expected.as_quat()).sum(1)), 1, atol=1e-14)
    np.testing.assert_allclose(quaternion_to_matrix(-3 * quaternion), matrix, atol=1e-14)


def test_small_turns_keep_their_digits():
    vector = np.array([[1e-9, -2e-9, 3e-9], [3e-5, 0, -1e-5]])
    np.testing.assert_allclose(matrix_to_rotvec(rotvec_to_matrix(vector)), vector, rtol=1e-12)


def test_rough_matrices_are_as_good_as_their_digits():
    matrix = Rotation.random(200, rng=np.random.default_rng(0)).as_matrix().astype(np.float32)
    expected = Rotation.from_matrix(matrix).as_rotvec()
    np.testing.assert_allclose(matrix_to_rotvec(matrix), expected, atol=1e-4)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_turns_about_axes(axis):
    angles = np.linspace(-7, 7, 30)
    expected = Rotation.from_euler(axis, angles[:, None]).as_matrix()
    np.testing.assert_allclose(about_axis(axis, angles), expected, atol=1e-15)
    assert about_axis(axis, 0.3).shape == (3, 3)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="expected x, y or z"):
        about_axis("w", 1)
    with pytest.raises(ValueError, match="only zeros"):
        quaternion_to_matrix(np.zeros((2, 4)))
