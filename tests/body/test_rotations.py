"""Rotations against scipy's, their readable twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from somacast.body.rotations import (
    about_axis,
    matrix_to_quaternion,
    matrix_to_rotvec,
    matrix_to_yaw_tilt,
    quaternion_to_matrix,
    rotvec_to_matrix,
    wrap_angle,
    yaw_tilt_to_matrix,
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


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1))
def test_yaw_and_tilt_and_matrices_are_inverse(quaternion):
    rotation = Rotation.from_quat(quaternion).as_matrix()[None]
    parts = matrix_to_yaw_tilt(rotation)
    np.testing.assert_allclose(yaw_tilt_to_matrix(parts), rotation, atol=1e-6)
    yaw, x, z = parts[0]
    assert -np.pi <= yaw <= np.pi  # just under 0 wraps to pi itself
    by_hand = Rotation.from_rotvec([0, yaw, 0]).as_matrix() @ Rotation.from_rotvec([x, 0, z]).as_matrix()
    np.testing.assert_allclose(by_hand, rotation[0], atol=1e-6)


def test_yaw_and_tilt_survive_a_handstand_and_know_pure_yaw():
    upside_down = Rotation.from_rotvec([np.pi, 0, 0]).as_matrix()[None]
    np.testing.assert_allclose(yaw_tilt_to_matrix(matrix_to_yaw_tilt(upside_down)), upside_down, atol=1e-6)
    yaw_only = Rotation.from_rotvec([[0, 0.7, 0], [0, -3.0, 0]]).as_matrix()
    np.testing.assert_allclose(yaw_tilt_to_matrix(matrix_to_yaw_tilt(yaw_only)), yaw_only, atol=1e-9)
    np.testing.assert_allclose(matrix_to_yaw_tilt(yaw_only), [[0.7, 0, 0], [-3.0, 0, 0]], atol=1e-9)


def test_wrapped_angles_point_the_same_way():
    angles = np.concatenate([np.linspace(-20, 20, 401), [-np.pi, np.pi, 3 * np.pi]])
    wrapped = wrap_angle(angles)
    assert wrapped.min() >= -np.pi and wrapped.max() < np.pi
    np.testing.assert_allclose(np.exp(1j * wrapped), np.exp(1j * angles), atol=1e-14)
    inside = np.abs(angles) < np.pi
    np.testing.assert_allclose(wrapped[inside], angles[inside], atol=1e-14)
