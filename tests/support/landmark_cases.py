"""Shared by tests of landmarks."""

from __future__ import annotations

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS
from somacast.capture.landmarks import (
    LANDMARK_COUNT,
)

SHAPE = (LANDMARK_COUNT, 8)
PAIRS = {"upper_arm": 11, "lower_arm": 13, "hand": 15, "upper_leg": 23, "lower_leg": 25, "foot": 27}  # right: one more
LANDMARKS = np.array([k + side for k in PAIRS.values() for side in (0, 1)])
JOINTS = np.array([CANONICAL_JOINTS.index(side + name) for name in PAIRS for side in ("l_", "r_")])


# --- the mirror image ----------------------------------------------------------------------------------------------


def random_landmarks(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (count, *SHAPE)).astype(np.float32)
