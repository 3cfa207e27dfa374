"""AWGN: y = x + n with n ~ CN(0, N0), N0 = 10^(-(Es/N0)_dB / 10).

Capacity log2(1 + Es/N0) bits a symbol. BPSK errs with Q(sqrt(2 Es/N0)).
Source: J. G. Proakis, M. Salehi, "Digital Communications", 5th edition, chapter 4.
"""

from __future__ import annotations

import numpy as np

from somacast.network.channels.symbol.flat import FlatChannel


class Awgn(FlatChannel):
    """White noise alone. es_n0_db: Es/N0 in dB, -200 to 200. Raises SomacastError on other values."""

    def __init__(self, es_n0_db: float, rng: np.random.Generator) -> None:
        super().__init__(es_n0_db, rng)

    def draw_gains(self, shape: tuple[int, ...]) -> np.ndarray:
        """Ones."""
        return np.ones(shape, np.complex128)
