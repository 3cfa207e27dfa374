"""The compact body table: shape coefficients and a pose to a skinned body, in NumPy and numba.

Readable twins of the kernels stand beside them (`*_reference`) and are compared in the tests.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from somacast.body.inner_faces import inner_faces
from somacast.body.skeleton import JOINT_COUNT
from somacast.kernels import compiled

BODY_TABLE = Path(__file__).parent.parent / "weights" / "body.safetensors"
BODY_VERTICES = 13380  # the skin itself; vertices after it are helpers that garments hang on


@compiled(fastmath=True, nogil=True)
def skin_vertices(rest, index, weight, transform, out):
    """Linear blend skinning: rest [V, 3], index/weight [V, K], transform [bones, 3, 4] -> out [V, 3]."""
    for v in range(rest.shape[0]):
        x, y, z = rest[v, 0], rest[v, 1], rest[v, 2]
        a = np.float32(0)
        b = np.float32(0)
        c = np.float32(0)
        for k in range(index.shape[1]):
            w = weight[v, k]
            if w == 0:
                continue
            t = transform[index[v, k]]
            a += w * (t[0, 0] * x + t[0, 1] * y + t[0, 2] * z + t[0, 3])
            b += w * (t[1, 0] * x + t[1, 1] * y + t[1, 2] * z + t[1, 3])
            c += w * (t[2, 0] * x + t[2, 1] * y + t[2, 2] * z + t[2, 3])
        out[v, 0] = a
        out[v, 1] = b
        out[v, 2] = c


def skin_vertices_reference(rest, index, weight, transform):
    """Readable twin of `skin_vertices`."""
    moved = np.einsum("vkij,vj->vki", transform[index][..., :3], rest) + transform[index][..., 3]
    return (weight[..., None] * moved).sum(1)


@compiled(fastmath=True, nogil=True)
def bone_transforms(parent, rotation, rest, out):
    """Bone heads [B, 3] after rotating every bone; fills out [B, 3, 4] with rest-to-posed transforms."""
    count = len(parent)
    heads = np.zeros((count, 3), np.float32)
    for b in range(count):
        p = parent[b]
        for i in range(3):
            if p < 0:
                heads[b, i] = rest[b, i]
            else:
                heads[b, i] = heads[p, i]
                for j in range(3):
                    heads[b, i] += rotation[p, i, j] * (rest[b, j] - rest[p, j])
        for i in range(3):
            out[b, i, 3] = heads[b, i]
            for j in range(3):
                out[b, i, j] = rotation[b, i, j]
                out[b, i, 3] -= rotation[b, i, j] * rest[b, j]
    return heads


def bone_transforms_reference(parent, rotation, rest):
    """Readable twin of `bone_transforms`: heads [B, 3], transforms [B, 3, 4]."""
    heads = rest.copy()
    for bone, above in enumerate(parent):
        if above >= 0:
            heads[bone] = heads[above] + rotation[above] @ (rest[bone] - rest[above])
    shift = heads - np.einsum("bij,bj->bi", rotation, rest)
    return heads, np.concatenate([rotation, shift[..., None]], 2)


@compiled(fastmath=True, nogil=True)
def vertex_normals(vertices, faces, out):
    """Area-weighted unit vertex normals: vertices [V, 3], faces [F, 3] -> out [V, 3]."""
    out[:] = 0
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        e0 = vertices[b, 0] - vertices[a, 0]
        e1 = vertices[b, 1] - vertices[a, 1]
        e2 = vertices[b, 2] - vertices[a, 2]
        g0 = vertices[c, 0] - vertices[a, 0]
        g1 = vertices[c, 1] - vertices[a, 1]
        g2 = vertices[c, 2] - vertices[a, 2]
        x = e1 * g2 - e2 * g1
        y = e2 * g0 - e0 * g2
        z = e0 * g1 - e1 * g0
        for k in (a, b, c):
            out[k, 0] += x
            out[k, 1] += y
            out[k, 2] += z
    for v in range(vertices.shape[0]):
        s = 1 / np.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2 + np.float32(1e-20))
        out[v, 0] *= s
        out[v, 1] *= s
        out[v, 2] *= s


def vertex_normals_reference(vertices, faces):
    """Readable twin of `vertex_normals`."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    total = np.zeros_like(vertices)
    np.add.at(total, faces, np.cross(b - a, c - a)[:, None])
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-10)


