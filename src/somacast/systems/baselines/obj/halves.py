"""Sender and files of the OBJ system: a text file of the person's mesh, colours behind the places by custom."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from somacast.errors import BitstreamError
from somacast.systems.baselines.mesh.encoder import MeshEncoder, mesh_bytes
from somacast.systems.baselines.mesh.search import CELLS_M, MeshFile, MeshSearch
from somacast.types import Mesh, Payload

NAME = "obj"
PLACES = ((4, 3), (3, 2), (2, 1))  # decimals of a coordinate and of a colour
_VERTEX, _FACE = b"v", b"f"


def encode_text(mesh: Mesh, decimals: tuple[int, int]) -> bytes:
    """`v x y z r g b` and `f a b c` lines in as few characters as readers understand."""
    colors = np.full(mesh.vertices.shape, 0.5) if mesh.colors is None else np.clip(mesh.colors, 0, 1)
    columns = [*((c, decimals[0]) for c in mesh.vertices.T), *((c, decimals[1]) for c in colors.T)]
    words = [[_short(value, places) for value in column] for column, places in columns]
    lines = [f"v {' '.join(row)}" for row in zip(*words, strict=True)]
    lines += [f"f {a} {b} {c}" for a, b, c in (mesh.faces + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


def _short(value: float, places: int) -> str:
    text = f"{value:.{places}f}".rstrip("0").rstrip(".")
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else "0" if text in ("-0", "") else text


def decode_text(data: bytes) -> Mesh:
    """The mesh in such lines; BitstreamError for others."""
    rows: dict[bytes, list[list[float]]] = {_VERTEX: [], _FACE: []}
    try:
        for line in data.splitlines():
            kind, *words = line.split()
            rows[kind].append([float(word) for word in words])
        vertices, faces = np.array(rows[_VERTEX], np.float32), np.array(rows[_FACE]).astype(np.int64) - 1
    except (KeyError, ValueError, OverflowError) as fault:
        raise BitstreamError(f"expected lines of an OBJ file ({fault})") from fault
    if vertices.ndim != 2 or vertices.shape[1] != 6 or faces.ndim != 2 or faces.shape[1] != 3:
        raise BitstreamError(f"expected an OBJ file of coloured points and triangles, got {len(data)} bytes")
    if not np.isfinite(vertices).all() or faces.min() < 0 or faces.max() >= len(vertices):
        raise BitstreamError("expected an OBJ file whose triangles are of its points")
    return Mesh(vertices[:, :3].copy(), faces.astype(np.int32), np.clip(vertices[:, 3:], 0, 1))


class ObjSearch(MeshSearch):
    """OBJ files of one mesh: grids of clusters, decimals."""

    def fitting(self, room_bytes: int) -> list[MeshFile]:
        """Of each grid the file of the most decimals that fits."""
        found = []
        for cell in CELLS_M:
            least = len(self.coarser(cell).faces) * len("f 1 2 3\n")
            if not least or least > room_bytes:
                continue
            files = (self._file(cell, number) for number in range(len(PLACES)))
            found += [next((f for f in files if len(f.data) <= room_bytes), None)]
        return [file for file in found if file is not None]

    def whole(self) -> MeshFile:
        """Every triangle and all decimals."""
        return self._file(0.0, 0)

    def decoded(self, data: bytes) -> Mesh:
        """See `decode_text`."""
        return decode_text(data)

    @property
    def smallest_bytes(self) -> int:
        """The smallest file there is."""
        coarsest = next(cell for cell in reversed(CELLS_M) if len(self.coarser(cell).faces))
        return len(self._file(coarsest, len(PLACES) - 1).data)

    @cached_property
    def _files(self) -> dict[tuple[float, int], MeshFile]:
        return {}

    def _file(self, cell: float, number: int) -> MeshFile:
        if (cell, number) not in self._files:
            mesh = self.coarser(cell)
            setting = f"{len(mesh.faces)} triangles, {PLACES[number][0]} decimals"
            self._files[cell, number] = MeshFile(encode_text(mesh, PLACES[number]), setting)
        return self._files[cell, number]


def obj_encoder(device: str) -> MeshEncoder:
    """The sender."""
    return MeshEncoder(NAME, ObjSearch, device)


def describe(payload: Payload) -> dict[str, Any]:
    """For `info`: bytes of the file, and how many lines of each kind it has."""
    data = mesh_bytes(payload)
    mesh = decode_text(data)
    return {"mesh_bytes": len(data), "vertices": len(mesh.vertices), "triangles": len(mesh.faces)}
