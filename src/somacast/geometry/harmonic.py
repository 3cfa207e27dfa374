"""The smoothest continuation of a picture over what is not known of it: what costs a coder the least."""

from __future__ import annotations

import numpy as np

ROUNDS = 4  # of averaging at each size; more make it no cheaper to code


def harmonic(image: np.ndarray, known: np.ndarray, rounds: int = ROUNDS) -> np.ndarray:
    """An image [H, W, C] float32 as it is where it is known [H, W] bool, elsewhere the mean of its neighbours (a
    harmonic function, as a membrane hangs between what is known), found from coarse to fine, nearly. Of nothing known:
    zeros."""
    if min(known.shape) <= 2 or known.all():
        mean = image[known].mean(0) if known.any() else np.zeros(image.shape[2], np.float32)
        filled = np.where(known[..., None], image, mean)
    else:
        coarse = harmonic(*_halved(image, known), rounds)
        fine = coarse.repeat(2, 0).repeat(2, 1)[: known.shape[0], : known.shape[1]]
        filled = np.where(known[..., None], image, fine)
    free = ~known[..., None]
    for _ in range(rounds):
        padded = np.pad(filled, ((1, 1), (1, 1), (0, 0)), "edge")
        mean = (padded[2:, 1:-1] + padded[:-2, 1:-1] + padded[1:-1, 2:] + padded[1:-1, :-2]) / 4
        np.copyto(filled, mean, where=free)
    return filled.astype(np.float32)


def _halved(image: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half of the size: the mean of what is known in two by two pixels, and where there is any."""
    odd = [(0, side % 2) for side in known.shape]
    weight = np.pad(known, odd).astype(np.float32)[..., None]
    sums = np.pad(image, [*odd, (0, 0)]) * weight
    height, width = weight.shape[0] // 2, weight.shape[1] // 2
    sums, weight = (a.reshape(height, 2, width, 2, -1).sum((1, 3)) for a in (sums, weight))
    return (sums / np.maximum(weight, 1)).astype(np.float32), weight[..., 0] > 0
