"""What all symbol channels share: one complex gain and one complex noise sample for every symbol.

    y = h x + n        n ~ CN(0, N0): variance N0 / 2 in each real dimension; E|h|^2 = 1; E|x|^2 = 1

so that Es/N0 = 1 / N0 is the mean signal-to-noise ratio of the receiver, who knows h and N0 exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from somacast.checks import check_count, check_generator
from somacast.network.channels.symbol.power import check_samples, linear_from_db


@dataclass(frozen=True)
class Received:
    """Symbols behind a channel: samples [..., N] complex128, gains h [..., N] complex128, noise_variance N0."""

    samples: np.ndarray
    gains: np.ndarray
    noise_variance: float

    def equalised(self) -> tuple[np.ndarray, np.ndarray]:
        """y / h [..., N] complex128, and its noise variance N0 / |h|^2 [..., N] float64.

        A gain of exactly 0 gives sample 0 with infinite variance: nothing is known.
        """
        power = np.abs(self.gains) ** 2
        alive = power > 0
        safe = np.where(alive, power, 1.0)
        samples = np.where(alive, self.samples * self.gains.conj() / safe, 0.0)
        return samples, np.where(alive, self.noise_variance / safe, np.inf)


def complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """CN(0, 1) of `shape`, complex128: independent real and imaginary parts of variance 1/2."""
    pairs = rng.standard_normal((*shape, 2)) * np.sqrt(0.5)
    return pairs[..., 0] + 1j * pairs[..., 1]


class FlatChannel(ABC):
    """Gains that hold for `coherence_symbols` symbols in a row, then change to independent ones; and white noise.

    coherence_symbols: 1 = fast fading, more = block fading, None = one gain for each row of a call. Leading axes fade
    independently, and every call starts a new block. es_n0_db: mean Es/N0 in dB.
    """

    def __init__(self, es_n0_db: float, rng: np.random.Generator, *, coherence_symbols: int | None = 1) -> None:
        self.noise_variance = 1 / linear_from_db("es_n0_db", es_n0_db)
        self._rng = check_generator("rng", rng)
        if coherence_symbols is not None:
            coherence_symbols = check_count("coherence_symbols", coherence_symbols, 1)
        self.coherence_symbols = coherence_symbols

    @abstractmethod
    def draw_gains(self, shape: tuple[int, ...]) -> np.ndarray:
        """Independent gains of `shape`, complex128, with E|h|^2 = 1."""

    def transmit(self, symbols: np.ndarray) -> Received:
        """Symbols [..., N] (complex, mean energy 1) through the channel. Raises SomacastError on NaN and infinity."""
        symbols = check_samples("symbols", symbols)
        count = symbols.shape[-1]
        length = self.coherence_symbols or max(count, 1)
        gains = self.draw_gains((*symbols.shape[:-1], -(-count // length)))
        gains = np.repeat(gains, length, -1)[..., :count] if length > 1 else gains
        noise = np.sqrt(self.noise_variance) * complex_normal(self._rng, symbols.shape)
        return Received(gains * symbols + noise, gains, self.noise_variance)
