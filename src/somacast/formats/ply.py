"""PLY files with a colour per vertex; by custom colours are sRGB there. Reading anybody's is trimesh's."""

from __future__ import annotations

import numpy as np

from somacast.formats.gltf import GENERATOR
from somacast.formats.texture import dense_colors
from somacast.geometry.sampling import byte_colors
from somacast.types import Mesh


def encode_ply(mesh: Mesh) -> bytes:
    """A binary little-endian PLY file with red, green, blue per vertex; a mesh with a texture gets vertices for it."""
    mesh = dense_colors(mesh)
    vertex = np.empty(len(mesh.vertices), [("place", "<f4", 3), ("color", "u1", 3)])
    vertex["place"] = mesh.vertices
    vertex["color"] = byte_colors(mesh)
    face = np.empty(len(mesh.faces), [("count", "u1"), ("corner", "<i4", 3)])
    face["count"] = 3
    face["corner"] = mesh.faces
    head = "\n".join([
        "ply", "format binary_little_endian 1.0", f"comment {GENERATOR}: metres, y up, sRGB",
        f"element vertex {len(vertex)}", *(f"property float {n}" for n in "xyz"),
        *(f"property uchar {n}" for n in ("red", "green", "blue")),
        f"element face {len(face)}", "property list uchar int vertex_indices", "end_header\n",
    ])  # fmt: skip
    return head.encode() + vertex.tobytes() + face.tobytes()
