"""Modulation: bits <-> complex symbols of unit mean energy, with Gray labels.

    bits [..., N k] -> modulate -> symbols [..., N] -> channel -> samples [..., N] -> demodulate_hard -> bits [..., N k]
                                                                               -> demodulate_soft -> LLR [..., N k]

BPSK is 1 - 2 b. QPSK and square QAM carry the even bits of a symbol on the real axis and the odd ones on the imaginary
axis; on an axis of two bits the level is (1 - 2 b0)(2 - (1 - 2 b1)), and so on for three (3GPP TS 38.211, section 5.1).
As the axes are independent, hard and soft decisions work on one axis at a time.
"""

from __future__ import annotations

import numpy as np

from somacast.checks import shown
from somacast.errors import SomacastError
from somacast.network.channels.symbol.power import check_samples

SHAPES = {"bpsk": (1, 1), "qpsk": (2, 1), "16qam": (2, 2), "64qam": (2, 3)}  # axes, bits on each


def axis_levels(bits: int) -> np.ndarray:
    """Amplitude [2^bits] of every label (first bit highest) on one axis: odd integers; neighbours differ in one bit."""
    labels = np.arange(1 << bits)
    amplitude = np.ones(1 << bits)
    for place in range(bits - 1):  # from the last bit inwards
        amplitude = 2.0 ** (place + 1) - (1 - 2 * (labels >> place & 1)) * amplitude
    return (1 - 2 * (labels >> (bits - 1) & 1)) * amplitude


class Modulation:
    """One of bpsk, qpsk, 16qam and 64qam. Raises SomacastError on any other name.

    constellation [2^k] complex128: the symbol of every label, first bit highest; mean energy 1.
    """

    def __init__(self, name: str) -> None:
        if name not in SHAPES:
            raise SomacastError(f"modulation: expected one of {', '.join(SHAPES)}, got {shown(name)}")
        self.name = name
        self._axes, self._axis_bits = SHAPES[name]
        self.bits_per_symbol = self._axes * self._axis_bits
        levels = axis_levels(self._axis_bits)
        self._scale = 1 / np.sqrt(self._axes * np.mean(levels**2))
        self._levels = levels * self._scale  # by label
        self._by_place = np.argsort(levels)  # label of each level, from the lowest up
        weights = 1 << np.arange(self._axis_bits)[::-1]
        self._weights = weights.astype(np.int64)
        self._label_bits = (np.arange(len(levels))[:, None] // weights & 1).astype(
            np.uint8
        )  # [levels, bits of an axis]
        every = np.arange(1 << self.bits_per_symbol)[:, None] >> np.arange(self.bits_per_symbol)[::-1] & 1
        self.constellation = self.modulate(every.astype(np.uint8))[:, 0]

    def modulate(self, bits: np.ndarray) -> np.ndarray:
        """Bits [..., N k] of 0 and 1 to symbols [..., N] complex128. Raises SomacastError on anything else."""
        bits = np.asarray(bits)
        if bits.dtype.kind not in "biu" or bits.ndim == 0 or not np.isin(bits, (0, 1)).all():
            raise SomacastError(f"bits: expected zeros and ones of shape [..., N], got {shown(bits)}")
        if bits.shape[-1] % self.bits_per_symbol:
            raise SomacastError(
                f"bits: expected a multiple of {self.bits_per_symbol} for {self.name}, got {bits.shape[-1]}"
            )
        grouped = bits.reshape(*bits.shape[:-1], -1, self._axis_bits, self._axes)
        labels = np.einsum("...ba,b->...a", grouped.astype(np.int64), self._weights)
        amplitudes = self._levels[labels]
        imaginary = amplitudes[..., 1] if self._axes == 2 else 0.0
        return amplitudes[..., 0] + 1j * imaginary

    def demodulate_hard(self, samples: np.ndarray) -> np.ndarray:
        """Samples [..., N] (gain already taken out) to the bits [..., N k] uint8 of the nearest symbols.

        Raises SomacastError on NaN and infinity.
        """
        axes = self._on_axes(samples)
        highest = len(self._levels) - 1
        place = np.clip(np.rint((axes / self._scale + highest) / 2), 0, highest).astype(np.int64)
        return self._flat(self._label_bits[self._by_place[place]])

    def demodulate_soft(self, samples: np.ndarray, noise_variance: np.ndarray | float) -> np.ndarray:
        """Samples [..., N] (gain already taken out) to LLR [..., N k] float64, ln P(bit 0) / P(bit 1), exact.

        noise_variance: N0 of each sample, above 0, one number or [..., N]; infinite where nothing is known (LLR 0).
        For equally likely symbols, the LLR of an axis bit is ln sum exp(-(y - a)^2 / N0) over the levels a with bit 0,
        less the same over those with bit 1. Raises SomacastError on other values.
        """
        axes = self._on_axes(samples)  # [..., N, axes]
        variance = np.asarray(noise_variance, np.float64)
        if not (variance > 0).all():
            raise SomacastError(f"noise_variance: expected numbers above 0, got {shown(noise_variance)}")
        try:
            variance = np.broadcast_to(variance, axes.shape[:-1])[..., None]
        except ValueError:
            raise SomacastError(f"noise_variance: expected shape {axes.shape[:-1]}, got {variance.shape}") from None
        exponents = [-((axes - level) ** 2) / variance for level in self._levels]
        ratios = []
        for bit in self._label_bits.T:
            zero = np.logaddexp.reduce([e for e, b in zip(exponents, bit, strict=True) if not b])
            one = np.logaddexp.reduce([e for e, b in zip(exponents, bit, strict=True) if b])
            ratios.append(zero - one)
        return self._flat(np.stack(ratios, -1))

    def _on_axes(self, samples: np.ndarray) -> np.ndarray:
        """Complex samples [..., N] to real ones [..., N, axes]."""
        samples = check_samples("samples", samples)
        return np.stack([np.real(samples), np.imag(samples)][: self._axes], -1)

    def _flat(self, values: np.ndarray) -> np.ndarray:
        """[..., N, axes, bits of an axis] to [..., N k]: real and imaginary axis take turns."""
        turned = np.swapaxes(values, -1, -2)
        return np.ascontiguousarray(turned).reshape(*values.shape[:-3], -1)
