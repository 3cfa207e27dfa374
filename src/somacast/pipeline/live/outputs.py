"""Where a received person goes over VMC: into other programs. Files are in recording.py, the page in viewer/."""

from __future__ import annotations

from typing import Any

import numpy as np

from somacast.errors import SomacastError
from somacast.formats.vmc import VmcSender
from somacast.geometry.reconstruction import Reconstruction
from somacast.pipeline.video.floor import Floor
from somacast.systems.registry import System
from somacast.systems.spec import Kind, LiveBody, LivePose
from somacast.types import Payload


class VmcOutput:
    """Live joint rotations to programs that listen for VMC (Blender, Unity, Unreal and others)."""

    def __init__(self, host: str, port: int, system: System):
        if Kind.RIG not in system.spec.outputs:
            raise SomacastError(f"--vmc: system {system.name} has no rig; expected one whose people have joints")
        self.sender = VmcSender(host, port)
        self.body: LiveBody | None = None
        self._floor = Floor()
        self._last: LivePose | None = None

    def person(self, body: LiveBody, number: int, who: Payload | None) -> None:
        self.body = body

    def pose(self, now_s: float, tick: int, values: np.ndarray, pose: LivePose) -> None:
        rig = self.body.rig if self.body else None
        if rig is not None:
            self._last = pose
            place = self._floor.place(rig, pose.rotations, pose.pelvis_m)
            self.sender.send(pose.rotations, place, rig.offsets_m)

    def frame(self, now_s: float, tick: int, values: np.ndarray, human: Reconstruction) -> None:
        pass

    def silence(self, now_s: float) -> None:
        """The last pose goes on, so that nobody takes us for gone."""
        if self._last is not None:
            self.pose(now_s, 0, np.zeros(0), self._last)

    def status(self, status: dict[str, Any]) -> None:
        pass

    def picture(self, jpeg: bytes) -> None:
        pass

    def close(self) -> None:
        self.sender.close()
