"""The shape of our body model inside a rigged person, by ridge least squares in the T-pose.

The body's skin and joints are linear in its shape coefficients there. Points of the skin are drawn to the nearest
surface of the figure along its normals, a little inwards where clothes may be; knees, elbows, wrists and ankles to
those of the rig; a unit prior keeps the coefficients likely. All is deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.body.table import BODY_VERTICES, TPOSE, load_body, vertex_normals
from somacast.kernels import compiled
from somacast.synthetic.rigged.reader import Figure

_POINTS = 1500
_ROUNDS = 6
_NEAR_M = 0.15
_SURFACE_STD_M = 0.1  # neighbouring points tell much the same, so each counts little
_JOINT_STD_M = 0.02
_CLOTH_M = 0.006  # thickness of clothes
_BARE = ("neck", "head", "l_hand", "r_hand")
_UNUSED = ("l_foot", "l_toe", "r_foot", "r_toe")  # shoes have a shape of their own
_SHARED = ("l_lower_arm", "l_hand", "r_lower_arm", "r_hand", "l_lower_leg", "l_foot", "r_lower_leg", "r_foot")


@dataclass(frozen=True)
class BodyFit:
    """shape [K] float32 coefficients; joints [21, 3] float32 of that body in the figure's T-pose, metres; place [3]
    of the body's origin there; residual_m: median distance of its bare skin to the figure's surface."""

    shape: np.ndarray
    joints: np.ndarray
    place: np.ndarray
    residual_m: float


@dataclass(frozen=True)
class _Model:
    """The body in the T-pose as linear maps of (shape [K], place [3]): points [P, 3, K], mean [P, 3], and the joints
    alike; normals [P, 3] of the mean body; bare [P]: never under clothes; weight [P, 21]: joint that moves a point."""

    mean: np.ndarray
    basis: np.ndarray
    normals: np.ndarray
    joint_mean: np.ndarray
    joint_basis: np.ndarray
    bare: np.ndarray
    weight: np.ndarray


def _posed(shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    body = load_body()
    return body.pose(shape, TPOSE)


@lru_cache(maxsize=1)
def _model() -> _Model:
    body = load_body()
    count = body.shape_count
    mean, joint_mean = _posed(np.zeros(count, np.float32))
    normals = np.empty_like(mean)
    vertex_normals(mean, body.faces, normals)
    strongest = np.take_along_axis(body.skin_index, body.skin_weight.argmax(1)[:, None], 1)[:BODY_VERTICES, 0]
    part = np.array(CANONICAL_JOINTS)[body.bone_joint[strongest]]
    usable = ~np.isin(part, _UNUSED)
    usable[body.faces[body.inner_faces]] = False
    pick = np.random.default_rng(0).permutation(np.flatnonzero(usable))[:_POINTS]
    basis, joint_basis = np.empty((len(pick), 3, count)), np.empty((len(joint_mean), 3, count))
    for k, row in enumerate(np.eye(count, dtype=np.float32)):
        points, joints = _posed(row)
        basis[..., k], joint_basis[..., k] = (points - mean)[pick], joints - joint_mean
    weight = np.zeros((len(pick), len(joint_mean)))
    np.add.at(weight, (np.arange(len(pick))[:, None], body.bone_joint[body.skin_index[pick]]), body.skin_weight[pick])
    return _Model(mean[pick], basis, normals[pick], joint_mean, joint_basis, np.isin(part[pick], _BARE), weight)


@lru_cache(maxsize=1)
def _shape_of_moves() -> np.ndarray:
    """Ridge solution [K, 3P] of the shape's change for small moves of the model's points."""
    model = _model()
    count = model.basis.shape[-1]
    rows = np.concatenate([model.basis, np.tile(np.eye(3), (len(model.mean), 1, 1))], 2).reshape(-1, count + 3)
    prior = np.diag([_SURFACE_STD_M**2] * count + [1e-9] * 3)
    return np.linalg.solve(prior + rows.T @ rows, rows.T)[:count]


def resized_shape(fit: BodyFit, heads: np.ndarray, new_heads: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Shape [K] float32 of a fitted body whose parts are scaled along the axes of the T-pose, scale [21, 3], about the
    heads [21, 3] of their bones, which move to new_heads [21, 3]."""
    model = _model()
    points = model.mean + model.basis @ fit.shape + fit.place
    moved = np.einsum("pj,pjc->pc", model.weight, scale * (points[:, None] - heads) + new_heads)
    return (fit.shape + _shape_of_moves() @ (moved - points).reshape(-1)).astype(np.float32)


