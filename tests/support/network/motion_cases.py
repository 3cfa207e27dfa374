"""Motions for tests: label values of people who walk, run and stand, and wild ones that no body makes."""

from functools import lru_cache

import numpy as np

from somacast.bench.network import live_stage
from somacast.systems.aflsc.live.motion import load_motion


@lru_cache(maxsize=8)
def moving(action: str = "walking") -> np.ndarray:
    """Values [T, M] of the labels that move, of a test motion before a camera, at 30 fps."""
    return live_stage.moving(action, 4.0)


def wild(count: int, seed: int) -> np.ndarray:
    """Finest indices [count, M] that jump anywhere."""
    space, rng = load_motion(), np.random.default_rng(seed)
    size = 1 << space.model.bits
    steps = rng.integers(-40, 41, (count, len(size))) * (rng.random((count, len(size))) < 0.3)
    jumps = rng.integers(0, size, (count, len(size)))
    walk = np.clip(size // 2 + np.cumsum(steps, 0), 0, size - 1)
    return np.where(rng.random((count, len(size))) < 0.05, jumps, walk)
