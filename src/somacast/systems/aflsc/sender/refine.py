"""Sender: the labels are pulled towards the sender's own maps before they are coded.

Damped Gauss-Newton over root, pose, shape and camera: joints must fall on the heat maps (each with the map's own
spread) and where the joint tokens place them, the body's outline must fall on the silhouette's edge, and the labels
stay where the semantic coder believes them to be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numba as nb
import numpy as np

from somacast.body.rotations import wrap_angle
from somacast.body.skeleton import JOINT_COUNT, JOINT_PARENT
from somacast.body.table import TPOSE, load_body
from somacast.systems.aflsc.labels.schema import SHAPE_LABELS
from somacast.systems.aflsc.labels.space import LabelSpace
from somacast.systems.aflsc.sender.rendered_body import WeakCamera

EDGE_STD = 0.04  # of an outline point from the silhouette's edge, in crop sides: clothes are not skin


@nb.njit(cache=True, fastmath=True)
def _turn(x, y, z, out):
    angle = np.sqrt(x * x + y * y + z * z + 1e-18)
    s, c = np.sin(angle) / angle, (1 - np.cos(angle)) / (angle * angle)
    out[0, 0] = 1 - c * (y * y + z * z)
    out[0, 1] = c * x * y - s * z
    out[0, 2] = c * x * z + s * y
    out[1, 0] = c * x * y + s * z
    out[1, 1] = 1 - c * (x * x + z * z)
    out[1, 2] = c * y * z - s * x
    out[2, 0] = c * x * z - s * y
    out[2, 1] = c * y * z + s * x
    out[2, 2] = 1 - c * (x * x + y * y)


@nb.njit(cache=True, fastmath=True)
def _product(a, b, out):
    """a b of 3 x 3 matrices; numba's own @ would call scipy."""
    for i in range(3):
        for j in range(3):
            out[i, j] = a[i, 0] * b[0, j] + a[i, 1] * b[1, j] + a[i, 2] * b[2, j]


@nb.njit(cache=True, fastmath=True)
def _joints(p, n_pose, pose_mean, pose_basis, rest, shape_basis, parent, out, world):
    """Joints [21, 3] relative to the pelvis and their turns [21, 3, 3] of parameters [yaw, tilt x, tilt z, pose..,
    shape.., camera..]."""
    joints = parent.shape[0]
    place = rest.copy()
    for k in range(shape_basis.shape[0]):
        w = p[3 + n_pose + k]
        for j in range(joints):
            for c in range(3):
                place[j, c] += w * shape_basis[k, j, c]
    rotvecs = pose_mean.copy()
    for k in range(n_pose):
        for i in range(rotvecs.shape[0]):
            rotvecs[i] += p[3 + k] * pose_basis[k, i]
    local = np.zeros((3, 3))
    yaw = np.zeros((3, 3))
    _turn(0.0, p[0], 0.0, yaw)
    _turn(p[1], 0.0, p[2], local)
    _product(yaw, local, world[0])
    for j in range(joints):
        if j == 0:
            out[0] = 0
            continue
        q = parent[j]
        for r in range(3):
            out[j, r] = out[q, r]
            for c in range(3):
                out[j, r] += world[q, r, c] * (place[j, c] - place[q, c])
        _turn(rotvecs[3 * j - 3], rotvecs[3 * j - 2], rotvecs[3 * j - 1], local)
        _product(world[q], local, world[j])


