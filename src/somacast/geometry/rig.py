"""A person for animation: a mesh hung on the 21 canonical joints, motions for it, and the mesh in any pose.

    Reconstruction -> rig_human -> Rig ----> posed: the mesh in another pose, by the same skinning as every viewer
                           |
                           +------> formats/: GLB with skin and motion, BVH

With rotations R and places J of the bind pose, a vertex v goes to sum_j w_j (R'_j R_j^T (v - J_j) + J'_j). Which pose
the mesh was built in decides how well it takes others: the T-pose, with nothing touching, is best.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np

from somacast.body.skeleton import JOINT_COUNT, joint_places, rest_offsets
from somacast.body.table import BODY_VERTICES, TPOSE, load_body, skin_vertices, vertex_normals
from somacast.checks import check_array, check_places, check_rotations
from somacast.errors import SomacastError
from somacast.geometry.nearest import PointTree
from somacast.geometry.reconstruction import Reconstruction
from somacast.types import Mesh

JOINTS_PER_VERTEX = 4  # what every viewer takes
MAX_FPS = 1000.0
_CLOSE_M = 2e-3  # distances below it make no difference between neighbours
_BACK_SHARE = 0.03  # what a neighbour on a surface that faces elsewhere counts, such as the thigh behind a hand
_FIT_SIGMA_M = 0.01  # of the joints around the body that is fitted to them


def _check_mesh(mesh: Mesh) -> np.ndarray:
    """The vertices [V, 3] float32 of a mesh that has faces and colours, if any, for them alone; else ValueError."""
    vertices = check_places("mesh vertices", mesh.vertices, (None, 3))
    faces = check_array("mesh faces", np.asarray(mesh.faces), (None, 3))
    if not len(faces) or faces.min() < 0 or faces.max() >= len(vertices):
        used = f"vertices {faces.min()} to {faces.max()}" if len(faces) else "no faces"
        raise SomacastError(f"mesh faces: expected some, of vertices 0 to {len(vertices) - 1}, got {used}")
    if mesh.colors is not None:
        check_array("mesh colors", mesh.colors, (len(vertices), 3))
    return np.ascontiguousarray(vertices, np.float32)


@dataclass(frozen=True)
class Motion:
    """Poses in time: world rotations [T, 21, 3, 3] relative to the T-pose, places of the pelvis [T, 3] in metres in the
    frame of the mesh.

    times_s [T]: when each is taken, rising; None: at even times, `fps` of them a second, the first at 0 s. seen_s: from
    when until when somebody is to be seen, in order; None: always. Raises ValueError for what does not fit.
    """

    rotations: np.ndarray
    pelvis_m: np.ndarray
    fps: float = 30.0
    times_s: np.ndarray | None = None
    seen_s: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self):
        rotations = check_rotations("motion rotations", self.rotations, (None, JOINT_COUNT, 3, 3))
        object.__setattr__(self, "rotations", rotations)
        object.__setattr__(self, "pelvis_m", check_places("motion pelvis", self.pelvis_m, (len(rotations), 3)))
        if not len(rotations):
            raise SomacastError("motion: expected at least one frame, got none")
        if not 0 < self.fps <= MAX_FPS:
            raise SomacastError(f"motion: expected above 0 to {MAX_FPS:g} frames per second, got {self.fps}")
        if self.times_s is not None:
            times_s = check_array("motion times", self.times_s, (len(rotations),))
            if times_s[0] < 0 or (np.diff(times_s) <= 0).any():
                raise SomacastError("motion: expected times from 0 s on that rise")

    @property
    def keys_s(self) -> np.ndarray:
        """When each pose is taken [T]."""
        return np.arange(len(self.rotations)) / self.fps if self.times_s is None else self.times_s


@dataclass(frozen=True)
class Rig:
    """A mesh with joints [21, 3] metres and world rotations [21, 3, 3] of the pose it stands in (the bind pose), and
    for every vertex up to four joints with weights that sum to 1: weights [V, 21], float64 or float32.

    Smaller weights than the four largest of a vertex are dropped and the rest made to sum to 1. Raises ValueError for
    shapes that do not fit, faces without vertices, weights that are negative or all 0, and what is not finite.
    """

    mesh: Mesh
    joints: np.ndarray
    rotations: np.ndarray
    weights: np.ndarray = field(repr=False)

    def __post_init__(self):
        vertices = _check_mesh(self.mesh)
        object.__setattr__(self, "joints", check_places("joints", self.joints, (JOINT_COUNT, 3)))
        rotations = check_rotations("rotations", self.rotations, (JOINT_COUNT, 3, 3))
        object.__setattr__(self, "rotations", rotations)
        weights = check_array("weights", np.asarray(self.weights), (len(vertices), JOINT_COUNT))
        if not np.isfinite(weights).all() or (weights < 0).any() or not (weights.sum(1) > 0).all():
            raise SomacastError("weights: expected finite numbers from 0 on and one above 0 for every vertex")

    @cached_property
    def offsets_m(self) -> np.ndarray:
        """Each joint seen from its parent in the T-pose [21, 3] metres."""
        return rest_offsets(self.joints, self.rotations)

    @cached_property
    def soles_m(self) -> np.ndarray:
        """How high each joint stands over the ground in the T-pose [21] metres: of a foot, what is below its joint."""
        joints = joint_places(self.offsets_m, np.array(TPOSE, np.float64), np.zeros(3))
        return joints[:, 1] - float(posed(self, np.array(TPOSE), np.zeros(3)).vertices[:, 1].min())

    @cached_property
    def influences(self) -> tuple[np.ndarray, np.ndarray]:
        """The joints of every vertex [V, 4] uint8, heaviest first, and their weights [V, 4] float32; 0 and 0 beyond."""
        weights = np.asarray(self.weights, np.float64)
        index = np.argsort(-weights, 1, kind="stable")[:, :JOINTS_PER_VERTEX]
        share = np.take_along_axis(weights, index, 1)
        share /= share.sum(1, keepdims=True)
        share[share < 1e-4] = 0
        share = (share / share.sum(1, keepdims=True)).astype(np.float32)
        return np.where(share > 0, index, 0).astype(np.uint8), share

    def moves(self, rotations: np.ndarray, pelvis_m: np.ndarray) -> np.ndarray:
        """Bind pose to another: what every joint does with space [21, 3, 4]."""
        places = joint_places(self.offsets_m, rotations, pelvis_m)
        change = rotations @ self.rotations.transpose(0, 2, 1)
        return np.concatenate([change, (places - np.einsum("jik,jk->ji", change, self.joints))[..., None]], 2)


@lru_cache(maxsize=1)
def body_joint_weights() -> np.ndarray:
    """How much each canonical joint moves each vertex of the body table: [13380, 21] float32, rows sum to 1."""
    body = load_body()
    joint = body.bone_joint[body.skin_index[:BODY_VERTICES]]
    weights = np.zeros((BODY_VERTICES, JOINT_COUNT))
    np.add.at(weights, (np.arange(BODY_VERTICES)[:, None], joint), body.skin_weight[:BODY_VERTICES])
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def matching_body(joints: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Skin [13380, 3] float32 of the likeliest body whose joints stand at [21, 3] metres when turned by [21, 3, 3].

    Joints depend on the shape coefficients c linearly and c has unit variance: least squares with a prior.
    """
    joints = check_places("joints", joints, (JOINT_COUNT, 3))
    rotations = check_rotations("rotations", rotations, (JOINT_COUNT, 3, 3))
    body = load_body()

    def from_pelvis(bones: np.ndarray) -> np.ndarray:
        places = body.joints(np.ascontiguousarray(bones, np.float32), rotations).astype(np.float64)
        return (places - places[0]).ravel()

    mean = from_pelvis(body.bone_mean)
    change = np.stack([from_pelvis(body.bone_mean + basis) - mean for basis in body.bone_basis]) / _FIT_SIGMA_M
    missing = ((joints - joints[0]).ravel() - mean) / _FIT_SIGMA_M
    shape = np.linalg.solve(change @ change.T + np.eye(len(change)), change @ missing)
    vertices, places = body.pose(shape, rotations)
    return (vertices + (joints[0] - places[0])).astype(np.float32)


