"""Sender: from the refinement's parameters to joints, to residuals and to their exact derivatives.

Parameters p [B + 3], B = 3 + K + S: root (yaw, tilt x, tilt z), K pose components, S build components, camera (pelvis
x, y in crop sides, log scale in crop sides per metre).

    p -> rotation vectors, bone offsets -> forward kinematics -> projection -> residuals over their std

The derivatives run along the same chain. A parameter that changes a joint's rotation vector r by dr turns the joint,
and all that hangs on it, with angular velocity R_parent J(r) dr (J: left Jacobian of the exponential map); a bone that
turns with angular velocity w moves its end by w x bone. Kernels have readable twins beside them (`*_reference`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from somacast.body.rotations import about_axis, rotvec_to_matrix
from somacast.kernels import compiled
from somacast.systems.aflsc.sender.evidence import Evidence, SilhouetteAlignment

ROOT, CAMERA = 3, 3  # parameters of the root, first, and of the camera, last
_SMALL = 1e-6  # radians squared under which a series replaces quotients that tend to 0 / 0


class BodyTables(NamedTuple):
    """How parameters move the body: pose_mean [60] and pose_basis [60, K] of the joints' rotation vectors; joints in
    T-pose rest [21, 3] in metres and their change with the build shape_basis [21, 3, S]; parent [21] int64."""

    pose_mean: np.ndarray
    pose_basis: np.ndarray
    rest: np.ndarray
    shape_basis: np.ndarray
    parent: np.ndarray


class Problem(NamedTuple):
    """What is minimised over the parameters, the prior apart; arrays float64, C order. focal: length in
    crop sides, so that the pelvis is focal / scale metres away; edge_std: of a skin point from the silhouette's edge,
    in crop sides."""

    body: BodyTables
    evidence: Evidence
    alignment: SilhouetteAlignment
    focal: float
    edge_std: float

    @property
    def residual_count(self) -> int:
        """Two for each joint in the picture, three for each in metres, one for each point on the edge."""
        return 5 * len(self.evidence.std) + len(self.alignment.joint)


class PosedJoints(NamedTuple):
    """Joints [21, 3] in metres relative to the pelvis and their rotations [21, 3, 3], view frame."""

    joints: np.ndarray
    rotations: np.ndarray


# -- exponential map --------------------------------------------------------------------------------------------------


@compiled(fastmath=True)
def _exponential_terms(squared):
    """sin(a) / a, (1 - cos(a)) / a^2 and (a - sin(a)) / a^3 of an angle a, given a^2."""
    if squared < _SMALL:
        return 1 - squared / 6, 0.5 - squared / 24, 1 / 6 - squared / 120
    angle = np.sqrt(squared)
    sine = np.sin(angle) / angle
    return sine, (1 - np.cos(angle)) / squared, (1 - sine) / squared


@compiled(fastmath=True)
def _matrix_of(vector, identity, cross, outer, out):
    """out [3, 3] = identity I + cross [v]x + outer v v^T."""
    x, y, z = vector[0], vector[1], vector[2]
    for i in range(3):
        for j in range(3):
            out[i, j] = outer * vector[i] * vector[j]
        out[i, i] += identity
    out[0, 1] -= cross * z
    out[0, 2] += cross * y
    out[1, 0] += cross * z
    out[1, 2] -= cross * x
    out[2, 0] -= cross * y
    out[2, 1] += cross * x


@compiled(fastmath=True)
def rotation_and_jacobian(vector, rotation, jacobian):
    """A rotation vector [3] to its rotation [3, 3] and the left Jacobian of the exponential map there [3, 3]:
    exp(v + dv) = exp(jacobian dv) exp(v) to first order."""
    squared = vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2
    sine, cosine, third = _exponential_terms(squared)
    _matrix_of(vector, 1 - cosine * squared, sine, cosine, rotation)
    _matrix_of(vector, sine, cosine, third, jacobian)


@compiled(fastmath=True)
def _product(a, b, out):
    """a b of 3 x 3 matrices; numba's own @ would call scipy."""
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]


