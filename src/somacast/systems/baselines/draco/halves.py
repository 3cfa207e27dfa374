"""Sender and files of the Draco system."""

from __future__ import annotations

from typing import Any

from somacast.errors import BitstreamError
from somacast.systems.baselines.draco.config import DracoConfig
from somacast.systems.baselines.draco.meshes import COLOR_BYTES, MAGIC, DracoSearch, decode_mesh
from somacast.systems.baselines.draco.textured import TexturedSearch, decode_textured, is_textured
from somacast.systems.baselines.mesh.encoder import MeshEncoder, mesh_bytes
from somacast.systems.baselines.mesh.search import MeshSearch
from somacast.systems.baselines.picture.criterion import Criterion
from somacast.types import Camera, Mesh, Payload

NAME = "draco"


def draco_encoder(config: DracoConfig, device: str) -> MeshEncoder:
    """The sender: meshes with colours at their vertices, or, if the configuration says so and there is one, with a
    texture."""

    def search(mesh: Mesh, camera: Camera, criterion: Criterion) -> MeshSearch:
        textured = config.textured and mesh.texture is not None
        found = (TexturedSearch if textured else DracoSearch)(mesh, camera, criterion)
        found.whole_bits = config.bits
        return found

    return MeshEncoder(NAME, search, device)


def decode_draco(data: bytes) -> Mesh:
    """The mesh in either kind of file; SomacastError for bytes that hold none."""
    return decode_textured(data) if is_textured(data) else decode_mesh(data)


def describe(payload: Payload) -> dict[str, Any]:
    """For `info`: bytes of the mesh, and what its colours are."""
    data = mesh_bytes(payload)
    if is_textured(data):
        return {"mesh_bytes": int.from_bytes(data[2:4], "little"), "colours": f"a texture of {8 * data[1]} px"}
    own = data.startswith(MAGIC)
    if not own and data[COLOR_BYTES : COLOR_BYTES + len(MAGIC)] != MAGIC:
        raise BitstreamError(f"expected a Draco mesh, got {len(data)} bytes that begin {data[:8]!r}")
    return {"mesh_bytes": len(data), "colours": "of every vertex" if own else "one for all"}