@nb.njit(cache=True, fastmath=True)
def _residuals(p, n_pose, pose_mean, pose_basis, rest, shape_basis, parent, distance, prior, prior_std, seen, seen_std,
               points, points_std, edge_joint, edge_place, edge_line, edge_std, joints, world, out):  # fmt: skip
    """Residuals [2 n joints in the picture, 3 n places, m edge points, prior].

    points, points_std [n, 3]; edge_joint [m], edge_place [m, 3] in the joint's frame, edge_line [m, 3]: unit normal and
    offset of the line in the picture that the point must lie on.
    """
    _joints(p, n_pose, pose_mean, pose_basis, rest, shape_basis, parent, joints, world)
    n, m, c = joints.shape[0], edge_joint.shape[0], len(p) - 3
    scale = np.exp(p[c + 2])
    for j in range(n):
        w = scale / (1 - joints[j, 2] / distance)
        out[2 * j] = (p[c] + joints[j, 0] * w - seen[j, 0]) / seen_std[j]
        out[2 * j + 1] = (p[c + 1] - joints[j, 1] * w - seen[j, 1]) / seen_std[j]
        for k in range(3):
            out[2 * n + 3 * j + k] = (joints[j, k] - points[j, k]) / points_std[j, k]
    for i in range(m):
        j = edge_joint[i]
        x, y, z = joints[j, 0], joints[j, 1], joints[j, 2]
        for k in range(3):
            x += world[j, 0, k] * edge_place[i, k]
            y += world[j, 1, k] * edge_place[i, k]
            z += world[j, 2, k] * edge_place[i, k]
        w = scale / (1 - z / distance)
        out[5 * n + i] = ((p[c] + x * w) * edge_line[i, 0] + (p[c + 1] - y * w) * edge_line[i, 1] - edge_line[i, 2]) / (
            edge_std
        )
    for i in range(len(p)):
        out[5 * n + m + i] = (p[i] - prior[i]) / prior_std[i]


@nb.njit(cache=True, fastmath=True)
def _jacobian(p, n_pose, pose_mean, pose_basis, rest, shape_basis, parent, distance, prior, prior_std, seen, seen_std,
              points, points_std, edge_joint, edge_place, edge_line, edge_std, joints, world, base, out):  # fmt: skip
    moved = np.empty_like(base)
    for i in range(len(p)):
        step = 1e-4
        kept = p[i]
        p[i] = kept + step
        _residuals(p, n_pose, pose_mean, pose_basis, rest, shape_basis, parent, distance, prior, prior_std, seen,
                   seen_std, points, points_std, edge_joint, edge_place, edge_line, edge_std, joints, world,
                   moved)  # fmt: skip
        p[i] = kept
        for r in range(len(base)):
            out[r, i] = (moved[r] - base[r]) / step


@dataclass(frozen=True)
class SilhouetteAlignment:
    """Skin points that must lie on the silhouette's edge: the joint each hangs on [M] int64, its place in that joint's
    frame [M, 3] in metres, and the line it must meet [M, 3]: unit normal and offset, in crop sides."""

    joint: np.ndarray
    place: np.ndarray
    line: np.ndarray

    @staticmethod
    def empty() -> SilhouetteAlignment:
        return SilhouetteAlignment(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros((0, 3)))


@dataclass(frozen=True)
class Evidence:
    """What the maps say: joints [21, 2] in crop sides from the centre (y down) with spread [21], places [21, 3] in
    metres from the pelvis (view frame) with spread [21, 3]; camera [3]: pelvis x, y and log scale (crop sides per
    metre) from the pose head."""

    joints: np.ndarray
    std: np.ndarray
    points: np.ndarray
    points_std: np.ndarray
    camera: np.ndarray