def left_jacobian_reference(vector: np.ndarray) -> np.ndarray:
    """Readable twin of the left Jacobian in `rotation_and_jacobian`: the sum of [v]x^n / (n + 1)!."""
    cross = np.cross(np.eye(3), vector)  # [v]x
    term, out = np.eye(3), np.eye(3)
    for n in range(1, 40):
        term = term @ cross / (n + 1)
        out = out + term
    return out


# -- forward kinematics -----------------------------------------------------------------------------------------------


@compiled(fastmath=True)
def _rotation_vectors(p, body):
    """Rotation vectors [60] of the joints below the pelvis."""
    vectors = body.pose_mean.copy()
    for i in range(len(vectors)):
        for k in range(body.pose_basis.shape[1]):
            vectors[i] += body.pose_basis[i, k] * p[ROOT + k]
    return vectors


@compiled(fastmath=True)
def _rest_joints(p, body):
    """Joints [21, 3] in T-pose of this build."""
    first, rest = ROOT + body.pose_basis.shape[1], body.rest.copy()
    for j in range(rest.shape[0]):
        for c in range(3):
            for k in range(body.shape_basis.shape[2]):
                rest[j, c] += body.shape_basis[j, c, k] * p[first + k]
    return rest


@compiled(fastmath=True)
def pose_joints(p, body, joints, rotations, jacobians):
    """Parameters [B + 3] to joints [21, 3], rotations [21, 3, 3] and, for each joint, what turns it: the angular
    velocity in the view frame of a change of its own rotation vector [21, 3, 3] (of the pelvis: of its tilt)."""
    rest, vectors = _rest_joints(p, body), _rotation_vectors(p, body)
    local, left, yaw = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    rotation_and_jacobian(np.array([0.0, p[0], 0.0]), yaw, left)
    rotation_and_jacobian(np.array([p[1], 0.0, p[2]]), local, left)
    _product(yaw, local, rotations[0])
    _product(yaw, left, jacobians[0])
    joints[0] = 0
    for j in range(1, joints.shape[0]):
        q = body.parent[j]
        for r in range(3):
            joints[j, r] = joints[q, r]
            for c in range(3):
                joints[j, r] += rotations[q, r, c] * (rest[j, c] - rest[q, c])
        rotation_and_jacobian(vectors[3 * j - 3 : 3 * j], local, left)
        _product(rotations[q], local, rotations[j])
        _product(rotations[q], left, jacobians[j])


@compiled(fastmath=True)
def joint_velocities(body, posed, jacobians, angular, linear):
    """How fast each joint turns, angular [21, 3, B], and moves, linear [21, 3, B], with each parameter of the body.

    posed: joints and rotations; jacobians [21, 3, 3] of `pose_joints`.
    """
    joints, rotations = posed
    poses, builds = body.pose_basis.shape[1], body.shape_basis.shape[2]
    count, first = ROOT + poses + builds, ROOT + poses
    angular[0] = 0
    linear[0] = 0
    angular[0, 1, 0] = 1.0  # yaw
    for r in range(3):
        angular[0, r, 1], angular[0, r, 2] = jacobians[0, r, 0], jacobians[0, r, 2]  # tilt has no y
    for j in range(1, joints.shape[0]):
        q = body.parent[j]
        x, y, z = joints[j, 0] - joints[q, 0], joints[j, 1] - joints[q, 1], joints[j, 2] - joints[q, 2]
        for k in range(count):
            linear[j, 0, k] = linear[q, 0, k] + angular[q, 1, k] * z - angular[q, 2, k] * y
            linear[j, 1, k] = linear[q, 1, k] + angular[q, 2, k] * x - angular[q, 0, k] * z
            linear[j, 2, k] = linear[q, 2, k] + angular[q, 0, k] * y - angular[q, 1, k] * x
        for r in range(3):
            for c in range(3):
                turned, axis = rotations[q, r, c], jacobians[j, r, c]
                for k in range(builds):
                    linear[j, r, first + k] += turned * (body.shape_basis[j, c, k] - body.shape_basis[q, c, k])
                if c == 0:
                    angular[j, r] = angular[q, r]
                for k in range(poses):
                    angular[j, r, ROOT + k] += axis * body.pose_basis[3 * j - 3 + c, k]


