"""Where a received person goes: into a file (.soma, animated .glb, .bvh) or over VMC into other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS, joint_places
from somacast.errors import SomacastError
from somacast.files import write_atomically
from somacast.formats.vmc import VmcSender
from somacast.geometry.rig import Rig
from somacast.pipeline.live.recording import Recording, check_recording_path
from somacast.pipeline.video.files import MovingPerson, VideoWriter
from somacast.systems import registry
from somacast.types import Semantics

SOLE_M = 0.07  # from the lowest joint of a foot to the floor
_FEET = [CANONICAL_JOINTS.index(name) for name in ("l_foot", "l_toe", "r_foot", "r_toe")]
_WALK_M = 3.0  # nobody is shown farther from where they were first seen
_EVERY_S = 1 / 30


class Floor:
    """Puts a person on the floor of a scene: the lower foot at y = 0, x and z from where they were first seen."""

    def __init__(self) -> None:
        self._start: np.ndarray | None = None

    def place(self, rig: Rig, rotations: np.ndarray, pelvis_m: np.ndarray) -> np.ndarray:
        """Pelvis [3] in metres for world rotations [21, 3, 3] and the pelvis [3] before the sender's camera."""
        if self._start is None:
            self._start = pelvis_m.copy()
        lowest = joint_places(rig.offsets_m, rotations, np.zeros(3))[_FEET, 1].min()
        x, _, z = np.clip(pelvis_m - self._start, -_WALK_M, _WALK_M)
        return np.array([x, SOLE_M - lowest, z])


class FileOutput:
    """Keeps a session for a file: .soma (labels), .glb (rigged and animated) or .bvh. `write` at the end."""

    def __init__(self, path: Path):
        self.path = path
        self.labels = path.suffix.lower() == ".soma"
        if not self.labels:
            check_recording_path(path)
        self.recording, self.writer = Recording(), VideoWriter() if self.labels else None
        self.moving: MovingPerson | None = None
        self.who: Semantics | None = None
        self._floor = Floor()
        self._first_s: float | None = None
        self._last_s = -1.0

    def person(self, person: MovingPerson, number: int) -> None:
        self.moving = person

    def pose(self, now_s: float, tick: int, values: np.ndarray, rotations: np.ndarray, pelvis_m: np.ndarray) -> None:
        self._first_s = now_s if self._first_s is None else self._first_s
        time_s = now_s - self._first_s
        if self.moving is None or time_s < self._last_s + 0.9 * _EVERY_S:
            return
        self._last_s = time_s
        if self.writer is not None:
            self.writer.frame(time_s, values)
        else:
            self.recording.add(time_s, rotations, self._floor.place(self.moving.rig, rotations, pelvis_m))

    def status(self, status: dict[str, Any]) -> None:
        pass

    def picture(self, jpeg: bytes) -> None:
        pass

    def write(self, who: Semantics | None) -> str:
        """Write the file; what was written, in words. who: who was received at last. SomacastError if nothing came."""
        if self.moving is None or (self.writer.frames if self.writer else len(self.recording)) == 0:
            raise SomacastError(f"{self.path}: nothing was received; no file is written")
        if self.writer is not None:
            if who is None:
                raise SomacastError(f"{self.path}: who it is never arrived; no file is written")
            data = self.writer.data(registry.get(who.system).pack(who))
            write_atomically(self.path, data)
            return f"{self.path}: {len(data):,} bytes, {self.writer.frames} frames"
        self.recording.write(self.path, self.moving.rig)
        return f"{self.path}: {self.recording.seconds:.1f} s, {len(self.recording)} frames"


class VmcOutput:
    """Live joint rotations to programs that listen for VMC (Blender, Unity, Unreal and others)."""

    def __init__(self, host: str, port: int):
        self.sender = VmcSender(host, port)
        self.moving: MovingPerson | None = None
        self._floor = Floor()

    def person(self, person: MovingPerson, number: int) -> None:
        self.moving = person

    def pose(self, now_s: float, tick: int, values: np.ndarray, rotations: np.ndarray, pelvis_m: np.ndarray) -> None:
        if self.moving is not None:
            rig = self.moving.rig
            self.sender.send(rotations, self._floor.place(rig, rotations, pelvis_m), rig.offsets_m)

    def status(self, status: dict[str, Any]) -> None:
        pass

    def picture(self, jpeg: bytes) -> None:
        pass

    def close(self) -> None:
        self.sender.close()
