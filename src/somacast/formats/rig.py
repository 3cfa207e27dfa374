"""A person for animation tools: a mesh hung on the 21 canonical joints, and binary glTF 2.0 with skin and motion.

    Reconstruction -> rig_human -> Rig ---------------> encode_rigged_glb -> .glb
                           |      Motion ---->        "
                           +-> posed: the mesh in another pose, by the same linear blend skinning as every viewer

With rotations R and places J of the bind pose, a vertex v goes to sum_j w_j (R'_j R_j^T (v - J_j) + J'_j). Which pose
the mesh was built in decides how well it takes others: the T-pose, with nothing touching, is best.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from somacast.body.rotations import matrix_to_quaternion
from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT, JOINT_PARENT, local_rotations
from somacast.body.table import BODY_VERTICES, TPOSE, load_body, skin_vertices, vertex_normals
from somacast.checks import check_array
from somacast.errors import SomacastError
from somacast.formats.meshes import GENERATOR, MATTE, glb_container, gltf_surface
from somacast.geometry.nearest import PointTree
from somacast.geometry.reconstruction import Reconstruction
from somacast.types import Mesh

JOINTS_PER_VERTEX = 4  # what every viewer takes
MAX_FPS = 1000.0
_TYPES = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}  # of glTF, by numbers in a row
_COMPONENTS = {"u1": 5121, "u4": 5125, "f4": 5126}
_CLOSE_M = 2e-3  # distances below it make no difference between neighbours
_BACK_SHARE = 0.03  # what a neighbour on a surface that faces elsewhere counts, such as the thigh behind a hand
_FIT_SIGMA_M = 0.01  # of the joints around the body that is fitted to them


def check_rotations(name: str, rotations: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    """Rotations as float64 [..., 3, 3]; ValueError for another shape or for matrices that do not turn."""
    rotations = check_array(name, np.asarray(rotations, np.float64), shape)
    error = np.abs(rotations @ np.swapaxes(rotations, -1, -2) - np.eye(3)).max(initial=0)
    if not error < 1e-3 or (np.linalg.det(rotations) < 0).any():
        raise SomacastError(f"{name}: expected rotation matrices, got some that stretch, mirror or are not finite")
    return rotations


def check_places(name: str, places: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    """Places as float64 [..., 3] in metres; ValueError for another shape, NaN or infinity."""
    places = check_array(name, np.asarray(places, np.float64), shape)
    if not np.isfinite(places).all():
        raise SomacastError(f"{name}: expected finite numbers, got NaN or infinity")
    return places


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


def rest_offsets(joints: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Each joint seen from its parent in the T-pose [21, 3] metres, from places and rotations of any pose; pelvis 0."""
    offsets = np.zeros((JOINT_COUNT, 3))
    parent = JOINT_PARENT[1:]
    offsets[1:] = np.einsum("jki,jk->ji", rotations[parent], joints[1:] - joints[parent])
    return offsets


def joint_places(offsets_m: np.ndarray, rotations: np.ndarray, pelvis_m: np.ndarray) -> np.ndarray:
    """Forward kinematics: offsets [21, 3], world rotations [..., 21, 3, 3], pelvis [..., 3] to joints [..., 21, 3]."""
    places = np.empty((*rotations.shape[:-3], JOINT_COUNT, 3))
    places[..., 0, :] = pelvis_m
    for joint in range(1, JOINT_COUNT):
        parent = JOINT_PARENT[joint]
        places[..., joint, :] = places[..., parent, :] + rotations[..., parent, :, :] @ offsets_m[joint]
    return places


@dataclass(frozen=True)
class Motion:
    """Poses at even times, the first at 0 s: world rotations [T, 21, 3, 3] relative to the T-pose, places of the pelvis
    [T, 3] in metres in the frame of the mesh, frames per second. Raises ValueError for what does not fit."""

    rotations: np.ndarray
    pelvis_m: np.ndarray
    fps: float = 30.0

    def __post_init__(self):
        rotations = check_rotations("motion rotations", self.rotations, (None, JOINT_COUNT, 3, 3))
        object.__setattr__(self, "rotations", rotations)
        object.__setattr__(self, "pelvis_m", check_places("motion pelvis", self.pelvis_m, (len(rotations), 3)))
        if not len(rotations):
            raise SomacastError("motion: expected at least one frame, got none")
        if not 0 < self.fps <= MAX_FPS:
            raise SomacastError(f"motion: expected above 0 to {MAX_FPS:g} frames per second, got {self.fps}")


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
        turn = rotations @ self.rotations.transpose(0, 2, 1)
        return np.concatenate([turn, (places - np.einsum("jik,jk->ji", turn, self.joints))[..., None]], 2)


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
    return Mesh(out, rig.mesh.faces, rig.mesh.colors)