# -- residuals --------------------------------------------------------------------------------------------------------


@compiled(fastmath=True)
def residuals(p, problem, out):
    """Residuals [R] over their std: joints in the picture [2 * 21], in metres [3 * 21], points on the edge [M]."""
    evidence, alignment = problem.evidence, problem.alignment
    n, m, c, focal = evidence.std.shape[0], alignment.joint.shape[0], len(p) - CAMERA, problem.focal
    joints, rotations = np.empty((n, 3)), np.empty((n, 3, 3))
    pose_joints(p, problem.body, joints, rotations, np.empty((n, 3, 3)))
    distance = focal / np.exp(p[c + 2])
    for j in range(n):
        w = focal / (distance - joints[j, 2])
        out[2 * j] = (p[c] + joints[j, 0] * w - evidence.joints[j, 0]) / evidence.std[j]
        out[2 * j + 1] = (p[c + 1] - joints[j, 1] * w - evidence.joints[j, 1]) / evidence.std[j]
        for r in range(3):
            out[2 * n + 3 * j + r] = (joints[j, r] - evidence.points[j, r]) / evidence.points_std[j, r]
    point = np.empty(3)
    for i in range(m):
        j = alignment.joint[i]
        _skin_point(alignment.place[i], joints[j], rotations[j], point)
        w = focal / (distance - point[2])
        x, y = p[c] + point[0] * w, p[c + 1] - point[1] * w
        line = alignment.line[i]
        out[5 * n + i] = (x * line[0] + y * line[1] - line[2]) / problem.edge_std


@compiled(fastmath=True)
def _skin_point(place, joint, rotation, out):
    """A place [3] in a joint's frame to the view frame [3]."""
    for r in range(3):
        out[r] = joint[r] + rotation[r, 0] * place[0] + rotation[r, 1] * place[1] + rotation[r, 2] * place[2]


@compiled(fastmath=True)
def jacobian(p, problem, out):
    """Derivatives [R, B + 3] of `residuals` by the parameters."""
    evidence, alignment = problem.evidence, problem.alignment
    n, m, count, focal = evidence.std.shape[0], alignment.joint.shape[0], len(p) - CAMERA, problem.focal
    posed, axes = PosedJoints(np.empty((n, 3)), np.empty((n, 3, 3))), np.empty((n, 3, 3))
    pose_joints(p, problem.body, posed.joints, posed.rotations, axes)
    angular, linear = np.empty((n, 3, count)), np.empty((n, 3, count))
    joint_velocities(problem.body, posed, axes, angular, linear)
    distance = focal / np.exp(p[count + 2])
    for j in range(n):
        a, std = posed.joints[j], evidence.std[j]
        w = focal / (distance - a[2])
        nearer = w / (distance - a[2])  # dw / dz
        larger = nearer * distance  # dw / d log scale
        for k in range(count):
            out[2 * j, k] = (w * linear[j, 0, k] + a[0] * nearer * linear[j, 2, k]) / std
            out[2 * j + 1, k] = -(w * linear[j, 1, k] + a[1] * nearer * linear[j, 2, k]) / std
        _camera_row(1 / std, 0.0, a[0] * larger / std, out[2 * j, count:])
        _camera_row(0.0, 1 / std, -a[1] * larger / std, out[2 * j + 1, count:])
        for r in range(3):
            for k in range(count):
                out[2 * n + 3 * j + r, k] = linear[j, r, k] / evidence.points_std[j, r]
            _camera_row(0.0, 0.0, 0.0, out[2 * n + 3 * j + r, count:])
    point = np.empty(3)
    for i in range(m):
        j, line = alignment.joint[i], alignment.line[i]
        _skin_point(alignment.place[i], posed.joints[j], posed.rotations[j], point)
        x, y, z = point[0] - posed.joints[j, 0], point[1] - posed.joints[j, 1], point[2] - posed.joints[j, 2]
        w = focal / (distance - point[2])
        nearer = w / (distance - point[2])
        nx, ny = line[0] / problem.edge_std, -line[1] / problem.edge_std
        # the residual's slope along the point's own x, y, z, taken to the joint's velocity: n . (v + w x d)
        sx, sy, sz = nx * w, ny * w, (nx * point[0] + ny * point[1]) * nearer
        tx, ty, tz = y * sz - z * sy, z * sx - x * sz, x * sy - y * sx
        row = out[5 * n + i]
        for k in range(count):
            row[k] = (
                sx * linear[j, 0, k] + sy * linear[j, 1, k] + sz * linear[j, 2, k]
                + tx * angular[j, 0, k] + ty * angular[j, 1, k] + tz * angular[j, 2, k]
            )  # fmt: skip
        _camera_row(nx, -ny, (nx * point[0] + ny * point[1]) * nearer * distance, row[count:])


