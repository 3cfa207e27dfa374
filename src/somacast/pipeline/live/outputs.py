"""Where a received person goes: into a file (.soma, animated .glb, .bvh) or over VMC into other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS, joint_places
from somacast.errors import SomacastError
from somacast.files import write_atomically
from somacast.formats.vmc import VmcSender
from somacast.geometry.reconstruction import Reconstruction
from somacast.geometry.rig import Rig
from somacast.pipeline.live.recording import Recording, check_recording_path
from somacast.pipeline.video.files import VideoWriter
from somacast.systems.registry import System
from somacast.systems.spec import Kind, LiveBody, LivePose
from somacast.types import Payload

_FEET = [CANONICAL_JOINTS.index(name) for name in ("l_foot", "l_toe", "r_foot", "r_toe")]
_WALK_M = 3.0  # nobody is shown farther from where they were first seen
_EVERY_S = 1 / 30


class Floor:
    """Puts a person on the floor of a scene: the sole of the lower foot at y = 0, x and z from where they were first
    seen."""

    def __init__(self) -> None:
        self._start: np.ndarray | None = None

    def place(self, rig: Rig, rotations: np.ndarray, pelvis_m: np.ndarray) -> np.ndarray:
        """Pelvis [3] in metres for world rotations [21, 3, 3] and the pelvis [3] before the sender's camera."""
        if self._start is None:
            self._start = pelvis_m.copy()
        feet_m = joint_places(rig.offsets_m, rotations, np.zeros(3))[_FEET, 1] - rig.soles_m[_FEET]
        x, _, z = np.clip(pelvis_m - self._start, -_WALK_M, _WALK_M)
        return np.array([x, -feet_m.min(), z])


class FileOutput:
    """Keeps a session for a file: .soma (as it was sent), .glb (rigged and animated) or .bvh. `write` at the end."""

    def __init__(self, path: Path, system: System):
        self.path, self.system = path, system
        as_sent = path.suffix.lower() == ".soma"
        if not as_sent:
            check_recording_path(path)
            if Kind.RIG not in system.spec.outputs:
                raise SomacastError(f"{path}: system {system.name} has no rig; expected a .soma file to record into")
        self.recording, self.writer = Recording(), VideoWriter(system) if as_sent else None
        self.body: LiveBody | None = None
        self._floor = Floor()
        self._first_s: float | None = None
        self._last_s = -1.0

    def person(self, body: LiveBody, number: int) -> None:
        self.body = body

    def pose(self, now_s: float, tick: int, values: np.ndarray, pose: LivePose) -> None:
        time_s = self._due(now_s)
        if time_s is None or self.body is None or self.body.rig is None:
            return
        if self.writer is not None:
            self.writer.frame(time_s, values)
        else:
            place = self._floor.place(self.body.rig, pose.rotations, pose.pelvis_m)
            self.recording.add(time_s, pose.rotations, place)

    def frame(self, now_s: float, tick: int, values: np.ndarray, human: Reconstruction) -> None:
        time_s = self._due(now_s)
        if time_s is not None and self.writer is not None:
            self.writer.frame(time_s, values)

    def _due(self, now_s: float) -> float | None:
        """Time in the file of a frame that is to be kept, None for one that comes too soon after the last."""
        self._first_s = now_s if self._first_s is None else self._first_s
        time_s = now_s - self._first_s
        if self.body is None or time_s < self._last_s + 0.9 * _EVERY_S:
            return None
        self._last_s = time_s
        return time_s

    def status(self, status: dict[str, Any]) -> None:
        pass

    def picture(self, jpeg: bytes) -> None:
        pass

    def write(self, who: Payload | None) -> str:
        """Write the file; what was written, in words. who: who was received at last. SomacastError if nothing came."""
        frames = self.writer.frames if self.writer else len(self.recording)
        if self.body is None or frames == 0:
            raise SomacastError(f"{self.path}: nothing was received; no file is written")
        if self.writer is not None:
            if who is None:
                raise SomacastError(f"{self.path}: who it is never arrived; no file is written")
            data = self.writer.data(self.system.pack(who.layers))
            write_atomically(self.path, data)
            return f"{self.path}: {len(data):,} bytes, {self.writer.frames} frames"
        assert self.body.rig is not None
        self.recording.write(self.path, self.body.rig)
        return f"{self.path}: {self.recording.seconds:.1f} s, {len(self.recording)} frames"


class VmcOutput:
    """Live joint rotations to programs that listen for VMC (Blender, Unity, Unreal and others)."""

    def __init__(self, host: str, port: int, system: System):
        if Kind.RIG not in system.spec.outputs:
            raise SomacastError(f"--vmc: system {system.name} has no rig; expected one whose people have joints")
        self.sender = VmcSender(host, port)
        self.body: LiveBody | None = None
        self._floor = Floor()

    def person(self, body: LiveBody, number: int) -> None:
        self.body = body

    def pose(self, now_s: float, tick: int, values: np.ndarray, pose: LivePose) -> None:
        rig = self.body.rig if self.body else None
        if rig is not None:
            place = self._floor.place(rig, pose.rotations, pose.pelvis_m)
            self.sender.send(pose.rotations, place, rig.offsets_m)

    def frame(self, now_s: float, tick: int, values: np.ndarray, human: Reconstruction) -> None:
        pass

    def status(self, status: dict[str, Any]) -> None:
        pass

    def picture(self, jpeg: bytes) -> None:
        pass

    def close(self) -> None:
        self.sender.close()
