"""How far a rebuilt person looks from the picture of it: what candidates are ranked by if nothing better is at hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from somacast.metrics.image import mse, ssim

Criterion = Callable[[np.ndarray, np.ndarray], float]  # truth and result [S, S, 3] float32 in [0, 1]; 0 for equal ones


def structure_distance(truth: np.ndarray, result: np.ndarray) -> float:
    """Lack of SSIM and root mean squared error, mean over the pictures [S, S, 3] at a half and a quarter of their size,
    where an edge that lies a pixel off still meets its own."""
    total = 0.0
    for _ in range(2):
        truth, result = _halved(truth), _halved(result)
        total += (1 - ssim(truth, result)) + mse(truth, result) ** 0.5
    return total / 2


def _halved(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[0] // 2, image.shape[1] // 2
    return image[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1).mean((1, 3))
