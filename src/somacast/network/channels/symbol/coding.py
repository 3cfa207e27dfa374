"""LDPC codes of 5G over symbol channels: the library Sionna does the work, this is a thin wrapper in our conventions.

    bits [..., k] -> encode -> [..., n] -> modulate -> channel -> demodulate_soft -> LLR [..., n] -> decode -> [..., k]

Rate R = k / n; Es/N0 = m R Eb/N0 at m coded bits a symbol, so that a code pays for its redundancy when it is compared
with none at the same Eb/N0. LLR are ln P(bit 0) / P(bit 1), as `Modulation.demodulate_soft` gives them.
Base graphs, lifting, shortening and puncturing: 3GPP TS 38.212, sections 5.3.2 and 5.4.2 (without its interleaver).
Decoding: belief propagation with the exact check rule, all checks at once (R. G. Gallager, 1962).
"""

from __future__ import annotations

import math

import numpy as np

from somacast.checks import check_count, check_number
from somacast.errors import SomacastError
from somacast.extras import require
from somacast.network.channels.symbol.flat import FlatChannel
from somacast.network.channels.symbol.modulation import Modulation
from somacast.network.channels.symbol.path import ReceivedBytes, bits_from_bytes, bytes_from_bits

MESSAGE_BITS = (12, 8448)  # of one block
MAX_BLOCK_BITS = 25_344
RATES = (0.2, 0.925)
BLOCKS_AT_ONCE = 64  # bounds the decoder's memory
CERTAIN_LLR = 1000.0  # in place of infinity


class LdpcCode:
    """message_bits k (12 to 8448) to block_bits n, 0.2 <= k / n <= 0.925; iterations 1 to 200 of belief propagation.

    Raises SomacastError on other values, and where Sionna or torch are not installed.
    """

    def __init__(self, message_bits: int, block_bits: int, *, iterations: int = 20) -> None:
        self.message_bits = check_count("message_bits", message_bits, *MESSAGE_BITS)
        self.block_bits = check_count("block_bits", block_bits, 1, MAX_BLOCK_BITS)
        self.iterations = check_count("iterations", iterations, 1, 200)
        if not RATES[0] <= self.rate <= RATES[1]:
            raise SomacastError(
                f"message_bits / block_bits: expected a rate from {RATES[0]} to {RATES[1]}, got {self.rate:.4g}"
            )
        for package in ("torch", "sionna"):
            require(package, "an LDPC code")
        from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder

        self._encoder = LDPC5GEncoder(self.message_bits, self.block_bits, device="cpu", precision="single")
        self._decoder = LDPC5GDecoder(self._encoder, num_iter=self.iterations, device="cpu", precision="single")

    @property
    def rate(self) -> float:
        """k / n."""
        return self.message_bits / self.block_bits

    def encode(self, bits: np.ndarray) -> np.ndarray:
        """Bits [..., k] of 0 and 1 to coded bits [..., n] uint8. Raises SomacastError on anything else."""
        bits = _checked_bits("bits", bits, self.message_bits)
        return self._in_parts(self._encoder, bits, self.block_bits)

    def decode_soft(self, ratios: np.ndarray) -> np.ndarray:
        """LLR [..., n], infinite where certain, to the bits [..., k] uint8. Raises SomacastError on NaN and shapes."""
        ratios = np.asarray(ratios)
        if ratios.dtype.kind not in "fiu" or ratios.ndim == 0 or ratios.shape[-1] != self.block_bits:
            raise SomacastError(f"ratios: expected numbers of shape [..., {self.block_bits}], got {ratios.shape}")
        if np.isnan(ratios).any():
            raise SomacastError("ratios: expected numbers, got NaN")
        return self._in_parts(self._decoder, np.clip(-ratios, -CERTAIN_LLR, CERTAIN_LLR), self.message_bits)

    def decode_hard(self, bits: np.ndarray, error_rate: float) -> np.ndarray:
        """Decided bits [..., n], each wrong with probability error_rate in (0, 0.5), to bits [..., k] uint8."""
        bits = _checked_bits("bits", bits, self.block_bits)
        error_rate = check_number("error_rate", error_rate, above=True)
        if error_rate >= 0.5:
            raise SomacastError(f"error_rate: expected a number below 0.5, got {error_rate:g}")
        return self.decode_soft((1.0 - 2.0 * bits) * math.log((1 - error_rate) / error_rate))

    def _in_parts(self, block: object, values: np.ndarray, length: int) -> np.ndarray:
        """Sionna's `block` over rows [..., N], a few at a time: [..., length] uint8."""
        import torch

        rows = values.reshape(-1, values.shape[-1]).astype(np.float32)
        out = np.empty((len(rows), length), np.uint8)
        with torch.inference_mode():
            for start in range(0, len(rows), BLOCKS_AT_ONCE):
                part = torch.from_numpy(rows[start : start + BLOCKS_AT_ONCE])
                out[start : start + BLOCKS_AT_ONCE] = block(part).numpy()  # type: ignore[operator]
        return out.reshape(*values.shape[:-1], length)


def coded_es_n0_db(eb_n0_db: float, modulation: Modulation, code: LdpcCode) -> float:
    """Es/N0 in dB of the symbols for Eb/N0 in dB of the message's bits."""
    eb_n0_db = check_number("eb_n0_db", eb_n0_db, -200.0, 200.0)
    return eb_n0_db + 10 * math.log10(modulation.bits_per_symbol * code.rate)


def send_coded_bytes(data: bytes, code: LdpcCode, modulation: Modulation, channel: FlatChannel) -> ReceivedBytes:
    """Carry `data` over `channel` in blocks of the code; as `path.send_bytes`, with soft decisions.

    The last block is filled with zero bits, which are not counted. All blocks are one row of symbols for the channel.
    """
    bits = bits_from_bytes(data)
    blocks = np.pad(bits, (0, -len(bits) % code.message_bits)).reshape(-1, code.message_bits)
    coded = code.encode(blocks).reshape(-1)
    symbols = modulation.modulate(np.pad(coded, (0, -len(coded) % modulation.bits_per_symbol)))
    samples, variance = channel.transmit(symbols).equalised()
    ratios = modulation.demodulate_soft(samples, variance)[: len(coded)]
    decided = code.decode_soft(ratios.reshape(-1, code.block_bits)).reshape(-1)[: len(bits)]
    return ReceivedBytes(bytes_from_bits(decided), int((decided != bits).sum()), len(bits), len(symbols))


def _checked_bits(name: str, bits: np.ndarray, length: int) -> np.ndarray:
    bits = np.asarray(bits)
    if bits.dtype.kind not in "biu" or bits.ndim == 0 or bits.shape[-1] != length or not np.isin(bits, (0, 1)).all():
        raise SomacastError(f"{name}: expected zeros and ones of shape [..., {length}], got shape {bits.shape}")
    return bits
