"""Rotations as matrices, rotation vectors and quaternions: NumPy, float64, any batch shape.

A rotation vector is the axis times the angle in radians. Quaternions are (x, y, z, w); q and -q are one rotation.
"""

from __future__ import annotations

import numpy as np

_SMALL = 1e-3  # radians; below it a series of two terms is exact to the last digit, and sin(a) / a is not 0 / 0
_AXES = {"x": 0, "y": 1, "z": 2}


def wrap_angle(angle: np.ndarray) -> np.ndarray:
    """Angles [...] in radians to the same directions in [-pi, pi)."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def about_axis(axis: str, angle: np.ndarray | float) -> np.ndarray:
    """Turns by angle [...] radians around "x", "y" or "z": matrices [..., 3, 3]."""
    if axis not in _AXES:
        raise ValueError(f"axis: expected x, y or z, got {axis!r}")
    angle = np.asarray(angle, np.float64)
    first, second = (_AXES[axis] + 1) % 3, (_AXES[axis] + 2) % 3
    out = np.zeros((*angle.shape, 3, 3))
    out[..., _AXES[axis], _AXES[axis]] = 1
    out[..., first, first] = out[..., second, second] = np.cos(angle)
    out[..., second, first] = np.sin(angle)
    out[..., first, second] = -np.sin(angle)
    return out


def rotvec_to_matrix(vector: np.ndarray) -> np.ndarray:
    """Rotation vectors [..., 3] to matrices [..., 3, 3] (by way of quaternions, which stay exact near 0 and pi)."""
    vector = np.asarray(vector, np.float64)
    angle = np.linalg.norm(vector, axis=-1, keepdims=True)
    small = angle < _SMALL
    share = np.where(small, 0.5 - angle**2 / 48, np.sin(angle / 2) / np.where(small, 1, angle))
    return quaternion_to_matrix(np.concatenate([share * vector, np.cos(angle / 2)], -1))


def matrix_to_rotvec(matrix: np.ndarray) -> np.ndarray:
    """Matrices [..., 3, 3] to rotation vectors [..., 3] of length at most pi; at pi either sign may come."""
    quaternion = matrix_to_quaternion(matrix)
    quaternion = np.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    sine = np.linalg.norm(quaternion[..., :3], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., 3:])
    small = angle < _SMALL
    return quaternion[..., :3] * np.where(small, 2 + angle**2 / 12, angle / np.where(small, 1, sine))


def quaternion_to_matrix(quaternion: np.ndarray) -> np.ndarray:
    """Quaternions [..., 4] (x, y, z, w) of any length but 0 to matrices [..., 3, 3]; ValueError for length 0."""
    quaternion = np.asarray(quaternion, np.float64)
    length = np.linalg.norm(quaternion, axis=-1, keepdims=True)
    if (length == 0).any():
        raise ValueError("quaternion: expected a length above 0, got one of only zeros")
    x, y, z, w = np.moveaxis(quaternion / length, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def matrix_to_quaternion(matrix: np.ndarray) -> np.ndarray:
    """Matrices [..., 3, 3] to unit quaternions [..., 4] (x, y, z, w).

    Four formulas hold, each divided by one component; that with the largest component is taken (Shepperd 1978).
    """
    m = np.asarray(matrix, np.float64)
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    options = np.empty((*trace.shape, 4, 4))  # each row is the quaternion times four times the row's own component
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        options[..., i, i] = 1 - trace + 2 * m[..., i, i]
        options[..., i, j] = options[..., j, i] = m[..., j, i] + m[..., i, j]
        options[..., i, 3] = options[..., 3, i] = m[..., k, j] - m[..., j, k]
    options[..., 3, 3] = 1 + trace
    largest = np.argmax(np.diagonal(options, axis1=-2, axis2=-1), -1)
    chosen = np.take_along_axis(options, largest[..., None, None], -2)[..., 0, :]
    return chosen / np.linalg.norm(chosen, axis=-1, keepdims=True)


def continuous_quaternions(rotations: np.ndarray) -> np.ndarray:
    """Rotations [T, ..., 3, 3] to unit quaternions [T, ..., 4] (x, y, z, w), each with the sign nearer to the last."""
    quaternions = matrix_to_quaternion(rotations)
    quaternions[0] *= np.where(quaternions[0, ..., 3:] < 0, -1, 1)
    turned = (quaternions[1:] * quaternions[:-1]).sum(-1, keepdims=True) < 0
    quaternions[1:] *= np.cumprod(np.where(turned, -1, 1), 0)
    return quaternions


def matrix_to_yaw_tilt(matrix: np.ndarray) -> np.ndarray:
    """Matrices [N, 3, 3] to yaw and tilt [N, 3]: R = Ry(yaw) * exp(tilt_x, 0, tilt_z).

    The tilt is the rotation without twist about y that carries the vertical; yaw, in [-pi, pi), is what remains.
    """
    quat = matrix_to_quaternion(matrix)
    twist = np.zeros_like(quat)
    twist[:, 1], twist[:, 3] = quat[:, 1], quat[:, 3]
    length = np.linalg.norm(twist, axis=1, keepdims=True)
    twist = np.where(length > 1e-6, twist / np.maximum(length, 1e-6), [0, 0, 0, 1])
    yaw = 2 * np.arctan2(twist[:, 1], twist[:, 3])
    swing = matrix_to_rotvec(about_axis("y", -yaw) @ matrix)
    return np.stack([wrap_angle(yaw), swing[:, 0], swing[:, 2]], 1)


def yaw_tilt_to_matrix(yaw_tilt: np.ndarray) -> np.ndarray:
    """Inverse of `matrix_to_yaw_tilt`: [N, 3] to matrices [N, 3, 3]."""
    tilt = np.stack([yaw_tilt[:, 1], np.zeros(len(yaw_tilt)), yaw_tilt[:, 2]], 1)
    return about_axis("y", yaw_tilt[:, 0]) @ rotvec_to_matrix(tilt)


def slerp(start: np.ndarray, end: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """Rotations [..., 3, 3] a share of the shorter way from start to end; share: 0 to 1, broadcast against [...]."""
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    way = matrix_to_rotvec(np.swapaxes(start, -1, -2) @ end)
    return start @ rotvec_to_matrix(np.asarray(share, np.float64)[..., None] * way)
