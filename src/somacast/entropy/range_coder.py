"""Byte-oriented range coder in exact integer arithmetic: symbols <-> bytes, given cumulative tables.

A table is an integer array of length A + 1 for A symbols: table[0] = 0, table[A] = 4096, rising. The coder holds an
interval [low, low + width) of 32-bit numbers and narrows it by every symbol; the stream is the shortest byte string
that names a number inside the last interval, so that a stream is less than one byte longer than its information
(plus 4e-4 bits a symbol at most, for the rounding of `width >> 12`). bitstream/FORMAT.md gives every step.

    symbols, tables -> encode_symbols -> bytes -> RangeDecoder(bytes).decode(table) -> symbols
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from somacast.errors import BitstreamError

Table = Sequence[int] | np.ndarray  # plain lists are faster than arrays here

TOTAL_BITS = 12
TOTAL = 1 << TOTAL_BITS  # every table ends here
_FULL = 1 << 32  # the interval before the first symbol
_NARROW = 1 << 24  # below this the leading byte is settled (but for a carry) and leaves


def encode_symbols(symbols: Sequence[int], tables: Sequence[Table]) -> bytes:
    """Code `symbols[i]` with `tables[i]` (cumulative, [A_i + 1], total 4096) into one stream without header or length.

    Returns the shortest stream that decodes to these symbols; it may be empty. Raises ValueError if a symbol
    is outside its table or has no probability there.
    """
    if len(symbols) != len(tables):
        raise ValueError(f"expected one table per symbol, got {len(symbols)} symbols and {len(tables)} tables")
    low, width = 0, _FULL
    out = bytearray()
    for symbol, table in zip(symbols, tables, strict=True):
        start, end = _interval(int(symbol), table)
        low, width = _narrow(low, width, start, end)
        if low >= _FULL:
            low -= _FULL
            _carry(out)
        while width < _NARROW:
            out.append(low >> 24)
            low = (low << 8) & (_FULL - 1)
            width <<= 8
    return _flush(out, low, width)


def _interval(symbol: int, table: Table) -> tuple[int, int]:
    if not 0 <= symbol < len(table) - 1:
        raise ValueError(f"symbol {symbol} is outside its table of {len(table) - 1} symbols")
    start, end = int(table[symbol]), int(table[symbol + 1])
    if int(table[-1]) != TOTAL or not 0 <= start < end <= TOTAL:
        raise ValueError(f"bad table: symbol {symbol} lies at [{start}, {end}) of {int(table[-1])}, expected {TOTAL}")
    return start, end


def _narrow(low: int, width: int, start: int, end: int) -> tuple[int, int]:
    """The part of the interval that belongs to [start, end) of 4096; the last symbol takes what rounding leaves."""
    step = width >> TOTAL_BITS
    offset = step * start
    return low + offset, width - offset if end == TOTAL else step * (end - start)


def _carry(out: bytearray) -> None:
    """Add one to the number written so far. It cannot overflow: the interval never leaves the first one."""
    position = len(out) - 1
    while out[position] == 0xFF:
        out[position] = 0
        position -= 1
    out[position] += 1


def _flush(out: bytearray, low: int, width: int) -> bytes:
    """Append the fewest bytes that name a number in [low, low + width); zero bytes at the end are implied."""
    for count in range(5):
        shift = 32 - 8 * count
        number = ((low + (1 << shift) - 1) >> shift) << shift  # low, rounded up to `count` bytes
        if number < low + width:
            if number >= _FULL:
                number -= _FULL
                _carry(out)
            out += number.to_bytes(4, "big")[:count]
            return bytes(out).rstrip(b"\0")
    raise AssertionError("four bytes name every number")


class RangeDecoder:
    """Reads symbols of one stream in the order they were coded; past its end the stream reads as zero bytes.

    Every byte string decodes to some symbols in constant time a symbol: damage is for the container's CRC to find.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 4
        self._code = int.from_bytes(data[:4].ljust(4, b"\0"), "big")  # distance of the number from `low`
        self._width = _FULL

    def decode(self, table: Table) -> int:
        """The next symbol, 0 .. A - 1, by a cumulative table [A + 1] with total 4096."""
        step = self._width >> TOTAL_BITS
        point = min(self._code // step, TOTAL - 1)
        symbol = bisect_right(table, point) - 1
        start, end = _interval(symbol, table)
        offset, self._width = _narrow(0, self._width, start, end)
        self._code -= offset
        while self._width < _NARROW:
            byte = self._data[self._position] if self._position < len(self._data) else 0
            self._position += 1
            self._code = (self._code << 8) | byte
            self._width <<= 8
        return symbol

    def finish(self) -> None:
        """Raise BitstreamError if bytes are left that no symbol has used: the stream holds something else."""
        if len(self._data) > self._position:
            unused = len(self._data) - self._position
            raise BitstreamError(f"damaged stream: {unused} of {len(self._data)} bytes belong to no symbol")