@compiled(fastmath=True, nogil=True)
def _nearest(points, normals, places, directions, limit, out):
    """Number of the place [N, 3] nearest to each point [P, 3] among those whose direction agrees; -1 beyond limit."""
    for i in range(points.shape[0]):
        best, out[i] = limit * limit, -1
        for j in range(places.shape[0]):
            x, y = points[i, 0] - places[j, 0], points[i, 1] - places[j, 1]
            z = points[i, 2] - places[j, 2]
            square = x * x + y * y + z * z
            if square < best:
                agree = normals[i, 0] * directions[j, 0] + normals[i, 1] * directions[j, 1]
                if agree + normals[i, 2] * directions[j, 2] > 0.5:
                    best, out[i] = square, j


def _surface(figure: Figure) -> tuple[np.ndarray, np.ndarray]:
    """Places and normals [N, 3] of skin and clothes, hair left out."""
    normals = np.empty_like(figure.vertices)
    skin = figure.faces[figure.face_layer == 0]
    vertex_normals(figure.vertices, np.ascontiguousarray(skin), normals)
    used = np.unique(skin)
    return np.ascontiguousarray(figure.vertices[used]), np.ascontiguousarray(normals[used])


def fit_body(figure: Figure) -> BodyFit:
    """The body inside a figure."""
    model = _model()
    places, directions = _surface(figure)
    count = model.basis.shape[-1]
    at = [CANONICAL_JOINTS.index(name) for name in _SHARED]
    joints = figure.heads[figure.rig.joint_bone]
    joint_rows = np.concatenate([model.joint_basis[at], np.tile(np.eye(3), (len(at), 1, 1))], 2).reshape(-1, count + 3)
    joint_gap = (joints[at] - model.joint_mean[at]).reshape(-1)
    prior = np.diag([1.0] * count + [1e-6] * 3)
    solution = np.zeros(count + 3)
    residual = 0.0
    thickness = np.where(model.bare, 0.0, _CLOTH_M)
    normal_matrix = prior + joint_rows.T @ joint_rows / _JOINT_STD_M**2
    target = joint_rows.T @ joint_gap / _JOINT_STD_M**2
    solution = np.linalg.solve(normal_matrix, target)
    for _ in range(_ROUNDS):
        points = (model.mean + model.basis @ solution[:count] + solution[count:]).astype(np.float32)
        found = np.empty(len(points), np.int64)
        _nearest(points, model.normals, places, directions, np.float32(_NEAR_M), found)
        hit = found >= 0
        direction, place = directions[found[hit]].astype(np.float64), places[found[hit]]
        rows = np.concatenate([np.einsum("pi,pik->pk", direction, model.basis[hit]), direction], 1)
        gap = ((place - model.mean[hit]) * direction).sum(1) - thickness[hit]
        error = gap - rows @ solution
        residual = float(np.median(np.abs(error[model.bare[hit]]))) if model.bare[hit].any() else np.inf
        weight = 1 / (1 + (error / 0.03) ** 2) / _SURFACE_STD_M**2  # loose clothes count less
        solution = np.linalg.solve(normal_matrix + rows.T @ (rows * weight[:, None]), target + rows.T @ (gap * weight))
    shape = solution[:count]
    place = model.joint_mean + model.joint_basis @ shape + solution[count:]
    return BodyFit(shape.astype(np.float32), place.astype(np.float32), solution[count:], residual)
