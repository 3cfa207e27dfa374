"""The mesh of a person in the best file that fits: coarser meshes are tried until they are as small as a budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somacast.geometry.rasteriser import MID_GREY, level_camera, render_camera
from somacast.geometry.reconstruction import Reconstruction
from somacast.metrics.views import person_window, sent_camera, zoomed
from somacast.systems.baselines.mesh.clustering import clustered
from somacast.systems.baselines.picture.criterion import Criterion
from somacast.types import Camera, Mesh

CELLS_M = (0.0, 0.012, 0.02, 0.03, 0.04, 0.055, 0.075, 0.1, 0.14, 0.2)  # 0: every triangle
LOOK_PX = 256  # side of the view in which files are compared
_MARGIN = 0.1
_EXTENT_M = 2.2


@dataclass
class MeshFile:
    """One file: its bytes, what it holds (for people), and how far it looks from the whole mesh once that is known."""

    data: bytes
    setting: str
    error: float | None = None


def camera_before(human: Reconstruction, lens: Camera) -> Camera:
    """The sender's camera, the person in the middle of its picture; from the front if nobody knows where they stand."""
    camera = sent_camera(human, lens)
    if camera is None:
        points = human.surface().vertices
        return level_camera(LOOK_PX, _EXTENT_M, 0.0, (points.min(0) + points.max(0)) / 2)
    return zoomed(camera, *person_window(human, camera, _MARGIN), LOOK_PX)


class MeshSearch(ABC):
    """Files of one mesh (view frame, metres, pelvis at the origin) at all levels of detail, for any number of budgets;
    what was coded once is remembered."""

    def __init__(self, mesh: Mesh, camera: Camera, criterion: Criterion):
        self.mesh, self.camera, self.criterion = mesh, camera, criterion
        self._coarser: dict[float, Mesh] = {}

    @abstractmethod
    def fitting(self, room_bytes: int) -> list[MeshFile]:
        """Files of at most room_bytes that are worth being looked at."""

    @abstractmethod
    def whole(self) -> MeshFile:
        """The file without a budget."""

    @abstractmethod
    def decoded(self, data: bytes) -> Mesh:
        """The mesh in a file."""

    @property
    @abstractmethod
    def smallest_bytes(self) -> int:
        """The smallest file there is."""

    def coarser(self, cell_m: float) -> Mesh:
        """See `clustered`."""
        if cell_m not in self._coarser:
            self._coarser[cell_m] = clustered(self.mesh, cell_m)
        return self._coarser[cell_m]

    def best(self, room_bytes: int) -> MeshFile | None:
        """The file that fits and looks most like the sender's own mesh from the sender's camera, or None."""
        tried = self.fitting(room_bytes)
        for file in tried:
            if file.error is None:
                file.error = self.criterion(self._wanted, self._look(self.decoded(file.data)))
        return min(tried, key=lambda file: file.error or 0.0) if tried else None

    @cached_property
    def _wanted(self) -> np.ndarray:
        return self._look(self.mesh)

    def _look(self, mesh: Mesh) -> np.ndarray:
        return render_camera(mesh, self.camera, background=MID_GREY).rgb
