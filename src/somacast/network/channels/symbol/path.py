"""The plain way of bytes over a symbol channel, without any error correction.

bytes -> bits -> symbols -> channel -> hard decisions -> bits -> bytes, and how many bits came out wrong
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.checks import shown
from somacast.errors import SomacastError
from somacast.network.channels.symbol.flat import FlatChannel
from somacast.network.channels.symbol.modulation import Modulation


@dataclass(frozen=True)
class ReceivedBytes:
    """data: as many bytes as were sent; bit_errors among `bits`; symbols: how often the channel was used."""

    data: bytes
    bit_errors: int
    bits: int
    symbols: int

    @property
    def bit_error_rate(self) -> float:
        """Wrong bits / bits; 0 for no bits."""
        return self.bit_errors / self.bits if self.bits else 0.0


def bits_from_bytes(data: bytes) -> np.ndarray:
    """Bits [8 n] uint8 of n bytes, highest bit of each byte first. Raises SomacastError on anything but bytes."""
    if not isinstance(data, bytes | bytearray | memoryview):
        raise SomacastError(f"data: expected bytes, got {shown(data)}")
    return np.unpackbits(np.frombuffer(data, np.uint8))


def bytes_from_bits(bits: np.ndarray) -> bytes:
    """Bits [8 n] of 0 and 1 to n bytes, the first bit highest. Raises SomacastError on anything else."""
    bits = np.asarray(bits)
    if bits.dtype.kind not in "biu" or bits.ndim != 1 or len(bits) % 8 or not np.isin(bits, (0, 1)).all():
        raise SomacastError(f"bits: expected zeros and ones of shape [8 n], got shape {bits.shape}, {shown(bits)}")
    return np.packbits(bits.astype(np.uint8)).tobytes()


def send_bytes(data: bytes, modulation: Modulation, channel: FlatChannel) -> ReceivedBytes:
    """Carry `data` over `channel`; the last symbol is filled with zero bits, which are not counted."""
    bits = bits_from_bytes(data)
    padded = np.pad(bits, (0, -len(bits) % modulation.bits_per_symbol))
    symbols = modulation.modulate(padded)
    samples, _ = channel.transmit(symbols).equalised()
    decided = modulation.demodulate_hard(samples)[: len(bits)]
    return ReceivedBytes(bytes_from_bits(decided), int((decided != bits).sum()), len(bits), len(symbols))
