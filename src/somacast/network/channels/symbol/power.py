"""Power and its units: decibels, energy per symbol and per bit, and symbols of unit mean energy.

All models take Es = E|x|^2 = 1 for granted, so that N0 = 10^(-(Es/N0)_dB / 10). Es / N0 = k Eb / N0 at k bits a symbol.
"""

from __future__ import annotations

import math

import numpy as np

from somacast.checks import check_count, check_number, shown
from somacast.errors import SomacastError

LIMIT_DB = 200.0  # beyond lies no channel, and float64 loses one of signal and noise


def linear_from_db(name: str, value_db: float) -> float:
    """10^(value_db / 10). Raises SomacastError naming `name` unless value_db is in [-200, 200]."""
    return 10 ** (check_number(name, value_db, -LIMIT_DB, LIMIT_DB) / 10)


def es_n0_db(eb_n0_db: float, bits_per_symbol: int) -> float:
    """Es/N0 in dB from Eb/N0 in dB, at `bits_per_symbol` >= 1."""
    eb_n0_db = check_number("eb_n0_db", eb_n0_db, -LIMIT_DB, LIMIT_DB)
    return eb_n0_db + 10 * math.log10(check_count("bits_per_symbol", bits_per_symbol, 1))


def check_samples(name: str, samples: np.ndarray) -> np.ndarray:
    """`samples` as complex128 [..., N] if they are finite numbers with at least one axis, else SomacastError."""
    array = np.asarray(samples)
    if array.dtype.kind not in "fciu" or array.ndim == 0:
        raise SomacastError(f"{name}: expected complex numbers of shape [..., N], got {shown(samples)}")
    if not np.isfinite(array).all():
        raise SomacastError(f"{name}: expected finite numbers, got NaN or infinity")
    return array.astype(np.complex128)


def normalise_power(symbols: np.ndarray) -> np.ndarray:
    """Complex symbols [..., N] scaled so that mean |x|^2 along the last axis is 1; complex128 of the same shape.

    For symbols that a network made: those of a modulation have unit mean energy already. Raises SomacastError on NaN,
    infinity, and rows without any energy.
    """
    array = check_samples("symbols", symbols)
    largest = np.abs(array).max(-1, keepdims=True, initial=0.0)
    if array.size == 0 or (largest == 0).any():
        raise SomacastError("symbols: expected energy in every row, got a row of zeros or of no symbols")
    array = array / largest  # squares of very large or small numbers leave the range of float64
    return array / np.sqrt(np.mean(np.abs(array) ** 2, -1, keepdims=True))
