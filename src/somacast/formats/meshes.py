"""Meshes to and from files, whatever the form: with their texture where the form has one, else a colour per vertex.

Writing is our own (no import beyond NumPy, so that the commands start fast), and so is reading glTF; PLY, OBJ, STL and
OFF of anybody are read by trimesh. Colours are kept as 8-bit sRGB.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from somacast.errors import SomacastError
from somacast.files import check_output_path, write_together
from somacast.formats.export import ImageKind
from somacast.formats.gltf import MAX_FILE_BYTES
from somacast.formats.gltf_scene import GltfScene
from somacast.formats.gltf_writer import encode_glb
from somacast.formats.obj import encode_obj, textured_obj
from somacast.formats.ply import encode_ply
from somacast.types import Mesh

WRITERS: dict[str, Callable[[Mesh], bytes]] = {".glb": encode_glb, ".ply": encode_ply, ".obj": encode_obj}
GLTF_SUFFIXES = (".glb", ".gltf")
READERS = (*GLTF_SUFFIXES, ".obj", ".ply", ".stl", ".off")


def mesh_suffix(path: str | os.PathLike[str]) -> str:
    """The suffix in small letters if a mesh can be written in that form; else SomacastError."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise SomacastError(f"{path}: expected one of {', '.join(WRITERS)}, got {suffix or 'no suffix'}")
    return suffix


def save_mesh(mesh: Mesh, path: str | os.PathLike[str], image: ImageKind = "jpeg") -> int:
    """Write a mesh as the suffix says, wholly or not at all; returns the size in bytes.

    image: how the picture of a texture is kept. An .obj with one has two files beside it (`Export.beside`), all
    three of which are written or none. Raises SomacastError for an unknown suffix, a missing folder, a full disk, or a
    mesh with nothing in it.
    """
    target, suffix = Path(path), mesh_suffix(path)
    check_output_path(target)
    if not len(mesh.vertices) or not len(mesh.faces) or not np.isfinite(mesh.vertices).all():
        raise SomacastError(f"{path}: expected a mesh with finite triangles, got {len(mesh.faces)} triangles")
    if suffix == ".obj" and mesh.texture is not None:
        files = textured_obj(mesh, target, image)
    else:
        files = {target: encode_glb(mesh, image=image) if suffix == ".glb" else WRITERS[suffix](mesh)}
    write_together(files)
    return sum(map(len, files.values()))


def load_mesh(path: str | os.PathLike[str], finest: float = 0.0) -> Mesh:
    """Any GLB, glTF, OBJ, PLY, STL or OFF scene as one mesh in scene coordinates with a colour per vertex.

    A file of ours keeps its texture. Others' textures are read at the vertices (a mesh coarser than its picture loses
    detail); `finest` > 0 first splits textured triangles until no edge is longer than this share of the root of the
    scene's surface. Parts without colour become grey; `colors` is None only if no part has any. Skins and animations
    are passed over: for them see `GltfScene.mesh`. Raises SomacastError for what is missing, unknown or damaged.
    """
    source = Path(path)
    suffix = source.suffix.lower()
    if suffix not in READERS:
        raise SomacastError(f"{path}: expected one of {', '.join(READERS)}, got {source.suffix or 'no suffix'}")
    try:
        size = source.stat().st_size
        with source.open("rb"):
            pass
    except OSError as error:
        raise SomacastError(f"{path}: cannot be read ({error.strerror or error})") from error
    if size > MAX_FILE_BYTES:
        raise SomacastError(f"{path}: expected at most {MAX_FILE_BYTES} bytes, got {size}")
    if suffix in GLTF_SUFFIXES:
        return GltfScene(source).stored_mesh(finest)
    from somacast.formats.trimesh_reader import read_mesh

    return read_mesh(source, finest)