class Body:
    """The body table in memory. All arrays are read-only by convention."""

    def __init__(self, path: Path = BODY_TABLE):
        table = load_file(str(path))
        self.shape_mean = table["shape_mean"]  # [19158, 3]
        self.shape_basis = table["shape_basis"]  # [K, 19158, 3] float16, unit variance coefficients
        self.bone_mean = table["bone_mean"]  # [163, 3]
        self.bone_basis = table["bone_basis"].astype(np.float32)
        self.parent = table["bone_parent"].astype(np.int64)
        self.bone_joint = table["bone_joint"].astype(np.int64)
        self.bone_tpose = table["bone_tpose"]  # [163, 3, 3]: rest pose to T-pose
        self.joint_bone = table["joint_bone"].astype(np.int64)
        self.bone_names = bytes(table["bone_names"]).decode().split("\n")
        self.skin_index = table["skin_index"].astype(np.int32)
        self.skin_weight = table["skin_weight"].astype(np.float32)
        self.faces = table["faces"].astype(np.int32)
        self.face_uvs = table["face_uvs"].astype(np.int32)
        self.uvs = table["uvs"]
        self.eye_faces = [table["left_eye_faces"].astype(np.int32), table["right_eye_faces"].astype(np.int32)]
        self.anchor_shape = table["anchor_shape"].astype(np.float32)  # [A, K]
        self.anchor_phenotype = table["anchor_phenotype"]  # [A, 8], columns in synthetic/body_export.py

    @property
    def shape_count(self) -> int:
        return len(self.shape_basis)

    @cached_property
    def inner_faces(self) -> np.ndarray:
        """Faces [F] bool that no one sees from outside: mouth cavity, behind the eyes."""
        return inner_faces(len(self.faces))

    @cached_property
    def _skin_basis(self) -> np.ndarray:
        return self.shape_basis[:, :BODY_VERTICES].astype(np.float32).reshape(self.shape_count, -1)

    @cached_property
    def _full_basis(self) -> np.ndarray:
        return self.shape_basis.astype(np.float32).reshape(self.shape_count, -1)

    def rest(self, shape: np.ndarray, helpers: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Shape coefficients [<=K] to rest vertices [13380 or 19158, 3] and bone heads [163, 3], metres, y up."""
        k = len(shape)
        coefficients = shape.astype(np.float32)
        count = len(self.shape_mean) if helpers else BODY_VERTICES
        basis = self._full_basis if helpers else self._skin_basis
        vertices = self.shape_mean[:count] + (coefficients @ basis[:k]).reshape(count, 3)
        bones = self.bone_mean + np.tensordot(coefficients, self.bone_basis[:k], 1)
        return np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(bones, np.float32)

    def transforms(
        self, bones: np.ndarray, rotations: np.ndarray, extra: dict[int, np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bone heads [163, 3] and joint world rotations [21, 3, 3] to transforms [163, 3, 4] and joints [21, 3].

        `extra` maps a bone number to a rotation [3, 3] in the bone's rest frame (fingers, jaw); it moves the
        bones below it too.
        """
        rotation = np.ascontiguousarray(rotations.astype(np.float32)[self.bone_joint] @ self.bone_tpose)
        if extra:
            local = {}
            for b in range(len(self.parent)):
                up = local.get(int(self.parent[b]))
                own = extra.get(b)
                if up is None and own is None:
                    continue
                turn = (np.eye(3, dtype=np.float32) if up is None else up) @ (
                    np.eye(3, dtype=np.float32) if own is None else own
                )
                local[b] = turn.astype(np.float32)
                rotation[b] = rotation[b] @ local[b]
        out = np.empty((len(bones), 3, 4), np.float32)
        heads = bone_transforms(self.parent, rotation, bones, out)
        return out, heads[self.joint_bone]

    def joints(self, bones: np.ndarray, rotations: np.ndarray) -> np.ndarray:
        """Joint places [21, 3] for bone heads [163, 3] and joint world rotations [21, 3, 3]."""
        return self.transforms(bones, rotations)[1]

    def pose(self, shape: np.ndarray, rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Shape and joint rotations to posed skin vertices [13380, 3] and joints [21, 3]."""
        vertices, bones = self.rest(shape)
        transform, joints = self.transforms(bones, rotations)
        out = np.empty_like(vertices)
        skin_vertices(vertices, self.skin_index[: len(vertices)], self.skin_weight[: len(vertices)], transform, out)
        return out, joints


@lru_cache(maxsize=1)
def load_body() -> Body:
    """The body table that ships in the package, loaded once."""
    return Body()


TPOSE = np.broadcast_to(np.eye(3, dtype=np.float32), (JOINT_COUNT, 3, 3))

CURL_RAD = 1.25  # turn of each phalanx of a fist
THUMB_SHARE = 0.45  # the thumb closes about half as far as the other fingers
_HAND_BONES = ("finger1-1", "finger1-2", "finger1-3", "finger2-1", "finger2-2", "finger2-3", "finger3-1", "finger3-2",
               "finger3-3", "finger4-1", "finger4-2", "finger4-3", "finger5-1", "finger5-2", "finger5-3")  # fmt: skip


@lru_cache(maxsize=1)
def _hand_bone_numbers() -> dict[str, list[tuple[int, float]]]:
    names = load_body().bone_names
    return {
        side: [(names.index(f"{b}.{side}"), THUMB_SHARE if b.startswith("finger1") else 1.0) for b in _HAND_BONES]
        for side in "LR"
    }


def hand_and_jaw_rotations(curl_left: float, curl_right: float, jaw: float = 0.0) -> dict[int, np.ndarray]:
    """Extra bone turns for `Body.transforms`: curl 0 is a flat hand, 1 a fist; jaw in radians (0 to 0.35)."""
    body = load_body()
    rotation_of_bone: dict[int, np.ndarray] = {}
    for side, curl in (("L", curl_left), ("R", curl_right)):
        sign = -1.0 if side == "L" else 1.0  # palms face down in the T-pose: finger tips go down
        for bone, share in _hand_bone_numbers()[side]:
            a = sign * CURL_RAD * curl * share
            turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
            frame = body.bone_tpose[bone]
            rotation_of_bone[bone] = (frame.T @ turn @ frame).astype(np.float32)
    if jaw:
        c, s = np.cos(jaw), np.sin(jaw)
        rotation_of_bone[body.bone_names.index("jaw")] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]], np.float32)
    return rotation_of_bone
