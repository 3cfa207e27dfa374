"""Rayleigh fading: h ~ CN(0, 1), many scattered paths and no direct one.

|h|^2 is exponential with mean 1: P(|h|^2 < g) = 1 - exp(-g), the outage at a fade by g.
BPSK errs with (1 - sqrt(s / (1 + s))) / 2 at mean s = Es/N0.
Source: J. G. Proakis, M. Salehi, "Digital Communications", 5th edition, chapter 13.
"""

from __future__ import annotations

import numpy as np

from somacast.network.channels.symbol.flat import FlatChannel, complex_normal


class Rayleigh(FlatChannel):
    """Fast or block fading, see FlatChannel for the arguments. Raises SomacastError on values out of range."""

    def draw_gains(self, shape: tuple[int, ...]) -> np.ndarray:
        """CN(0, 1)."""
        return complex_normal(self._rng, shape)
