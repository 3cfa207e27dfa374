"""The diffusion of the look tokens (eq. 26, 27): from the smooth colours of both sides to sharp ones in a few steps.

    x_t = x_0 + t (start - x_0) + noise_share(t) eps        t from 1, the smooth colours, to 0

Each step finds x_0 from x_t, guided by the features of s_3, and goes to x_t of the next t. One step from the mean is
the product's way; more, and with noise drawn by a seed, are there to be asked for, and so are the steps as printed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Refine = Callable[[np.ndarray, float], np.ndarray]  # x_t and t in [0, 1] to x_0, shaped like x_t
NOISE = 0.25


def noise_share(t: T) -> T:
    """Standard deviation of the noise in x_t."""
    return NOISE * t * (1 - 0.5 * t)  # type: ignore[operator]


def reversed_steps(refine: Refine, start: np.ndarray, steps: int = 1, seed: int | None = None) -> np.ndarray:
    """x_0 from the smooth colours, float32, shaped like them; seed: draw the noise, None: its mean."""
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


def literal_steps(refine: Refine, start: np.ndarray, steps: int, c: float = 0.9) -> np.ndarray:
    """Eq. 27 as printed, `steps` times from x_T = start: x <- (x - sqrt(1 - c) u_m) / sqrt(c); float32, shaped like it.

    An ablation. u_m is the noise that the network, asked once at t = 1, sees in start: start - x_0. This is no inverse
    of eq. 26, x_t = sqrt(c) x_(t-1) + sqrt(1 - c) (u_m * eps): it takes off u_m where that put on u_m * eps, so that
    only noise of 1 everywhere would be undone.
    """
    noise = start - refine(start, 1.0)
    x = start
    for _ in range(steps):
        x = (x - math.sqrt(1 - c) * noise) / math.sqrt(c)
    return x.astype(np.float32)
