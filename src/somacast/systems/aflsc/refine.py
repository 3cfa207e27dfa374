"""Sender: the labels are pulled towards the sender's own heat maps and depths before they are coded.

Damped Gauss-Newton over root, pose, shape and camera: joints must fall on the heat maps (each with the map's own
spread), at the depths of the joint-depth maps, and stay where the semantic coder believes the labels to be.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numba as nb
import numpy as np

from somacast.human.body import TPOSE, load_body
from somacast.human.skeleton import JOINT_COUNT, JOINT_PARENT
from somacast.systems.aflsc.appearance import WeakCamera
from somacast.systems.aflsc.labels import SHAPE_LABELS, LabelSpace


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
def _joints(p, n_pose, pose_mean, pose_basis, rest, shape_basis, parent, out):
    """Joints [21, 3] relative to the pelvis of parameters [yaw, tilt x, tilt z, pose.., shape.., camera..]."""
    joints = parent.shape[0]
    place = rest.copy()
    for k in range(shape_basis.shape[0]):
        w = p[3 + n_pose + k]
        for j in range(joints):
            for c in range(3):
                place[j, c] += w * shape_basis[k, j, c]
    turns = pose_mean.copy()
    for k in range(n_pose):
        for i in range(turns.shape[0]):
            turns[i] += p[3 + k] * pose_basis[k, i]
    world = np.zeros((joints, 3, 3))
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
        _turn(turns[3 * j - 3], turns[3 * j - 2], turns[3 * j - 1], local)
        _product(world[q], local, world[j])


@nb.njit(cache=True, fastmath=True)
def _residuals(p, n_pose, pose_mean, pose_basis, rest, shape_basis, parent, distance, prior, prior_std, seen, seen_std,
               depth, depth_std, joints, out):  # fmt: skip
    _joints(p, n_pose, pose_mean, pose_basis, rest, shape_basis, parent, joints)
    n, c = joints.shape[0], len(p) - 3
    scale = np.exp(p[c + 2])
    for j in range(n):
        w = scale / (1 - joints[j, 2] / distance)
        out[2 * j] = (p[c] + joints[j, 0] * w - seen[j, 0]) / seen_std[j]
        out[2 * j + 1] = (p[c + 1] - joints[j, 1] * w - seen[j, 1]) / seen_std[j]
        out[2 * n + j] = (joints[j, 2] - depth[j]) / depth_std[j]
    for i in range(len(p)):
        out[3 * n + i] = (p[i] - prior[i]) / prior_std[i]


@nb.njit(cache=True, fastmath=True)
def _jacobian(p, n_pose, pose_mean, pose_basis, rest, shape_basis, parent, distance, prior, prior_std, seen, seen_std,
              depth, depth_std, joints, base, out):  # fmt: skip
    moved = np.empty_like(base)
    for i in range(len(p)):
        step = 1e-4
        kept = p[i]
        p[i] = kept + step
        _residuals(p, n_pose, pose_mean, pose_basis, rest, shape_basis, parent, distance, prior, prior_std, seen,
                   seen_std, depth, depth_std, joints, moved)  # fmt: skip
        p[i] = kept
        for r in range(len(base)):
            out[r, i] = (moved[r] - base[r]) / step


@dataclass(frozen=True)
class Evidence:
    """What the maps say: joints [21, 2] in crop sides from the centre (y down) with spread [21], depth [21] in metres
    towards the camera relative to the pelvis with spread [21]; camera [3]: pelvis x, y and log scale (crop sides per
    metre) from the pose head."""

    joints: np.ndarray
    spread: np.ndarray
    depth: np.ndarray
    depth_spread: np.ndarray
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
        basis = np.ascontiguousarray(self.space.pose_basis[self.space.pose_kept], np.float64)
        self._tables = (
            len(basis), self.space.pose_mean.astype(np.float64), basis, rest, np.stack(shapes).astype(np.float64),
            JOINT_PARENT.astype(np.int64),
        )  # fmt: skip

    def joints(self, parameters: np.ndarray) -> np.ndarray:
        """Joints [21, 3] relative to the pelvis for parameters [3 + pose + shape + 3]."""
        out = np.zeros((JOINT_COUNT, 3))
        _joints(parameters, *self._tables, out)
        return out

    def __call__(
        self, values: np.ndarray, spread: np.ndarray, evidence: Evidence, distance_m: float
    ) -> tuple[np.ndarray, WeakCamera, float]:
        """Label values [L] and their believed spread [L] to (refined values, camera in crop sides, mean residual).

        The camera's place is relative to the crop's centre, in crop sides.
        """
        vocabulary = self.space.vocabulary
        at = np.concatenate([vocabulary.group_indices(g) for g in ("root", "pose", "shape")])
        prior = np.concatenate([values[at], evidence.camera])
        prior_std = np.concatenate([np.maximum(spread[at], 1e-3), [0.1, 0.1, 0.25]])
        p = prior.copy()
        parent_args = (*self._tables, float(distance_m), prior, prior_std)
        seen = (evidence.joints.astype(np.float64), evidence.depth.astype(np.float64))
        n = 3 * JOINT_COUNT + len(p)
        joints, base, trial, jacobian = np.zeros((JOINT_COUNT, 3)), np.zeros(n), np.zeros(n), np.zeros((n, len(p)))
        damping, spreads = 1e-2, (evidence.spread.astype(np.float64), evidence.depth_spread.astype(np.float64))

        def residuals(q: np.ndarray, out: np.ndarray) -> None:
            _residuals(q, *parent_args, seen[0], spreads[0], seen[1], spreads[1], joints, out)

        def weigh(r: np.ndarray) -> np.ndarray:
            w = np.ones_like(r)
            w[: 3 * JOINT_COUNT] = 1 / (1 + np.square(r[: 3 * JOINT_COUNT] / 3))  # Cauchy: wrong peaks lose their pull
            return w

        def cost(r: np.ndarray) -> float:
            data = r[: 3 * JOINT_COUNT]
            return float(4.5 * np.log1p(np.square(data / 3)).sum() * 2 + np.square(r[3 * JOINT_COUNT :]).sum())

        residuals(p, base)
        for _ in range(self.iterations):
            _jacobian(p, *parent_args, seen[0], spreads[0], seen[1], spreads[1], joints, base, jacobian)
            w = weigh(base)
            normal = jacobian.T @ (w[:, None] * jacobian)
            gradient = jacobian.T @ (w * base)
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
            candidate = p - step
            residuals(candidate, trial)
            if cost(trial) < cost(base):
                p, damping = candidate, damping * 0.4
                base[:] = trial
            else:
                damping *= 6
        refined = values.copy()
        refined[at] = p[:-3]
        refined[0] = (refined[0] + np.pi) % (2 * np.pi) - np.pi
        camera = WeakCamera(p[-3:-1].copy(), float(np.exp(p[-1])), distance_m)
        return refined, camera, float(np.abs(base[: 2 * JOINT_COUNT]).mean())
