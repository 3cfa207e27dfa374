"""The person as a Draco mesh: the sender's own result, made coarser until it fits a budget."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somacast.errors import SomacastError
from somacast.extras import require
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.config import ProtocolConfig
from somacast.metrics.protocol import compare_views
from somacast.types import Mesh

CELLS_M = (0.0, 0.012, 0.02, 0.03, 0.04, 0.055, 0.075, 0.1, 0.14, 0.2)  # 0: every triangle
BITS = tuple(range(11, 4, -1))
COLOR_BYTES = 3  # one colour for all, in front of a mesh that has none of its own
_LOOK = ProtocolConfig(size_px=128, azimuths_deg=(0.0, 90.0, 180.0, 270.0))


def clustered(mesh: Mesh, cell_m: float) -> Mesh:
    """Vertices of one cell of a cubic grid become their mean, triangles that fall together vanish; 0: no change."""
    if cell_m <= 0:
        return mesh
    cells = np.floor(mesh.vertices / cell_m).astype(np.int64)
    _, place, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    place = place.reshape(-1)

    def mean(values: np.ndarray) -> np.ndarray:
        sums = np.stack([np.bincount(place, values[:, i], len(counts)) for i in range(values.shape[1])], 1)
        return (sums / counts[:, None]).astype(np.float32)

    faces = place[mesh.faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    _, first = np.unique(np.sort(faces, 1), axis=0, return_index=True)
    faces = faces[np.sort(first)]
    used, renumbered = np.unique(faces, return_inverse=True)
    colors = None if mesh.colors is None else mean(mesh.colors)[used]
    return Mesh(mean(mesh.vertices)[used], renumbered.reshape(-1, 3).astype(np.int32), colors)


def encode_mesh(mesh: Mesh, bits: int, colored: bool) -> bytes:
    """The file: without colours of its own, three bytes of mean colour and the mesh. SomacastError if Draco fails."""
    require("DracoPy", "coding meshes by Draco")
    import DracoPy

    colors = np.full((len(mesh.vertices), 3), 0.5) if mesh.colors is None else mesh.colors
    pixels = np.round(np.clip(colors, 0, 1) * 255).astype(np.uint8)
    options = {"quantization_bits": bits, "compression_level": 10, "colors": pixels if colored else None}
    try:
        data = DracoPy.encode(mesh.vertices, mesh.faces, **options)
    except Exception as fault:  # the wrapper raises plain exceptions of its own
        raise SomacastError(f"Draco failed on {len(mesh.faces)} triangles: {fault}") from fault
    return data if colored else pixels.mean(0).round().astype(np.uint8).tobytes() + data


def decode_mesh(data: bytes) -> Mesh:
    """Inverse of `encode_mesh`; SomacastError for bytes that are no such file."""
    require("DracoPy", "coding meshes by Draco")
    import DracoPy

    plain = data[:5] != b"DRACO"
    try:
        found = DracoPy.decode(data[COLOR_BYTES:] if plain else data)
    except Exception as fault:
        raise SomacastError(f"expected a Draco mesh ({fault})") from fault
    vertices = np.asarray(found.points, np.float32)
    own = np.frombuffer(data[:COLOR_BYTES], np.uint8)[None].repeat(len(vertices), 0) if plain else found.colors
    if own is None:
        raise SomacastError("expected a Draco mesh with colours")
    colors = np.asarray(own, np.float32)[:, :3] / 255
    return Mesh(vertices, np.asarray(found.faces, np.int32).reshape(-1, 3), colors)


@dataclass
class MeshFile:
    """One file: its bytes, what it holds (for people), and how much it looks like the whole mesh once that is known."""

    data: bytes
    setting: str
    score: float | None = None


class MeshSearch:
    """Draco files of one mesh (view frame, metres, pelvis at the origin) at all levels of detail."""

    def __init__(self, mesh: Mesh):
        self.mesh = mesh

    @cached_property
    def _levels(self) -> dict[tuple[float, bool], list[MeshFile]]:
        """Files of each grid, with and without colours, most bits first."""
        coarser = {cell: clustered(self.mesh, cell) for cell in CELLS_M}
        return {
            (cell, colored): [mesh_file(mesh, bits, colored) for bits in BITS]
            for cell, mesh in coarser.items()
            if len(mesh.faces)
            for colored in (True, False)
        }

    def best(self, budget_bytes: int) -> MeshFile | None:
        """The file that fits and looks most like the sender's own mesh (SSIM in the box, views of 128 px), or None.

        Of each grid, with and without colours, the most bits that fit are looked at.
        """
        fitting = [[file for file in files if len(file.data) <= budget_bytes] for files in self._levels.values()]
        tried = [files[0] for files in fitting if files]
        for file in tried:
            if file.score is None:
                file.score = compare_views(self.mesh, Reconstruction(decode_mesh(file.data)), _LOOK)["ssim_box"]
        return max(tried, key=lambda file: file.score or -1.0) if tried else None

    @property
    def smallest_bytes(self) -> int:
        """The smallest file there is."""
        return min(len(file.data) for files in self._levels.values() for file in files)


def mesh_file(mesh: Mesh, bits: int, colored: bool) -> MeshFile:
    """The file of a mesh, see `encode_mesh`."""
    setting = f"{len(mesh.faces)} triangles, {bits} bits, {'colours' if colored else 'one colour'}"
    return MeshFile(encode_mesh(mesh, bits, colored), setting)
