"""Sender: a person's build brought to a height that the user knows, as one picture cannot tell it."""

from __future__ import annotations

import numpy as np

from somacast.body.table import load_body
from somacast.errors import SomacastError
from somacast.systems.aflsc.labels.space import LabelSpace

MIN_M, MAX_M = 0.6, 2.5  # people who stand
_ROUNDS = 3  # head and soles change a little with the build: the height is not quite linear


def check_height(height_m: float) -> float:
    """A standing height in metres; SomacastError if nobody is that tall."""
    if not MIN_M <= height_m <= MAX_M:
        raise SomacastError(f"height: expected metres from {MIN_M} to {MAX_M}, got {height_m:g}")
    return float(height_m)


def standing_height(shape: np.ndarray) -> float:
    """Height in metres, barefoot, of the body with these shape coefficients."""
    return float(np.ptp(load_body().rest(shape)[0][:, 1]))


def with_height(space: LabelSpace, values: np.ndarray, height_m: float) -> np.ndarray:
    """Label values [L] with the likeliest build of that height: the one nearest to theirs, each shape label in its own
    standard deviation over people (the conditional mean of a Gaussian)."""
    at = space.vocabulary.group_indices("shape")
    value_std = np.array([space.vocabulary.labels[i].std for i in at])
    basis = load_body().shape_basis[: len(at), :, 1]
    out = values.copy()
    for _ in range(_ROUNDS):
        skin = load_body().rest(out[at])[0][:, 1]
        slope = (basis[:, skin.argmax()] - basis[:, skin.argmin()]).astype(np.float64)
        weighted = np.square(value_std) * slope
        out[at] += weighted * (height_m - np.ptp(skin)) / (weighted @ slope)
    return out
