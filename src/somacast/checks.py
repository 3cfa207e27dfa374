"""Checks of arguments that all parts share: one line that says what was expected and what came."""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np

from somacast.errors import SomacastError


def shown(value: object) -> str:
    """`value` as it may stand in a one-line message: no line breaks, at most 60 characters."""
    return " ".join(repr(value).split())[:60]


def check_number(name: str, value: float, low: float = 0.0, high: float = math.inf, *, above: bool = False) -> float:
    """`value` as a float if it is finite and low <= value <= high (`above`: low < value), else SomacastError."""
    real = type(value) is float or (isinstance(value, Real) and not isinstance(value, bool))  # the first way is fast
    fits = real and math.isfinite(value)
    if not fits or not low <= value <= high or (above and value == low):
        start = f"above {low:g}" if above else f"from {low:g}"
        end = "" if math.isinf(high) else f" to {high:g}"
        raise SomacastError(f"{name}: expected a finite number {start}{end}, got {shown(value)}")
    return float(value)


def check_probability(name: str, value: float) -> float:
    """`value` as a float if it lies in [0, 1], else SomacastError."""
    return check_number(name, value, 0.0, 1.0)


def check_count(name: str, value: int, low: int = 0, high: int | None = None) -> int:
    """`value` as an int if it is a whole number with low <= value <= high, else SomacastError."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < low or (high is not None and value > high):
        end = "" if high is None else f" to {high}"
        raise SomacastError(f"{name}: expected a whole number from {low}{end}, got {shown(value)}")
    return int(value)


def check_generator(name: str, rng: np.random.Generator) -> np.random.Generator:
    """`rng` if it is a numpy Generator, else SomacastError: a model never makes its own randomness."""
    if not isinstance(rng, np.random.Generator):
        raise SomacastError(f"{name}: expected a numpy.random.Generator, got {shown(rng)}")
    return rng


def check_array(name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    """Return `array` if its shape matches (None matches any length), else raise ValueError."""
    if array.ndim != len(shape) or any(
        want is not None and want != have for want, have in zip(shape, array.shape, strict=True)
    ):
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array


def check_rotations(name: str, rotations: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    """Rotations as float64 [..., 3, 3]; ValueError for another shape or for matrices that do not turn."""
    rotations = check_array(name, np.asarray(rotations, np.float64), shape)
    error = np.abs(rotations @ np.swapaxes(rotations, -1, -2) - np.eye(3)).max(initial=0)
    if not error < 1e-3 or (np.linalg.det(rotations) < 0).any():
        raise SomacastError(f"{name}: expected rotation matrices, got some that stretch, mirror or are not finite")
    return rotations


def check_places(name: str, places: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
    """Places as float64 [..., 3] in metres; ValueError for another shape, NaN or infinity."""
    places = check_array(name, np.asarray(places, np.float64), shape)
    if not np.isfinite(places).all():
        raise SomacastError(f"{name}: expected finite numbers, got NaN or infinity")
    return places
