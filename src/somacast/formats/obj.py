"""OBJ files with a colour per vertex; by custom colours are sRGB there. Reading anybody's is trimesh's."""

from __future__ import annotations

import io

import numpy as np

from somacast.formats.gltf import GENERATOR
from somacast.geometry.sampling import byte_colors
from somacast.types import Mesh


def encode_obj(mesh: Mesh) -> bytes:
    """An OBJ file with the widely read `v x y z r g b` lines."""
    buffer = io.StringIO()
    buffer.write(f"# {GENERATOR}: metres, y up, sRGB vertex colours\no person\n")
    # Six places are a micrometre and keep 8-bit colours exact.
    np.savetxt(buffer, np.concatenate([mesh.vertices, byte_colors(mesh) / 255.0], 1), "v %.6f %.6f %.6f %.6f %.6f %.6f")
    np.savetxt(buffer, mesh.faces + 1, "f %d %d %d")
    return buffer.getvalue().encode()
