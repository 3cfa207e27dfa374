"""Where somebody stands who is seen by a camera alone."""

from __future__ import annotations

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS, joint_places
from somacast.geometry.rig import Rig

_FEET = [CANONICAL_JOINTS.index(name) for name in ("l_foot", "l_toe", "r_foot", "r_toe")]
_WALK_M = 3.0  # nobody is shown farther from where they were first seen


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
