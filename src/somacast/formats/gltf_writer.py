"""People as binary glTF 2.0: a coloured mesh, or a rig with 21 joints, a skin and a motion.

Colours are kept as 8-bit sRGB. glTF defines vertex colours as linear light, so they stand there as linear floats, from
which every 8-bit sRGB value comes back exactly. There is no material unless asked: viewers then light the mesh by
glTF's default, while trimesh and what stands on it drop the vertex colours of anything that has a material.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from somacast.body.rotations import continuous_quaternions
from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT, JOINT_PARENT, local_rotations
from somacast.body.table import vertex_normals
from somacast.errors import SomacastError
from somacast.formats.gltf import GENERATOR, INDICES, VERTICES, GltfBuffer, glb_container
from somacast.geometry.rasteriser import srgb_to_linear
from somacast.geometry.rig import Motion, Rig
from somacast.geometry.sampling import byte_colors
from somacast.types import Mesh

MATTE = {"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}


def encode_glb(mesh: Mesh, matte: bool = False) -> bytes:
    """A binary glTF 2.0 file: one mesh, smooth normals, linear vertex colours; `matte` adds a material."""
    arrays = GltfBuffer()
    primitive = {"attributes": _surface(mesh, arrays), "indices": _indices(mesh, arrays)}
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": GENERATOR},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "person"}],
        "meshes": [{"primitives": [primitive]}],
    }
    return _finished(document, arrays, matte)


def encode_rigged_glb(rig: Rig, motion: Motion | None = None, matte: bool = False) -> bytes:
    """A binary glTF 2.0 file: one skinned mesh, 21 joints, and an animation if the motion has two frames or more.

    The joints stand in the first frame of the motion, or in the bind pose without one, where the person is the mesh;
    `matte` adds a material. Raises SomacastError if the motion is too long for float32 to tell its frames apart.
    """
    arrays = GltfBuffer()
    attributes = _surface(rig.mesh, arrays)
    joints, weights = rig.influences
    attributes |= {"JOINTS_0": arrays.add(joints, VERTICES), "WEIGHTS_0": arrays.add(weights, VERTICES)}
    primitive = {"attributes": attributes, "indices": _indices(rig.mesh, arrays)}
    inverse = np.tile(np.eye(4), (JOINT_COUNT, 1, 1))
    inverse[:, :3, :3] = rig.rotations.transpose(0, 2, 1)
    inverse[:, :3, 3] = -np.einsum("jki,jk->ji", rig.rotations, rig.joints)
    columns = inverse.transpose(0, 2, 1).reshape(JOINT_COUNT, 16)  # glTF stores columns
    skin = {"name": "person", "skeleton": 0, "joints": list(range(JOINT_COUNT))}
    rotations, pelvis_m = (motion.rotations[0], motion.pelvis_m[0]) if motion else (rig.rotations, rig.joints[0])
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": GENERATOR},
        "scene": 0,
        # The skin alone places the mesh: beside the joints its node's own place counts nowhere.
        "scenes": [{"nodes": [0, JOINT_COUNT]}],
        "nodes": [*_skeleton(rig, rotations, pelvis_m), {"name": "person", "mesh": 0, "skin": 0}],
        "meshes": [{"name": "person", "primitives": [primitive]}],
        "skins": [skin | {"inverseBindMatrices": arrays.add(columns.astype("<f4"))}],
    }
    animation = [_animation(motion, arrays)] if motion and len(motion.rotations) > 1 else []
    return _finished(document, arrays, matte, animation)


def _surface(mesh: Mesh, arrays: GltfBuffer) -> dict[str, int]:
    """Attributes of a mesh: vertices in metres, unit normals and linear colours."""
    vertices = np.ascontiguousarray(mesh.vertices, "<f4")
    normals = np.empty((len(vertices), 3), np.float32)
    vertex_normals(vertices, mesh.faces, normals)
    # glTF wants unit normals even where no triangle gives one.
    normals[~(np.abs(np.linalg.norm(normals, axis=1) - 1) < 1e-3)] = (0, 1, 0)
    return {
        "POSITION": arrays.add(vertices, VERTICES, bounds=True),
        "NORMAL": arrays.add(normals.astype("<f4"), VERTICES),
        "COLOR_0": arrays.add(srgb_to_linear(byte_colors(mesh) / 255.0).astype("<f4"), VERTICES),
    }


def _indices(mesh: Mesh, arrays: GltfBuffer) -> int:
    return arrays.add(np.asarray(mesh.faces).astype("<u4").reshape(-1, 1), INDICES)


def _finished(
    document: dict[str, Any], arrays: GltfBuffer, matte: bool, animations: list[dict[str, Any]] | None = None
) -> bytes:
    """The GLB file of a document whose arrays are all in the buffer."""
    if matte:
        document["meshes"][0]["primitives"][0]["material"] = 0
        document["materials"] = [MATTE]
    if animations:
        document["animations"] = animations
    return glb_container(document | arrays.document(), arrays.data())


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


def _animation(motion: Motion, arrays: GltfBuffer) -> dict[str, Any]:
    """One sampler and channel for the rotation of every joint and one for the place of the pelvis."""
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
