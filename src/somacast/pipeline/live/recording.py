"""A live session kept as it goes: a journal beside the target grows with every second, and becomes the target.

poses as they are shown -> VideoWriter -> me.part.soma -> at the end me.soma, me.glb or me.bvh

Whatever ends the program, what was shown is there: `somacast decode me.part.soma -o me.glb` makes the rest of it.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from somacast.errors import SomacastError
from somacast.files import check_output_path
from somacast.geometry.reconstruction import Reconstruction
from somacast.pipeline.video.animate import Cast, thinning, write_motion
from somacast.pipeline.video.files import VideoWriter, read_video
from somacast.pipeline.video.journal import Journal, mapped
from somacast.systems.registry import System
from somacast.systems.spec import Kind, LiveBody, LivePose
from somacast.types import Payload

SUFFIXES = (".soma", ".glb", ".bvh")
_EVERY_S = 1 / 30
_SOON = 0.9  # of it: a frame that comes a little early is kept


def check_recording_path(path: str | Path) -> Path:
    """`path` if a recording can be written there, else SomacastError: to be asked before the session starts."""
    target = check_output_path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise SomacastError(f"{path}: expected a name ending in .soma, .glb or .bvh for a recording, got {target.name}")
    return target


class FileOutput:
    """Keeps a session for a file: .soma, .glb (rigged and animated) or .bvh; `finish` at the end makes it.

    Nothing that happens to the file ends the session: `fault` says what stopped the recording. Times count from the
    first frame; while nothing new arrives nobody is there.
    """

    def __init__(self, path: Path, system: System):
        self.path, self.system = check_recording_path(path), system
        if path.suffix.lower() != ".soma" and Kind.RIG not in system.spec.outputs:
            raise SomacastError(f"{path}: system {system.name} has no rig; expected a .soma file to record into")
        self.journal = Journal(path)
        self.body: LiveBody | None = None
        self._who: Payload | None = None
        self.fault = ""
        self._lock = threading.Lock()
        self._first_s: float | None = None
        self._last_s = -1.0
        self._silent_s: float | None = None
        self.writer: VideoWriter
        self._keep(lambda: setattr(self, "writer", VideoWriter(self.journal.write, system)))
        if self.fault:
            self.journal.discard()
            raise SomacastError(self.fault)

    def _keep(self, act) -> None:
        """Write, and after a fault nothing more: a record that is cut must stay the last one."""
        with self._lock:
            try:
                if not self.fault:
                    act()
            except SomacastError as fault:
                self.fault = str(fault)

    def person(self, body: LiveBody, number: int, who: Payload | None) -> None:
        self.body = body
        if who is not None and who is not self._who:
            self._who = who
            self._keep(lambda: self.writer.who(self.system.pack(who.layers)))

    def pose(self, now_s: float, tick: int, values: np.ndarray, pose: LivePose) -> None:
        self._frame(now_s, values)

    def frame(self, now_s: float, tick: int, values: np.ndarray, human: Reconstruction) -> None:
        self._frame(now_s, values)

    def _frame(self, now_s: float, values: np.ndarray) -> None:
        """Keep a frame, but for one that comes too soon after the last."""
        self._first_s = now_s if self._first_s is None else self._first_s
        time_s = now_s - self._first_s
        if self.body is None or time_s < self._last_s + _SOON * _EVERY_S:
            return
        silent_s, self._silent_s, self._last_s = self._silent_s, None, time_s
        if silent_s is not None:
            self._keep(lambda: self.writer.absent(silent_s, time_s))
        self._keep(lambda: self.writer.frame(time_s, values))

    def silence(self, now_s: float) -> None:
        """Nothing new has come for so long that nobody is to be seen."""
        if self._first_s is not None and self._silent_s is None:
            self._silent_s = max(now_s - self._first_s, self._last_s)
            self._keep(self.writer.flush)

    def status(self, status: dict[str, Any]) -> None:
        pass

    def picture(self, jpeg: bytes) -> None:
        pass

    def close(self) -> None:
        """The session is over, or never began: an empty journal goes, any other stays until `finish`."""
        self.journal.close()
        if not self.frames:
            self.journal.discard()

    @property
    def frames(self) -> int:
        """How many were kept."""
        return self.writer.frames

    def finish(self, now_s: float | None = None) -> str:
        """Make the file; what was written, in words. SomacastError if nothing came, or the file cannot be made: the
        journal then stays, and the message says how it is opened."""
        if not self.frames:
            self.journal.discard()
            raise SomacastError(f"{self.path}: nothing was received; no file is written")
        end_s = self._last_s + _EVERY_S
        if self._silent_s is not None and now_s is not None and self._first_s is not None:
            silent_s, end_s = self._silent_s, max(now_s - self._first_s, end_s)
            self._keep(lambda: self.writer.absent(silent_s, end_s))
        self._keep(lambda: self.writer.end(end_s))
        self.journal.close()
        stopped = f"; recording stopped early: {self.fault}" if self.fault else ""
        if self.path.suffix.lower() == ".soma":
            size = self.journal.finish()
            return f"{self.path}: {end_s:.1f} s, {self.frames} frames, {size:,} bytes{stopped}"
        try:
            notes = self._convert()
        except (SomacastError, MemoryError) as fault:
            remedy = f"`somacast decode {self.journal.path} -o {self.path}`"
            raise SomacastError(f"{fault or 'not enough memory'}; the recording is safe: {remedy} makes it") from fault
        if notes:  # not all that was kept is in the file
            notes.append(f"{self.journal.path} holds all of it")
        else:
            self.journal.discard()
        return "; ".join([f"{self.path}: {end_s:.1f} s, {self.frames} frames{stopped}", *notes])

    def _convert(self) -> list[str]:
        """The journal as motion of the rig; what is not in the file."""
        assert self.body is not None
        with mapped(self.journal.path) as data:
            video = read_video(data)
        cast = Cast(video, self.system, None, dict.fromkeys(video.people, self.body))
        notes = write_motion(cast, self.path)
        return notes if thinning(video) > 1 else []
