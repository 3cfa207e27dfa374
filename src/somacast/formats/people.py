"""People into files of other programs: still or moving, on the ground or around the pelvis, in metres or centimetres.

Reconstruction --save_person--> .glb .ply .obj, with joints .glb with a skin, .bvh
several of one picture --save_people--> .glb, .ply, .obj
Rig and Motion --save_motion--> .glb with a skin and an animation, .bvh
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from somacast.errors import SomacastError
from somacast.files import write_atomically
from somacast.formats.bvh import encode_bvh
from somacast.formats.export import Export, Origin
from somacast.formats.gltf_writer import encode_glb, encode_people_glb, encode_rigged_glb
from somacast.formats.meshes import mesh_suffix, save_mesh
from somacast.formats.texture import dense_colors, join
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.rig import Motion, Rig, rig_human, translated
from somacast.types import Mesh

PER_M = {"m": 1.0, "cm": 100.0}
VIEW_AXES = np.array([1.0, -1.0, -1.0])  # OpenCV's camera to x right, y up, z towards it


def ground_offset(mesh: Mesh, origin: Origin) -> np.ndarray:
    """How far [3] to move somebody whose pelvis is at the origin: onto the ground, the lowest vertex at y = 0, or not
    at all."""
    return np.array([0.0, -float(mesh.vertices[:, 1].min()) if origin == "ground" else 0.0, 0.0])


def save_person(human: Reconstruction, path: Path, export: Export | None = None, rigged: bool = False) -> None:
    """Write somebody as the suffix says, wholly or not at all: .glb, .ply, .obj, or .bvh.

    rigged: a .glb with a skeleton. SomacastError for a suffix or choice that does not fit, for people without a mesh,
    and without joints where they are needed.
    """
    export, suffix = export or Export(), path.suffix.lower()
    export.check(path)
    mesh = human.surface()
    offset_m = ground_offset(mesh, export.origin)
    camera_m = None if human.pelvis_m is None else offset_m - human.pelvis_m * VIEW_AXES
    if suffix == ".bvh" or rigged:
        rig = translated(rig_human(human), offset_m)
        save_motion(rig, Motion(rig.rotations[None], rig.joints[:1]), path, export, camera_m)
    elif mesh_suffix(path) == ".glb":
        write_atomically(path, encode_glb(mesh, offset_m, camera_m, export.picture))
    else:
        save_mesh(_as_asked(joined([(mesh, offset_m)], PER_M[export.units]), export), path, export.picture)


def save_people(people: Mapping[str, Reconstruction], path: Path, export: Export | None = None) -> None:
    """Write several people of one picture, by their names, as .glb (a node for each), .ply or .obj.

    They stand to each other as they stood before the sender's camera: their middle above the origin, the lowest of them
    on the ground, or with origin "pelvis" the first one's pelvis at the origin. SomacastError for another suffix and
    for people of whom nobody knows where they stood.
    """
    export, suffix = export or Export(), mesh_suffix(path)
    export.check(path)
    meshes, places = {name: human.surface() for name, human in people.items()}, {}
    for name, human in people.items():
        if human.pelvis_m is None:
            raise SomacastError(f"{name}: does not say where the person stood; expected one that stands among others")
        places[name] = human.pelvis_m * VIEW_AXES
    offset_m = -next(iter(places.values()))
    if export.origin == "ground":
        offset_m = -np.mean(list(places.values()), axis=0)
        offset_m[1] = -min(float(meshes[name].vertices[:, 1].min()) + places[name][1] for name in people)
    placed = {name: (meshes[name], places[name] + offset_m) for name in people}
    if suffix == ".glb":
        write_atomically(path, encode_people_glb(placed, offset_m, export.picture))
    else:
        save_mesh(_as_asked(joined(placed.values(), PER_M[export.units]), export), path, export.picture)


def _as_asked(mesh: Mesh, export: Export) -> Mesh:
    return dense_colors(mesh) if export.alone else mesh


def joined(placed: Iterable[tuple[Mesh, np.ndarray]], per_m: float = 1.0) -> Mesh:
    """Meshes, each with where its origin stands, as one, their textures side by side; per_m: units in a metre."""
    parts = [replace(mesh, vertices=((mesh.vertices + at_m) * per_m).astype(np.float32)) for mesh, at_m in placed]
    return join(parts)


def save_motion(
    rig: Rig, motion: Motion, path: Path, export: Export | None = None, camera_m: np.ndarray | None = None
) -> None:
    """Write somebody who moves as .glb or .bvh. The motion is written as it stands but for the units; camera_m [3]:
    where the camera stood that saw the person, metres."""
    export = export or Export()
    export.check(path)
    if path.suffix.lower() == ".bvh":
        data = encode_bvh(rig.joints, rig.rotations, motion, PER_M[export.units]).encode()
    else:
        data = encode_rigged_glb(rig, motion, camera_m, export.picture)
    write_atomically(path, data)
