"""The diffusion of the look tokens (eq. 26, 27): from the smooth colours of both sides to sharp ones in a few steps.

    x_t = x_0 + t (start - x_0) + noise_share(t) eps        t from 1, the smooth colours, to 0

Each step finds x_0 from x_t, guided by the features of s_3, and goes to x_t of the next t. One step from the mean is
the product's way; more, and with noise drawn by a seed, are there to be asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

T = TypeVar("T")
NOISE = 0.25


def noise_share(t: T) -> T:
    """Standard deviation of the noise in x_t."""
    return NOISE * t * (1 - 0.5 * t)  # type: ignore[operator]


def reversed_steps(
    refine: Callable[[np.ndarray, float], np.ndarray], start: np.ndarray, steps: int = 1, seed: int | None = None
) -> np.ndarray:
    """x_0 from the smooth colours, float32: refine says x_0 of x_t and t; seed: draw the noise, None: its mean."""
    rng = None if seed is None else np.random.default_rng(seed)

    def noise(t: float) -> np.ndarray | float:
        return 0.0 if rng is None else noise_share(t) * rng.standard_normal(start.shape, np.float32)

    x = (start + noise(1.0)).astype(np.float32)
    found = x
    for step in range(steps):
        found = refine(x, 1 - step / steps)
        after = 1 - (step + 1) / steps
        x = (found + after * (start - found) + noise(after)).astype(np.float32)
    return found
