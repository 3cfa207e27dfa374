"""Motions for tests: label values of people who walk, run and stand, and wild ones that no body makes."""

from functools import lru_cache

import numpy as np

from somacast.data.builtin_motion import builtin_clip
from somacast.data.scene import draw_view
from somacast.systems.aflsc.labels import SHAPE_LABELS
from somacast.systems.aflsc.motion import load_motion


@lru_cache(maxsize=8)
def moving(action: str = "walking", seconds: float = 4.0, fps: float = 30.0, seed: int = 5) -> np.ndarray:
    """Values [T, M] of the labels that move, of a test motion before a camera."""
    space, rng = load_motion(), np.random.default_rng(seed)
    rotations, path = builtin_clip(rng, action, seconds, fps, "test")
    count, labels = len(rotations), space.space
    away = 3.5 - path[:, 2]
    state = {
        "rotations": draw_view(rng, "test") @ rotations, "shape": np.zeros((count, SHAPE_LABELS)),
        "attributes": np.zeros((count, 5)), "codes": np.zeros((count, len(labels.appearance_std))),
        "curl": np.full((count, 2), 0.3), "pelvis": np.stack([path[:, 0] / away, -path[:, 1] / away, np.log(away)], 1),
    }  # fmt: skip
    return labels.values(state)[:, space.columns]


def wild(count: int, seed: int) -> np.ndarray:
    """Finest indices [count, M] that jump anywhere."""
    space, rng = load_motion(), np.random.default_rng(seed)
    size = 1 << space.model.bits
    steps = rng.integers(-40, 41, (count, len(size))) * (rng.random((count, len(size))) < 0.3)
    jumps = rng.integers(0, size, (count, len(size)))
    walk = np.clip(size // 2 + np.cumsum(steps, 0), 0, size - 1)
    return np.where(rng.random((count, len(size))) < 0.05, jumps, walk)
