"""People as binary glTF 2.0: a textured or coloured mesh, or a rig with 21 joints, a skin and a motion.

A texture is a picture inside the file, and colours at the vertices are left out beside it, since readers multiply both.
Colours are kept as 8-bit sRGB. glTF defines vertex colours as linear light, so they stand there as linear floats, from
which every 8-bit sRGB value comes back exactly. The material is matt: glTF's default is metal, which is black where a
program has no surroundings to mirror. Places stand in the nodes: vertices keep the pelvis at the origin, the node of
the person lifts them onto the ground, and a node named "camera" says from where the person was seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from somacast.body.rotations import continuous_quaternions
from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT, JOINT_PARENT, local_rotations
from somacast.body.table import vertex_normals
from somacast.errors import SomacastError
from somacast.formats.export import ImageKind
from somacast.formats.gltf import GENERATOR, INDICES, VERTICES, GltfBuffer, glb_container
from somacast.formats.texture import encode_image, split_at_seams
from somacast.geometry.rasteriser import srgb_to_linear
from somacast.geometry.rig import Motion, Rig
from somacast.geometry.sampling import byte_colors
from somacast.types import USUAL_FOCAL, Mesh

ASSET = {"version": "2.0", "generator": GENERATOR}
_LINEAR, _MIPMAPS, _CLAMP = 9729, 9987, 33071


def encode_glb(
    mesh: Mesh, place_m: np.ndarray | None = None, camera_m: np.ndarray | None = None, image: ImageKind = "jpeg"
) -> bytes:
    """A binary glTF 2.0 file of one mesh: smooth normals, texture or linear vertex colours, a matt material.

    place_m [3]: where the mesh's origin stands in the scene, metres; camera_m [3]: where the camera stood that saw the
    person, which looks along -z; image: how the picture of a texture is kept.
    """
    return encode_people_glb({"person": (mesh, np.zeros(3) if place_m is None else place_m)}, camera_m, image)


def encode_people_glb(
    people: Mapping[str, tuple[Mesh, np.ndarray]], camera_m: np.ndarray | None = None, image: ImageKind = "jpeg"
) -> bytes:
    """The same of several people: name -> mesh and where its origin stands, one node for each."""
    arrays = GltfBuffer()
    document: dict[str, Any] = {"nodes": []}
    for number, (name, (mesh, place_m)) in enumerate(people.items()):
        document["nodes"].append({"name": name, "mesh": number} | _translation(place_m))
        add_surface(document, arrays, mesh, name=name, image=image)
    document["scenes"] = [{"nodes": list(range(len(people)))}]
    _with_camera(document, camera_m)
    return finished(document, arrays)


def encode_rigged_glb(
    rig: Rig, motion: Motion | None = None, camera_m: np.ndarray | None = None, image: ImageKind = "jpeg"
) -> bytes:
    """A binary glTF 2.0 file: one skinned mesh, 21 joints, and an animation if the motion has two frames or more.

    The joints stand in the first frame of the motion, or in the bind pose without one, where the person is the mesh;
    camera_m, image: see `encode_glb`. Raises SomacastError if the motion is too long for float32 to tell its frames
    apart.
    """
    arrays = GltfBuffer()
    rotations, pelvis_m = (motion.rotations[0], motion.pelvis_m[0]) if motion else (rig.rotations, rig.joints[0])
    document: dict[str, Any] = {
        # The skin alone places the mesh: beside the joints its node's own place counts nowhere.
        "scenes": [{"nodes": [0, JOINT_COUNT]}],
        "nodes": [*skeleton(rig, rotations, pelvis_m), {"name": "person", "mesh": 0, "skin": 0}],
    }
    add_surface(document, arrays, rig.mesh, rig, image=image)
    document["skins"] = [skin(rig, arrays)]
    if motion and (len(motion.rotations) > 1 or motion.seen_s is not None):
        document["animations"] = [_animation(motion, arrays)]
    _with_camera(document, camera_m)
    return finished(document, arrays)


def matt(faces: np.ndarray) -> dict[str, Any]:
    """A material without shine; surfaces that are open anywhere are seen from both sides, closed ones from outside."""
    edges = np.sort(np.asarray(faces)[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64), 1)
    counts = np.unique(edges @ np.array([1 << 32, 1]), return_counts=True)[1]
    material = {"name": "person", "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.9}}
    return material | ({"doubleSided": True} if (counts == 1).any() else {})


def _translation(place_m: np.ndarray) -> dict[str, list[float]]:
    """The place of a node, which is left out where it is the origin."""
    return {"translation": np.asarray(place_m, np.float64).round(6).tolist()} if np.any(place_m) else {}


def _with_camera(document: dict[str, Any], camera_m: np.ndarray | None) -> None:
    """Add the sender's camera to the scene, if its place is known. It sees what a usual lens sees of the longer side of
    the picture: its own is not sent."""
    if camera_m is not None:
        lens = {"yfov": 2 * math.atan(0.5 / USUAL_FOCAL), "aspectRatio": 1.0, "znear": 0.05}
        document["cameras"] = [{"name": "camera", "type": "perspective", "perspective": lens}]
        document["scenes"][0]["nodes"].append(len(document["nodes"]))
        document["nodes"].append({"name": "camera", "camera": 0} | _translation(camera_m))


def add_surface(
    document: dict[str, Any],
    arrays: GltfBuffer,
    mesh: Mesh,
    rig: Rig | None = None,
    name: str = "person",
    image: ImageKind = "jpeg",
    reduced: bool = True,
) -> None:
    """Add a mesh, the skin of its vertices if there is a rig, and its material to a document, all of the same number;
    reduced: whether readers may make smaller sizes of the texture."""
    split = split_at_seams(mesh)
    attributes = {
        "POSITION": arrays.add(np.asarray(mesh.vertices, "<f4")[split.source], VERTICES, bounds=True),
        "NORMAL": arrays.add(unit_normals(mesh)[split.source], VERTICES),
    }
    material = matt(mesh.faces)
    if mesh.texture is None or split.uv is None:
        linear = srgb_to_linear(byte_colors(mesh) / 255.0).astype("<f4")
        attributes["COLOR_0"] = arrays.add(linear, VERTICES)
    else:
        attributes["TEXCOORD_0"] = arrays.add(split.uv.astype("<f4"), VERTICES)
        picture = add_image(document, arrays, encode_image(mesh.texture.image, image), name, image)
        shrunk = {"minFilter": _MIPMAPS if reduced else _LINEAR}
        document.setdefault("samplers", []).append({"magFilter": _LINEAR, "wrapS": _CLAMP, "wrapT": _CLAMP} | shrunk)
        textures = document.setdefault("textures", [])
        textures.append({"source": picture, "sampler": len(document["samplers"]) - 1})
        material["pbrMetallicRoughness"]["baseColorTexture"] = {"index": len(textures) - 1}
    if rig is not None:
        joints, weights = (values[split.source] for values in rig.influences)
        attributes |= {"JOINTS_0": arrays.add(joints, VERTICES), "WEIGHTS_0": arrays.add(weights, VERTICES)}
    meshes = document.setdefault("meshes", [])
    triangles = arrays.add(split.faces.astype("<u4").reshape(-1, 1), INDICES)
    primitive = {"attributes": attributes, "indices": triangles, "material": len(meshes)}
    meshes.append({"name": name, "primitives": [primitive]})
    document.setdefault("materials", []).append(material)


def add_image(document: dict[str, Any], arrays: GltfBuffer, data: bytes, name: str, kind: ImageKind) -> int:
    """Add the file of a picture to a document; gives its number."""
    images = document.setdefault("images", [])
    images.append({"name": name, "mimeType": f"image/{kind}", "bufferView": arrays.add_bytes(data)})
    return len(images) - 1


def skin(rig: Rig, arrays: GltfBuffer) -> dict[str, Any]:
    """The skin of a rig whose joints are the nodes 0 to 20."""
    inverse = np.tile(np.eye(4), (JOINT_COUNT, 1, 1))
    inverse[:, :3, :3] = rig.rotations.transpose(0, 2, 1)
    inverse[:, :3, 3] = -np.einsum("jki,jk->ji", rig.rotations, rig.joints)
    columns = inverse.transpose(0, 2, 1).reshape(JOINT_COUNT, 16)  # glTF stores columns
    out = {"name": "skeleton", "skeleton": 0, "joints": list(range(JOINT_COUNT))}
    return out | {"inverseBindMatrices": arrays.add(columns.astype("<f4"))}


def unit_normals(mesh: Mesh) -> np.ndarray:
    """Smooth normals [V, 3] float32, of length 1 even where no triangle gives one, as glTF wants them."""
    normals = np.empty((len(mesh.vertices), 3), np.float32)
    vertex_normals(np.ascontiguousarray(mesh.vertices, np.float32), mesh.faces, normals)
    normals[~(np.abs(np.linalg.norm(normals, axis=1) - 1) < 1e-3)] = (0, 1, 0)
    return normals.astype("<f4")


def finished(document: dict[str, Any], arrays: GltfBuffer) -> bytes:
    """The GLB file of a document whose arrays are all in the buffer."""
    return glb_container({"asset": ASSET, "scene": 0} | document | arrays.document(), arrays.data())


def skeleton(rig: Rig, rotations: np.ndarray, pelvis_m: np.ndarray) -> list[dict[str, Any]]:
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
    """One sampler and channel for the rotation of every joint and one for the place of the pelvis; where somebody is
    not to be seen, one more shrinks the pelvis and all that hangs on it to nothing."""
    times = motion.keys_s.astype("<f4")[:, None]
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
    if motion.seen_s is not None:
        when, sizes = _sizes(motion.seen_s)
        samplers.append({"input": arrays.add(when, bounds=True), "output": arrays.add(sizes), "interpolation": "STEP"})
        channels.append({"sampler": len(tracks), "target": {"node": 0, "path": "scale"}})
    return {"name": "motion", "samplers": samplers, "channels": channels}


def _sizes(seen_s: tuple[tuple[float, float], ...]) -> tuple[np.ndarray, np.ndarray]:
    """Keys [K, 1] and scales [K, 3] of somebody who is to be seen only then."""
    sizes = {0.0: 0.0}
    for start_s, end_s in seen_s:
        sizes |= {float(np.float32(start_s)): 1.0, float(np.float32(end_s)): 0.0}
    when = np.array(sorted(sizes), "<f4")[:, None]
    return when, np.repeat(np.array([[sizes[float(time_s)]] for time_s in when[:, 0]], "<f4"), 3, 1)