@dataclass
class Refiner:
    """Refines label values. The tables are made once from the label space."""

    space: LabelSpace
    iterations: int = 10
    _tables: tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        body = load_body()
        rest = body.joints(body.bone_mean, TPOSE).astype(np.float64)
        shapes = [body.joints(body.bone_mean + body.bone_basis[k], TPOSE) - rest for k in range(SHAPE_LABELS)]
        basis = np.ascontiguousarray(self.space.pose.basis[self.space.parts["pose"].numbers], np.float64)
        self._tables = (
            len(basis), self.space.pose.mean.astype(np.float64), basis, rest, np.stack(shapes).astype(np.float64),
            JOINT_PARENT.astype(np.int64),
        )  # fmt: skip

    def joints(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joints [21, 3] relative to the pelvis and their turns [21, 3, 3], view frame, for parameters
        [3 + pose + shape + 3]."""
        out, world = np.zeros((JOINT_COUNT, 3)), np.zeros((JOINT_COUNT, 3, 3))
        _joints(parameters, *self._tables, out, world)
        return out, world

    @cached_property
    def labels(self) -> np.ndarray:
        """Vocabulary indices of the labels that are refined, in the order of the parameters."""
        return np.concatenate([self.space.vocabulary.group_indices(g) for g in ("root", "pose", "shape")])

    @cached_property
    def turning(self) -> np.ndarray:
        """Numbers of the parameters that an outline may change. Build and scale are not among them: cloth stands off
        the skin, and a body that is made to fill it would grow."""
        shape = self.space.vocabulary.group_indices("shape")
        kept = np.flatnonzero(~np.isin(self.labels, shape))
        return np.concatenate([kept, len(self.labels) + np.arange(2)])

    def __call__(
        self,
        values: np.ndarray,
        std: np.ndarray,
        evidence: Evidence,
        distance_m: float,
        alignment: SilhouetteAlignment | None = None,
        start: np.ndarray | None = None,
    ) -> tuple[np.ndarray, WeakCamera, float, np.ndarray]:
        """Label values [L] and their believed spread [L] to (refined values, camera in crop sides, mean residual of the
        joints in the picture, parameters); start: parameters to begin from, the believed ones if None.

        The camera's place is relative to the crop's centre, in crop sides.
        """
        at, alignment = self.labels, alignment or SilhouetteAlignment.empty()
        prior = np.concatenate([values[at], evidence.camera])
        prior_std = np.concatenate([np.maximum(std[at], 1e-3), [0.1, 0.1, 0.25]])
        p = (prior if start is None else start).copy()
        free = np.arange(len(p)) if start is None else self.turning
        count = 5 * JOINT_COUNT + len(alignment.joint)
        fixed: list[Any] = [
            *self._tables, float(distance_m), prior, prior_std, *(np.ascontiguousarray(a, np.float64) for a in (
                evidence.joints, evidence.std, evidence.points, evidence.points_std)),
            alignment.joint, alignment.place, alignment.line, EDGE_STD,
            np.zeros((JOINT_COUNT, 3)), np.zeros((JOINT_COUNT, 3, 3)),
        ]  # fmt: skip
        base, trial, jacobian = np.zeros(count + len(p)), np.zeros(count + len(p)), np.zeros((count + len(p), len(p)))
        _residuals(p, *fixed, base)  # pyright: ignore[reportCallIssue]
        damping, cost = 1e-2, _cost(base, count)
        for _ in range(self.iterations):
            _jacobian(p, *fixed, base, jacobian)  # pyright: ignore[reportCallIssue]
            w = np.ones_like(base)
            w[:count] = 1 / (1 + np.square(base[:count] / 3))  # Cauchy: wrong peaks lose their pull
            slopes = jacobian[:, free]
            weighted = w[:, None] * slopes
            normal = slopes.T @ weighted
            candidate = p.copy()
            candidate[free] -= np.linalg.solve(normal + damping * np.diag(np.diag(normal)), weighted.T @ base)
            _residuals(candidate, *fixed, trial)  # pyright: ignore[reportCallIssue]
            better = _cost(trial, count)
            if better < cost:
                gain, cost = cost - better, better
                p, damping = candidate, damping * 0.4
                base[:] = trial
                if gain < 1e-3 * cost:
                    break
            else:
                damping *= 6
        refined = values.copy()
        refined[at] = p[:-3]
        refined[0] = wrap_angle(refined[0])
        camera = WeakCamera(p[-3:-1].copy(), float(np.exp(p[-1])), distance_m)
        return refined, camera, float(np.abs(base[: 2 * JOINT_COUNT]).mean()), p


def _cost(residuals: np.ndarray, count: int) -> float:
    """Cauchy on the first `count` residuals, squares on the rest."""
    return float(9 * np.log1p(np.square(residuals[:count] / 3)).sum() + np.square(residuals[count:]).sum())
