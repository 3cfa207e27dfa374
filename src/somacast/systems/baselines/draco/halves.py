"""Sender and receiver of the Draco system: the person is rebuilt by the sender, and the mesh is what travels."""

from __future__ import annotations

from typing import Any

import numpy as np

from somacast.bitstream.container import packed_bytes
from somacast.errors import BitstreamError, SomacastError
from somacast.geometry.reconstruction import Reconstruction
from somacast.systems.baselines.default_system import default_system
from somacast.systems.baselines.draco.config import DracoConfig
from somacast.systems.baselines.draco.meshes import COLOR_BYTES, MeshSearch, decode_mesh, mesh_file
from somacast.types import Capture, Encoded, Mesh, Payload

NAME = "draco"
_MAGIC = b"DRACO"


class DracoEncoder:
    """Holds the files of the last mesh, so that further budgets of the same person share them."""

    def __init__(self, config: DracoConfig, device: str):
        self.config, self.default = config, default_system(device)
        self._search: MeshSearch | None = None

    def encode(self, capture: Capture, budget_bytes: int | None = None, network_state: int = 0) -> Encoded:
        """One layer: the mesh that the default system's decoder makes of what its encoder sees. SomacastError if there
        is nobody, or no mesh is as small as the budget."""
        human, found = self.default.rebuild(capture)
        if human.joints is not None:  # as the receiver knows no joints: the pelvis to the origin
            human = human.translated(-np.asarray(human.joints[0], np.float64))
        mesh = human.surface()
        if budget_bytes is None:
            file = mesh_file(mesh, self.config.bits, True)
        else:
            room = budget_bytes
            while room > 0 and packed_bytes(NAME, [room]) > budget_bytes:
                room -= 1
            search = self._search_of(mesh)
            file = search.best(room)
            if file is None:
                smallest = packed_bytes(NAME, [search.smallest_bytes])
                raise SomacastError(f"a budget of {budget_bytes} bytes is too small: {NAME} needs {smallest}")
        report = {k: v for k, v in found.report.items() if k != "stage_times_s"} | {"setting": file.setting}
        return Encoded([file.data], report, found.maps)

    def _search_of(self, mesh: Mesh) -> MeshSearch:
        known = self._search.mesh if self._search is not None else None
        if known is None or not (_equal(mesh.vertices, known.vertices) and _equal(mesh.colors, known.colors)):
            self._search = MeshSearch(mesh)
        assert self._search is not None
        return self._search


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return np.array_equal(a, b) if a is not None and b is not None else a is b


class DracoDecoder:
    """Needs no network."""

    def decode(self, payload: Payload) -> Reconstruction:
        """The mesh, without joints; BitstreamError for layers that hold none."""
        try:
            mesh = decode_mesh(_data(payload))
        except SomacastError as fault:
            raise BitstreamError(str(fault)) from fault
        return Reconstruction(mesh)


def _data(payload: Payload) -> bytes:
    if len(payload.layers) != 1:
        raise BitstreamError(f"expected one layer with a Draco mesh, got {len(payload.layers)} layers")
    return payload.layers[0]


def describe(payload: Payload) -> dict[str, Any]:
    """For `info`: bytes of the mesh, and what its colours are."""
    data = _data(payload)
    own = data.startswith(_MAGIC)
    if not own and data[COLOR_BYTES : COLOR_BYTES + len(_MAGIC)] != _MAGIC:
        raise BitstreamError(f"expected a Draco mesh, got {len(data)} bytes that begin {data[:8]!r}")
    return {"mesh_bytes": len(data), "colours": "of every vertex" if own else "one for all"}