class _Arrays:
    """The buffer of a glTF file as it grows: `add` gives the number of the new accessor."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self.length = 0

    def add(self, array: np.ndarray, target: int | None = None, bounds: bool = False) -> int:
        """Append [N, width]; target: 34962 for what vertices have, 34963 for indices; bounds: say min and max."""
        data = np.ascontiguousarray(array).tobytes()
        component = _COMPONENTS[array.dtype.str[1:]]
        view: dict[str, Any] = {"buffer": 0, "byteOffset": self.length, "byteLength": len(data)}
        self.views.append(view if target is None else view | {"target": target})
        accessor: dict[str, Any] = {"bufferView": len(self.views) - 1, "componentType": component, "count": len(array)}
        accessor["type"] = _TYPES[array.shape[1]]
        if bounds:
            accessor |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
        self.accessors.append(accessor)
        self.data.append(data)
        self.length += len(data)  # all arrays here have rows of multiples of four bytes
        return len(self.accessors) - 1


def continuous_quaternions(rotations: np.ndarray) -> np.ndarray:
    """Rotations [T, ..., 3, 3] to unit quaternions [T, ..., 4] (x, y, z, w), each with the sign nearer to the last."""
    quaternions = matrix_to_quaternion(rotations)
    quaternions[0] *= np.where(quaternions[0, ..., 3:] < 0, -1, 1)
    turned = (quaternions[1:] * quaternions[:-1]).sum(-1, keepdims=True) < 0
    quaternions[1:] *= np.cumprod(np.where(turned, -1, 1), 0)
    return quaternions


def _skeleton(rig: Rig, rotations: np.ndarray, pelvis_m: np.ndarray) -> list[dict[str, Any]]:
    """The joints as glTF nodes 0 to 20, in the pose of world rotations [21, 3, 3] with the pelvis at [3]."""
    quaternions = continuous_quaternions(local_rotations(rotations)[None])[0]
    places = rig.offsets_m.copy()
    places[0] = pelvis_m
    nodes: list[dict[str, Any]] = []
    for joint, name in enumerate(CANONICAL_JOINTS):
        node = {"name": name, "translation": places[joint].round(7).tolist(), "rotation": quaternions[joint].tolist()}
        children = np.flatnonzero(np.equal(JOINT_PARENT, joint)).tolist()
        nodes.append(node | ({"children": children} if children else {}))
    return nodes


def _animation(motion: Motion, arrays: _Arrays) -> dict[str, Any]:
    """One sampler and channel for the turn of every joint and one for the place of the pelvis."""
    times = (np.arange(len(motion.rotations)) / motion.fps).astype("<f4")[:, None]
    if (np.diff(times[:, 0]) <= 0).any():
        raise SomacastError(f"motion: expected a length at which frames stay apart, got {times[-1, 0]:g} s")
    key = arrays.add(times, bounds=True)
    quaternions = continuous_quaternions(local_rotations(motion.rotations)).astype("<f4")
    tracks = [(joint, "rotation", quaternions[:, joint]) for joint in range(JOINT_COUNT)]
    tracks.append((0, "translation", motion.pelvis_m.astype("<f4")))
    samplers, channels = [], []
    for number, (joint, path, values) in enumerate(tracks):
        samplers.append({"input": key, "output": arrays.add(values), "interpolation": "LINEAR"})
        channels.append({"sampler": number, "target": {"node": joint, "path": path}})
    return {"name": "motion", "samplers": samplers, "channels": channels}


def encode_rigged_glb(rig: Rig, motion: Motion | None = None, matte: bool = False) -> bytes:
    """A binary glTF 2.0 file: one skinned mesh, 21 joints, and an animation if the motion has two frames or more.

    The joints stand in the first frame of the motion, or in the bind pose without one, where the person is the mesh;
    `matte` adds a material. Raises SomacastError if the motion is too long for float32 to tell its frames apart.
    """
    arrays = _Arrays()
    surface = [arrays.add(array, 34962, bounds=number == 0) for number, array in enumerate(gltf_surface(rig.mesh))]
    surface += [arrays.add(array, 34962) for array in rig.influences]
    attributes = dict(zip(("POSITION", "NORMAL", "COLOR_0", "JOINTS_0", "WEIGHTS_0"), surface, strict=True))
    indices = arrays.add(np.asarray(rig.mesh.faces).astype("<u4").reshape(-1, 1), 34963)
    inverse = np.tile(np.eye(4), (JOINT_COUNT, 1, 1))
    inverse[:, :3, :3] = rig.rotations.transpose(0, 2, 1)
    inverse[:, :3, 3] = -np.einsum("jki,jk->ji", rig.rotations, rig.joints)
    columns = inverse.transpose(0, 2, 1).reshape(JOINT_COUNT, 16)  # glTF stores columns
    skin = {"name": "person", "skeleton": 0, "joints": list(range(JOINT_COUNT))}
    rotations, pelvis_m = (motion.rotations[0], motion.pelvis_m[0]) if motion else (rig.rotations, rig.joints[0])
    primitive: dict[str, Any] = {"attributes": attributes, "indices": indices}
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": GENERATOR},
        "scene": 0,
        # The skin alone places the mesh: beside the joints its node's own place counts nowhere.
        "scenes": [{"nodes": [0, JOINT_COUNT]}],
        "nodes": [*_skeleton(rig, rotations, pelvis_m), {"name": "person", "mesh": 0, "skin": 0}],
        "meshes": [{"name": "person", "primitives": [primitive]}],
        "skins": [skin | {"inverseBindMatrices": arrays.add(columns.astype("<f4"))}],
    }
    if matte:
        primitive["material"] = 0
        document["materials"] = [MATTE]
    if motion and len(motion.rotations) > 1:
        document["animations"] = [_animation(motion, arrays)]
    document |= {"accessors": arrays.accessors, "bufferViews": arrays.views, "buffers": [{"byteLength": arrays.length}]}
    return glb_container(document, b"".join(arrays.data))
