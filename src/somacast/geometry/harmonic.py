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
    filled, free = filled.astype(np.float32), (~known[..., None]).astype(np.float32)
    for _ in range(rounds):
        change = _mean_of_neighbours(filled)
        change -= filled
        change *= free
        filled += change
    return filled


def _mean_of_neighbours(image: np.ndarray) -> np.ndarray:
    """Of the four beside each pixel of an image [H, W, C]; the border goes on."""
    total = np.empty_like(image)
    total[1:], total[:1] = image[:-1], image[:1]
    total[:-1] += image[1:]
    total[-1:] += image[-1:]
    total[:, 1:] += image[:, :-1]
    total[:, :1] += image[:, :1]
    total[:, :-1] += image[:, 1:]
    total[:, -1:] += image[:, -1:]
    total *= 0.25
    return total


def _halved(image: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half of the size: the mean of what is known in two by two pixels, and where there is any."""
    height, width = ((side + 1) // 2 for side in known.shape)
    sums, weight = np.zeros((height, width, image.shape[2]), np.float32), np.zeros((height, width, 1), np.float32)
    for corner in np.ndindex(2, 2):
        part = (slice(corner[0], None, 2), slice(corner[1], None, 2))
        there = known[part][..., None]
        rows, columns = there.shape[:2]
        sums[:rows, :columns] += image[part] * there
        weight[:rows, :columns] += there
    return sums / np.maximum(weight, 1), weight[..., 0] > 0
