"""Look tokens as bytes and back: one range-coded stream of all cells that are sent, coarse grids first.

    symbols of the grids, state --> head, stream --> symbols, as far as they were sent

The head names the weights, then says f of eq. 17 in 1/255. How many levels each cell then has follows from where it
lies in the body and from its coarsest tokens, see `importance`: of the coarsest grid all cells go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somacast.entropy.range_coder import TOTAL, RangeDecoder, encode_symbols
from somacast.errors import BitstreamError
from somacast.systems.aflsc.look_tokens.capsules import MIN_DEPTH
from somacast.systems.aflsc.look_tokens.importance import STATES, TokenImportance
from somacast.systems.aflsc.look_tokens.priors import LEVELS, IntegerPrior
from somacast.weights.arrays import content_digest

NAME_BYTES = 2
_Code = Callable[[int, np.ndarray, np.ndarray], np.ndarray]  # grid, cells [n], tables [n D, A + 1] -> symbols [n, D]


@dataclass(frozen=True)
class TokenGrids:
    """The cells of all grids for one person: parts [P, h, w] int64 of each, coarse first."""

    parts: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, depths: np.ndarray, count: int) -> TokenGrids:
        """depths [P, H, W] of `Capsules`, on `count` grids of which each is half as fine as the next."""
        grids = [depths]
        for _ in range(count - 1):
            grids.insert(0, _halved(grids[0]))
        return cls(tuple(grids))

    @cached_property
    def valid(self) -> list[np.ndarray]:
        """Cells [h, w] bool of each grid that may have tokens."""
        return [parts.max(0) >= MIN_DEPTH for parts in self.parts]

    def nothing(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """No tokens, as `TokenCoder.decode` gives some."""
        sizes = [parts.shape[1:] for parts in self.parts]
        return [np.zeros((1, *size), np.int64) for size in sizes], [np.zeros(size, bool) for size in sizes]

    def sent(self, levels: np.ndarray) -> list[np.ndarray]:
        """Cells [h, w] bool of each grid that are sent if those of the finest have so many levels [H, W]."""
        found = [levels[None]]
        for _ in self.parts[1:]:
            found.insert(0, _halved(found[0]))
        return [grid[0] > number for number, grid in enumerate(found)]


def _halved(planes: np.ndarray) -> np.ndarray:
    """The largest of every 2 x 2 cells of planes [P, h, w]."""
    count, height, width = planes.shape
    return planes.reshape(count, height // 2, 2, width // 2, 2).max((2, 4))


@dataclass(frozen=True)
class TokenCoder:
    """priors of the grids; tables, see `priors.symbol_tables`; importance of cells; name: NAME_BYTES of the weights."""

    priors: Sequence[IntegerPrior]
    tables: np.ndarray
    importance: TokenImportance
    name: bytes = bytes(NAME_BYTES)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> TokenCoder:
        """Of a weights file: tables, the priors' arrays under the number of their grid, and the importance's."""
        parts: dict[str, dict[str, np.ndarray]] = {}
        for name, array in arrays.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = array
        priors = [IntegerPrior.from_arrays(parts[number]) for number in sorted(n for n in parts if n.isdigit())]
        name = content_digest(dict(arrays), NAME_BYTES)
        return cls(priors, arrays["tables"], TokenImportance.from_arrays(parts["importance"]), name)

    def reads(self, data: bytes) -> bool:
        """Whether a stream was made with these weights."""
        return data[:NAME_BYTES] == self.name

    def encode(self, symbols: Sequence[np.ndarray], grids: TokenGrids, state: int, pictured: bool) -> bytes:
        """Symbols [D, h, w] of each grid, -LEVELS .. LEVELS, as far as a state 0 .. STATES lets them go; pictured: a
        picture layer comes with them."""
        wanted: list[int] = []
        rows: list[list[int]] = []

        def code(number: int, cells: np.ndarray, tables: np.ndarray) -> np.ndarray:
            values = symbols[number].reshape(len(symbols[number]), -1)[:, cells].T
            wanted.extend((values.ravel() + LEVELS).tolist())
            rows.extend(tables.tolist())
            return values

        self._walk(grids, state, pictured, code)
        return self.name + bytes([state]) + encode_symbols(wanted, rows)

    def largest(
        self, symbols: Sequence[np.ndarray], grids: TokenGrids, room_bytes: int, pictured: bool, lowest_state: int = 0
    ) -> bytes | None:
        """The stream of the smallest state from `lowest_state` on that room_bytes hold, see `encode`; None if not even
        the coarsest grid fits."""
        low, high = lowest_state - 1, STATES + 1
        while high - low > 1:  # by what the symbols tell, which is nearly what a stream has
            middle = (low + high) // 2
            fits = self._least_bytes(symbols, grids, middle, pictured) <= room_bytes
            low, high = (low, middle) if fits else (middle, high)
        for state in range(high, STATES + 1):
            data = self.encode(symbols, grids, state, pictured)
            if len(data) <= room_bytes:
                return data
        return None

    def _least_bytes(self, symbols: Sequence[np.ndarray], grids: TokenGrids, state: int, pictured: bool) -> int:
        """Size below which a stream hardly ever gets."""
        return (
            NAME_BYTES + 1 + int(sum(float(plane.sum()) for plane in self.bits(symbols, grids, state, pictured)) // 8)
        )

    def bits(self, symbols: Sequence[np.ndarray], grids: TokenGrids, state: int, pictured: bool) -> list[np.ndarray]:
        """What the tokens of each cell cost [h, w] of each grid, 0 where none are sent."""
        out = [np.zeros(parts.shape[1:]) for parts in grids.parts]

        def code(number: int, cells: np.ndarray, tables: np.ndarray) -> np.ndarray:
            values = symbols[number].reshape(len(symbols[number]), -1)[:, cells].T
            place = values.reshape(-1, 1) + LEVELS
            start, end = (np.take_along_axis(tables, place + k, 1).astype(np.int64) for k in (0, 1))
            out[number].flat[cells] = np.log2(TOTAL / (end - start)).reshape(len(cells), -1).sum(1)
            return values

        self._walk(grids, state, pictured, code)
        return out

    def decode(self, data: bytes, grids: TokenGrids, pictured: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Symbols [D, h, w] of each grid, 0 where none came, and where they did [h, w] bool; BitstreamError for a
        stream that no sender makes."""
        if len(data) <= NAME_BYTES:
            raise BitstreamError(f"look tokens: expected more than {NAME_BYTES} bytes, got {len(data)}")
        if not self.reads(data):
            raise BitstreamError(
                f"look tokens: expected some of weights {self.name.hex()}, got some of {data[:NAME_BYTES].hex()}"
            )
        decoder = RangeDecoder(data[NAME_BYTES + 1 :])

        def code(number: int, cells: np.ndarray, tables: np.ndarray) -> np.ndarray:
            found = [decoder.decode(table) for table in tables.tolist()]
            return np.array(found, np.int64).reshape(len(cells), -1) - LEVELS

        symbols, sent = self._walk(grids, data[NAME_BYTES], pictured, code)
        decoder.finish()
        return symbols, sent

    def _walk(
        self, grids: TokenGrids, state: int, pictured: bool, code: _Code
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """All cells that are sent in their order, with the table of each symbol: code gives back the symbols."""
        symbols: list[np.ndarray] = []
        sent, coarser = grids.valid[:1], None
        for number, (prior, parts) in enumerate(zip(self.priors, grids.parts, strict=True)):
            if number == 1:
                omega = self.importance.omega(grids.parts[-1], symbols[0])
                sent = grids.sent(self.importance.levels(omega, state))
            kept = sent[number].ravel()
            height, width = parts.shape[1:]
            found = np.zeros((prior.dims, height * width), np.int64)
            first = ((np.arange(height)[:, None] + np.arange(width)) % 2 == 0).ravel()
            base = prior.base(parts, pictured, coarser) if kept.any() else None
            for later in (False, True):
                cells = np.flatnonzero(kept & (first != later))
                if base is None or not len(cells):
                    continue
                known = np.concatenate([found * first, first[None]]).reshape(-1, height, width) if later else None
                mean, scale = prior.tables_of(base, cells, known)
                found[:, cells] = code(number, cells, self.tables[mean, scale].reshape(-1, 2 * LEVELS + 2)).T
            symbols.append(found.reshape(-1, height, width))
            coarser = np.concatenate([found, kept[None]]).reshape(-1, height, width)
        return symbols, sent
