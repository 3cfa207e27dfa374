"""A live session as one motion: poses at the uneven times at which they were shown -> even frames -> .glb or .bvh."""

from __future__ import annotations

import math
from array import array
from pathlib import Path

import numpy as np

from somacast.body.rotations import matrix_to_quaternion, quaternion_to_matrix, slerp
from somacast.body.skeleton import JOINT_COUNT, local_rotations, world_rotations
from somacast.checks import check_places, check_rotations
from somacast.errors import SomacastError
from somacast.files import check_output_path
from somacast.formats.people import save_motion
from somacast.geometry.rig import MAX_FPS, Motion, Rig, standing

MAX_FRAMES = 108_000  # an hour at 30 fps: 38 MB
LONGEST_GAP_S = 1.0  # a longer silence is not filled: it is shortened to this
SUFFIXES = (".glb", ".bvh")
_RESTART_S = 1.0  # a clock that goes back by more has been started anew
_JOIN_S = 1 / 30  # between the last frame before a restart and the first after it
_CHUNK = 2048  # frames that are worked on at once


def check_recording_path(path: str | Path) -> Path:
    """`path` if a recording can be written there, else SomacastError: to be asked before the session starts."""
    target = check_output_path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise SomacastError(f"{path}: expected a name ending in .glb or .bvh for a recording, got {target.name}")
    return target


class Recording:
    """Collects poses in bounded memory. The first `max_frames` are kept; `notes` says what was left out.

    A time that repeats or lies behind by up to a second is left out (a late frame); a clock that goes back by more has
    been started anew, and the motion goes on without a gap. Silences longer than LONGEST_GAP_S are shortened to it.
    """

    def __init__(self, max_frames: int = MAX_FRAMES):
        if max_frames < 1:
            raise SomacastError(f"recording: expected room for at least one frame, got {max_frames}")
        self.max_frames = max_frames
        self._times_s, self._quaternions, self._pelvis_m = array("d"), array("f"), array("f")
        self._clock_s = 0.0  # of the last frame, as it came
        self.beyond = self.late = self.restarts = 0
        self._silence_s = 0.0

    def __len__(self) -> int:
        return len(self._times_s)

    @property
    def seconds(self) -> float:
        """Length of the motion."""
        return self._times_s[-1] if self._times_s else 0.0

    def add(self, time_s: float, rotations: np.ndarray, pelvis_m: np.ndarray) -> bool:
        """A pose at finite seconds of the session's clock: world rotations [21, 3, 3] relative to the T-pose, place of
        the pelvis [3] in metres in the frame of the rig. Returns whether it was kept.

        Raises ValueError for other shapes, matrices that do not turn, and what is not finite.
        """
        if not math.isfinite(time_s):
            raise SomacastError(f"recording: expected a time in finite seconds, got {time_s}")
        rotations = check_rotations("recorded rotations", rotations, (JOINT_COUNT, 3, 3))
        pelvis = check_places("recorded pelvis", pelvis_m, (3,))
        step_s = time_s - self._clock_s if self._times_s else 0.0
        if self._times_s and -_RESTART_S <= step_s <= 0:
            self.late += 1
            return False
        if len(self) >= self.max_frames:
            self.beyond += 1
            return False
        self._clock_s = time_s
        if step_s < 0:
            self.restarts += 1
            step_s = _JOIN_S
        elif step_s > LONGEST_GAP_S:
            self._silence_s += step_s - LONGEST_GAP_S
            step_s = LONGEST_GAP_S
        self._times_s.append(self.seconds + step_s)
        self._quaternions.extend(matrix_to_quaternion(local_rotations(rotations)).ravel().tolist())
        self._pelvis_m.extend(pelvis.tolist())
        return True

    @property
    def notes(self) -> list[str]:
        """What was left out or changed, for the user."""
        notes = [
            (self.beyond, f"{self.beyond} frames after the first {self.max_frames} were not recorded"),
            (self.late, f"{self.late} late or repeated frames were not recorded"),
            (self.restarts, f"the stream started anew {self.restarts} times; the recording goes on without a gap"),
            (self._silence_s, f"{self._silence_s:.1f} s without a frame were cut out"),
        ]
        return [f"recording: {note}" for count, note in notes if count]

    def motion(self, fps: float = 30.0) -> Motion:
        """The session at even times: each joint turns the shorter way from neighbour to neighbour, places go straight.

        Raises SomacastError if nothing was recorded, for fps that are not above 0 to 1000, and for more frames at those
        fps than ten times `max_frames`.
        """
        if not len(self):
            raise SomacastError("recording: expected at least one frame, got none")
        if not 0 < fps <= MAX_FPS:
            raise SomacastError(f"recording: expected above 0 to {MAX_FPS:g} frames per second, got {fps}")
        count = int(self.seconds * fps + 1e-6) + 1
        if count > 10 * self.max_frames:
            raise SomacastError(f"recording: {count} frames at {fps:g} fps are too many; expected lower fps")
        known_s = np.array(self._times_s)
        quaternions = np.array(self._quaternions, np.float64).reshape(-1, JOINT_COUNT, 4)
        places = np.array(self._pelvis_m, np.float64).reshape(-1, 3)
        even_s = np.minimum(np.arange(count) / fps, known_s[-1])
        after = np.searchsorted(known_s, even_s, side="right").clip(1, max(len(known_s) - 1, 1))
        before = np.minimum(after - 1, len(known_s) - 1)
        after = np.minimum(after, len(known_s) - 1)
        gap_s = np.maximum(known_s[after] - known_s[before], 1e-12)
        share = ((even_s - known_s[before]) / gap_s).clip(0, 1)
        local = np.empty((count, JOINT_COUNT, 3, 3))  # between parents and children, so that no trunk is wrung
        for start in range(0, count, _CHUNK):
            part = slice(start, start + _CHUNK)
            start_quaternions, end_quaternions = (
                quaternion_to_matrix(quaternions[row[part]]) for row in (before, after)
            )
            local[part] = slerp(start_quaternions, end_quaternions, share[part, None])
        pelvis_m = places[before] + share[:, None] * (places[after] - places[before])
        return Motion(world_rotations(local), pelvis_m, fps)

    def write(self, path: str | Path, rig: Rig, fps: float = 30.0) -> Path:
        """Write the session as an animated .glb of the rig or as .bvh of its bones; the file appears whole or not.

        Raises SomacastError, one line, for another suffix, nothing recorded, a place that cannot be written.
        """
        target = check_recording_path(path)
        save_motion(standing(rig), self.motion(fps), target)
        return target