@compiled(fastmath=True)
def _camera_row(x, y, log_scale, out):
    out[0], out[1], out[2] = x, y, log_scale


# -- readable twins ---------------------------------------------------------------------------------------------------


def pose_joints_reference(p: np.ndarray, body: BodyTables) -> PosedJoints:
    """Readable twin of `pose_joints`."""
    poses = body.pose_basis.shape[1]
    rest = body.rest + body.shape_basis @ p[ROOT + poses : -CAMERA]
    local = rotvec_to_matrix((body.pose_mean + body.pose_basis @ p[ROOT : ROOT + poses]).reshape(-1, 3))
    joints, rotations = np.zeros((len(rest), 3)), np.zeros((len(rest), 3, 3))
    rotations[0] = about_axis("y", p[0]) @ rotvec_to_matrix(np.array([p[1], 0.0, p[2]]))
    for j in range(1, len(rest)):
        q = body.parent[j]
        joints[j] = joints[q] + rotations[q] @ (rest[j] - rest[q])
        rotations[j] = rotations[q] @ local[j - 1]
    return PosedJoints(joints, rotations)


def residuals_reference(p: np.ndarray, problem: Problem) -> np.ndarray:
    """Readable twin of `residuals`: places over their std, in the picture and in metres, and the distances of skin
    points from their lines."""
    evidence, alignment = problem.evidence, problem.alignment
    joints, rotations = pose_joints_reference(p, problem.body)

    def project(points: np.ndarray) -> np.ndarray:
        scale = problem.focal / (problem.focal / np.exp(p[-1]) - points[:, 2:])
        return p[-3:-1] + points[:, :2] * [1, -1] * scale

    picture = (project(joints) - evidence.joints) / evidence.std[:, None]
    metres = (joints - evidence.points) / evidence.points_std
    at = alignment.joint
    skin = project(joints[at] + np.einsum("mij,mj->mi", rotations[at], alignment.place))
    edge = ((skin * alignment.line[:, :2]).sum(1) - alignment.line[:, 2]) / problem.edge_std
    return np.concatenate([picture.ravel(), metres.ravel(), edge])


def jacobian_reference(p: np.ndarray, problem: Problem, step: float = 1e-6) -> np.ndarray:
    """Readable twin of `jacobian`: central differences, true to about 1e-8 of the residuals' size."""
    columns = []
    for axis in np.eye(len(p)) * step:
        up, down = residuals_reference(p + axis, problem), residuals_reference(p - axis, problem)
        columns.append((up - down) / (2 * step))
    return np.stack(columns, 1)
