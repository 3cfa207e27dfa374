"""OBJ files: with a colour per vertex, by custom sRGB there, or with a material and its picture in files beside.

    person.obj   person.mtl   person_texture.jpg

Reading anybody's is trimesh's.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from somacast.formats.export import Export, ImageKind
from somacast.formats.gltf import GENERATOR
from somacast.formats.gltf_writer import unit_normals
from somacast.formats.texture import encode_image, split_at_seams
from somacast.geometry.sampling import byte_colors
from somacast.types import Mesh

_MATERIAL = (
    "newmtl person\nKd 1 1 1\nKs 0 0 0\nillum 1\nPr 0.9\nPm 0\nmap_Kd {}\n"  # matt, by the older and newer words
)


def encode_obj(mesh: Mesh) -> bytes:
    """An OBJ file with the widely read `v x y z r g b` lines; a texture is left out."""
    buffer = io.StringIO()
    buffer.write(f"# {GENERATOR}: metres, y up, sRGB vertex colours\no person\n")
    # Six places are a micrometre and keep 8-bit colours exact.
    np.savetxt(buffer, np.concatenate([mesh.vertices, byte_colors(mesh) / 255.0], 1), "v %.6f %.6f %.6f %.6f %.6f %.6f")
    np.savetxt(buffer, mesh.faces + 1, "f %d %d %d")
    return buffer.getvalue().encode()


def textured_obj(mesh: Mesh, path: Path, image: ImageKind = "jpeg") -> dict[Path, bytes]:
    """The three files of a mesh with a texture, by their paths: material and picture first, the OBJ that names them
    last. Vertices stay whole at seams, where only their places in the picture differ, and have normals, without which
    some programs show every triangle flat; no colours stand at them, since some programs multiply both."""
    assert mesh.texture is not None
    split = split_at_seams(mesh)
    assert split.uv is not None
    material, picture = Export(image=image).beside(path)
    buffer = io.StringIO()
    buffer.write(f"# {GENERATOR}: metres, y up\nmtllib {material.name}\no person\n")
    np.savetxt(buffer, mesh.vertices, "v %.6f %.6f %.6f")
    np.savetxt(buffer, np.stack([split.uv[:, 0], 1 - split.uv[:, 1]], 1), "vt %.6f %.6f")
    np.savetxt(buffer, unit_normals(mesh), "vn %.4f %.4f %.4f")
    buffer.write("usemtl person\n")
    corner = np.stack([split.source[split.faces], split.faces, split.source[split.faces]], 2) + 1
    np.savetxt(buffer, corner.reshape(-1, 9), "f %d/%d/%d %d/%d/%d %d/%d/%d")
    return {
        material: f"# {GENERATOR}\n{_MATERIAL.format(picture.name)}".encode(),
        picture: encode_image(mesh.texture.image, image),
        path: buffer.getvalue().encode(),
    }
