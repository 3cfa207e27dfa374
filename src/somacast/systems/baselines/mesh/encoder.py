"""Both ends of the mesh systems: the sender rebuilds the person, and a place and the mesh are what travels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from somacast.bitstream.container import packed_bytes
from somacast.errors import BitstreamError, SomacastError
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.image import structure_distance
from somacast.systems.baselines.default_system import default_system
from somacast.systems.baselines.mesh.place import PLACE_BYTES, pack_place, unpack_place
from somacast.systems.baselines.mesh.search import MeshSearch, camera_before
from somacast.systems.baselines.picture.criterion import Criterion
from somacast.types import Camera, Capture, Encoded, Mesh, Payload

BEST_BYTES = 20_000  # for the default system's person at the sender, which costs the mesh nothing
Searches = Callable[[Mesh, Camera, Criterion], MeshSearch]


class MeshEncoder:
    """Holds the files of the last mesh, so that further budgets of the same person share them. criterion: by which
    files are chosen, to be replaced by whoever has a better one."""

    def __init__(self, name: str, searches: Searches, device: str):
        self.name, self.searches, self.default = name, searches, default_system(device)
        self.criterion: Criterion = structure_distance
        self._search: MeshSearch | None = None
        self._last: tuple[np.ndarray, Camera | None, float | None, Reconstruction, Encoded] | None = None

    def encode(self, capture: Capture, budget_bytes: int | None = None, network_state: int = 0) -> Encoded:
        """One layer: where the person stands, and the mesh that the default system's decoder makes of what its encoder
        sees, at its best. SomacastError if there is nobody, or no mesh is as small as the budget."""
        human, found = self._rebuilt(capture)
        search = self._search_of(human, capture.frame.lens)
        file = search.whole() if budget_bytes is None else search.best(self._room(budget_bytes))
        if file is None:
            smallest = packed_bytes(self.name, [PLACE_BYTES + search.smallest_bytes])
            raise SomacastError(f"a budget of {budget_bytes} bytes is too small: {self.name} needs {smallest}")
        report = {k: v for k, v in found.report.items() if k != "stage_times_s"} | {"setting": file.setting}
        return Encoded([pack_place(human.pelvis_m) + file.data], report, found.maps)

    def _rebuilt(self, capture: Capture) -> tuple[Reconstruction, Encoded]:
        """The person at their best, and what was found; the last one if the capture is of the same picture."""
        frame, last = capture.frame, self._last
        if last is None or last[0] is not frame.image or last[1] is not frame.camera or last[2] != capture.height_m:
            human, found = self.default.rebuild(capture, BEST_BYTES)
            if human.joints is not None:  # as the receiver knows no joints: the pelvis to the origin
                human = human.translated(-np.asarray(human.joints[0], np.float64))
            last = self._last = frame.image, frame.camera, capture.height_m, human, found
        return last[3], last[4]

    def _room(self, budget_bytes: int) -> int:
        """Bytes that are left for the mesh in a file of a budget."""
        layer = budget_bytes
        while layer > 0 and packed_bytes(self.name, [layer]) > budget_bytes:
            layer -= 1
        return max(layer - PLACE_BYTES, 0)

    def _search_of(self, human: Reconstruction, lens: Camera) -> MeshSearch:
        mesh, last = human.surface(), self._search
        if last is None or last.criterion is not self.criterion or not _same(mesh, last.mesh):
            last = self._search = self.searches(mesh, camera_before(human, lens), self.criterion)
        return last


def mesh_bytes(payload: Payload) -> bytes:
    """The mesh behind its place; BitstreamError for layers that hold none."""
    if len(payload.layers) != 1 or len(payload.layers[0]) <= PLACE_BYTES:
        sizes = [len(layer) for layer in payload.layers]
        raise BitstreamError(
            f"expected one layer with a place and a {payload.system} mesh, got layers of {sizes} bytes"
        )
    return payload.layers[0][PLACE_BYTES:]


class MeshDecoder:
    """Needs no network. decode: from the bytes of a mesh to it."""

    def __init__(self, decode: Callable[[bytes], Mesh]):
        self._decode = decode

    def decode(self, payload: Payload) -> Reconstruction:
        """The mesh and where it stands, without joints; BitstreamError for layers that hold none."""
        data = mesh_bytes(payload)
        try:
            return Reconstruction(self._decode(data), pelvis_m=unpack_place(payload.layers[0]))
        except SomacastError as fault:
            raise BitstreamError(str(fault)) from fault


def _same(a: Mesh, b: Mesh) -> bool:
    def equal(x: np.ndarray | None, y: np.ndarray | None) -> bool:
        return np.array_equal(x, y) if x is not None and y is not None else x is y

    images = [mesh.texture.image if mesh.texture is not None else None for mesh in (a, b)]
    return equal(a.vertices, b.vertices) and equal(a.colors, b.colors) and equal(*images)
