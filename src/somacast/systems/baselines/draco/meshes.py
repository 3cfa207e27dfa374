"""The person as a Draco mesh with colours at its vertices: the sender's own result, made coarser until it fits."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from somacast.errors import SomacastError
from somacast.extras import require
from somacast.systems.baselines.mesh.search import CELLS_M, MeshFile, MeshSearch
from somacast.types import Mesh

MAGIC = b"DRACO"
BITS = tuple(range(11, 4, -1))
COLOR_BYTES = 3  # one colour for all, in front of a mesh that has none of its own


def draco_bytes(points: np.ndarray, faces: np.ndarray, bits: int, **attributes: Any) -> bytes:
    """A Draco file of points [N, 3] and triangles; attributes as of `DracoPy.encode`. SomacastError if Draco fails."""
    require("DracoPy", "coding meshes by Draco")
    import DracoPy

    try:
        return DracoPy.encode(points, faces, quantization_bits=bits, compression_level=10, **attributes)
    except Exception as fault:  # the wrapper raises plain exceptions of its own
        raise SomacastError(f"Draco failed on {len(faces)} triangles: {fault}") from fault


def read_draco(data: bytes) -> Any:
    """What is in a Draco file, as DracoPy gives it; SomacastError for bytes that are none."""
    require("DracoPy", "coding meshes by Draco")
    import DracoPy

    try:
        return DracoPy.decode(data)
    except Exception as fault:
        raise SomacastError(f"expected a Draco mesh ({fault})") from fault


def encode_mesh(mesh: Mesh, bits: int, colored: bool) -> bytes:
    """The file: without colours of its own, three bytes of mean colour and the mesh. SomacastError if Draco fails."""
    colors = np.full((len(mesh.vertices), 3), 0.5) if mesh.colors is None else mesh.colors
    pixels = np.round(np.clip(colors, 0, 1) * 255).astype(np.uint8)
    data = draco_bytes(mesh.vertices, mesh.faces, bits, colors=pixels if colored else None)
    return data if colored else pixels.mean(0).round().astype(np.uint8).tobytes() + data


def decode_mesh(data: bytes) -> Mesh:
    """Inverse of `encode_mesh`; SomacastError for bytes that are no such file."""
    plain = not data.startswith(MAGIC)
    found = read_draco(data[COLOR_BYTES:] if plain else data)
    vertices = np.asarray(found.points, np.float32)
    own = np.frombuffer(data[:COLOR_BYTES], np.uint8)[None].repeat(len(vertices), 0) if plain else found.colors
    if own is None:
        raise SomacastError("expected a Draco mesh with colours")
    colors = np.asarray(own, np.float32)[:, :3] / 255
    return Mesh(vertices, np.asarray(found.faces, np.int32).reshape(-1, 3), colors)


class DracoSearch(MeshSearch):
    """Draco files of one mesh: grids of clusters, bits of a coordinate, with colours and with one for all."""

    whole_bits = BITS[0]

    def fitting(self, room_bytes: int) -> list[MeshFile]:
        """Of each grid, with and without colours, the file of the most bits that fit."""
        found = (self._most_bits(cell, colored, room_bytes) for cell, colored in self._levels)
        return [file for file in found if file is not None]

    def whole(self) -> MeshFile:
        """Every triangle and all colours."""
        return self._file(0.0, True, self.whole_bits)

    def decoded(self, data: bytes) -> Mesh:
        """See `decode_mesh`."""
        return decode_mesh(data)

    @property
    def smallest_bytes(self) -> int:
        """The smallest file there is."""
        return min(len(self._file(cell, colored, BITS[-1]).data) for cell, colored in self._levels[-2:])

    @cached_property
    def _levels(self) -> list[tuple[float, bool]]:
        return [(cell, colored) for cell in CELLS_M if len(self.coarser(cell).faces) for colored in (True, False)]

    @cached_property
    def _files(self) -> dict[tuple[float, bool, int], MeshFile]:
        return {}

    def _file(self, cell: float, colored: bool, bits: int) -> MeshFile:
        key = (cell, colored, bits)
        if key not in self._files:
            mesh = self.coarser(cell)
            setting = f"{len(mesh.faces)} triangles, {bits} bits, {'colours' if colored else 'one colour'}"
            self._files[key] = MeshFile(encode_mesh(mesh, bits, colored), setting)
        return self._files[key]

    def _most_bits(self, cell: float, colored: bool, room_bytes: int) -> MeshFile | None:
        if len(self._file(cell, colored, BITS[-1]).data) > room_bytes:
            return None
        return next(f for bits in BITS if len((f := self._file(cell, colored, bits)).data) <= room_bytes)