def _smoothed(values: np.ndarray, faces: np.ndarray, steps: int) -> np.ndarray:
    """Values [V, C] averaged with those of neighbours along edges, `steps` times."""
    ends = faces[:, [0, 1, 1, 2, 2, 0, 1, 0, 2, 1, 0, 2]].reshape(-1, 2).astype(np.int64)
    near, far = np.divmod(np.unique(ends[:, 0] * len(values) + ends[:, 1]), len(values))  # each way once, in order
    centre, start, count = np.unique(near, return_index=True, return_counts=True)
    for _ in range(steps):
        around = np.add.reduceat(values[far], start, axis=0) / count[:, None].astype(values.dtype)
        values = values.copy()
        values[centre] = (values[centre] + around) / 2
    return values


def skin_weights(mesh: Mesh, body_vertices: np.ndarray, neighbours: int = 16, smoothing: int = 6) -> np.ndarray:
    """Joint weights [V, 21] float32 of a mesh in the pose of the body table's skin [13380, 3], both in metres.

    A vertex takes the mean of the body's nearest vertices, near ones and those that face the same way first;
    `smoothing` rounds along the mesh's edges then take out jumps, which would tear an elbow. Raises ValueError for
    other shapes.
    """
    body_vertices = check_places("body vertices", body_vertices, (BODY_VERTICES, 3)).astype(np.float32)
    vertices = _check_mesh(mesh)
    body_normals, normals = np.empty_like(body_vertices), np.empty_like(vertices)
    vertex_normals(body_vertices, load_body().faces, body_normals)
    vertex_normals(vertices, mesh.faces, normals)
    distance, index = PointTree(body_vertices).query(vertices, neighbours)
    facing = np.einsum("vki,vi->vk", body_normals[index], normals)
    trust = (np.maximum(facing, 0) + _BACK_SHARE) / (distance + _CLOSE_M)
    trust = (trust / trust.sum(1, keepdims=True)).astype(np.float32)
    weights = np.zeros((len(vertices), JOINT_COUNT), np.float32)
    for k in range(neighbours):
        weights += trust[:, k, None] * body_joint_weights()[index[:, k]]
    return _smoothed(weights, mesh.faces, smoothing)


