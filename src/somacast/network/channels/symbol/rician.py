"""Rician fading: a direct path beside scattered ones, K = direct power / scattered power.

    h = sqrt(K / (K + 1)) + sqrt(1 / (K + 1)) g        g ~ CN(0, 1)

E|h|^2 = 1, var |h|^2 = (2 K + 1) / (K + 1)^2. K = 0 is Rayleigh fading; K to infinity is AWGN. The direct path has
phase 0: to a receiver who knows h all phases are alike.
Source: M. K. Simon, M.-S. Alouini, "Digital Communication over Fading Channels", 2nd edition, section 2.2.1.
"""

from __future__ import annotations

import numpy as np

from somacast.checks import check_number
from somacast.network.channels.symbol.flat import FlatChannel, complex_normal


class Rician(FlatChannel):
    """Fast or block fading. k_factor: K >= 0, a ratio, not dB; the rest as in FlatChannel.

    Raises SomacastError on values out of range.
    """

    def __init__(
        self, es_n0_db: float, k_factor: float, rng: np.random.Generator, *, coherence_symbols: int | None = 1
    ) -> None:
        super().__init__(es_n0_db, rng, coherence_symbols=coherence_symbols)
        self.k_factor = check_number("k_factor", k_factor)

    def draw_gains(self, shape: tuple[int, ...]) -> np.ndarray:
        """Direct path plus CN(0, 1 / (K + 1))."""
        scattered = 1 / (self.k_factor + 1)
        return np.sqrt(1 - scattered) + np.sqrt(scattered) * complex_normal(self._rng, shape)