def rig_human(human: Reconstruction, body_vertices: np.ndarray | None = None) -> Rig:
    """The rig of a person with mesh, joints and rotations (SomacastError without), bound in the pose of the mesh.

    body_vertices: skin [13380, 3] of the body table that the mesh was built around, in its pose; without it a body is
    fitted to the joints.
    """
    if human.mesh is None or human.joints is None or human.rotations is None:
        raise SomacastError("expected a person with mesh, joints and rotations for a rig, got one that lacks some")
    if body_vertices is None:
        body_vertices = matching_body(human.joints, human.rotations)
    weights = skin_weights(human.mesh, body_vertices)
    return Rig(human.mesh, human.joints, human.rotations, weights)


def still_rig(mesh: Mesh) -> Rig:
    """A mesh of anything, pelvis at the origin, that the pelvis alone carries: for viewers that want a rig."""
    body = load_body()
    joints = body.joints(body.bone_mean, TPOSE).astype(np.float64)
    weights = np.zeros((len(mesh.vertices), JOINT_COUNT), np.float32)
    weights[:, 0] = 1
    return Rig(mesh, joints - joints[0], np.array(TPOSE, np.float64), weights)


def posed(rig: Rig, rotations: np.ndarray, pelvis_m: np.ndarray) -> Mesh:
    """The mesh in another pose: world rotations [21, 3, 3] and place of the pelvis [3] in metres."""
    rotations = check_rotations("rotations", rotations, (JOINT_COUNT, 3, 3))
    moves = rig.moves(rotations, check_places("pelvis", pelvis_m, (3,))).astype(np.float32)
    index, weight = rig.influences
    out = np.empty((len(index), 3), np.float32)
    skin_vertices(np.ascontiguousarray(rig.mesh.vertices, np.float32), index.astype(np.int32), weight, moves, out)
    return replace(rig.mesh, vertices=out)


def in_tpose(rig: Rig) -> Rig:
    """The same person bound in the T-pose with the pelvis at the origin. A mesh that was built in another pose keeps
    the creases of that pose."""
    rotations, origin = np.array(TPOSE, np.float64), np.zeros(3)
    joints = joint_places(rig.offsets_m, rotations, origin)
    return Rig(posed(rig, rotations, origin), joints, rotations, rig.weights)


def translated(rig: Rig, offset_m: np.ndarray) -> Rig:
    """The same rig with its mesh and joints moved by offset_m [3]."""
    vertices = (rig.mesh.vertices + offset_m).astype(np.float32)
    return replace(rig, mesh=replace(rig.mesh, vertices=vertices), joints=rig.joints + offset_m)


def standing(rig: Rig) -> Rig:
    """The same rig with its lowest vertex at y = 0, for programs that show the bind pose."""
    return translated(rig, np.array([0.0, -float(rig.mesh.vertices[:, 1].min()), 0.0]))
