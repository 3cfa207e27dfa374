"""Look tokens as bytes and back: one range-coded stream of all cells that are sent, coarse grids first.

    symbols of the grids, how many cells --> head, stream --> symbols, -1 .. as far as they were sent

The head says how far the stream goes: whole grids, and which share of the cells of the next one. Which cells those are
follows from the capsules alone: the head of the person first, then what lies deepest in the body.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from somacast.entropy.range_coder import RangeDecoder, encode_symbols
from somacast.errors import BitstreamError
from somacast.systems.aflsc.look_tokens.capsules import MIN_DEPTH
from somacast.systems.aflsc.look_tokens.priors import LEVELS, IntegerPrior

SHARES = 64  # parts of a grid that can be sent
_Code = Callable[[int, np.ndarray, np.ndarray], np.ndarray]  # grid, cells [n], tables [n D, A + 1] -> symbols [n, D]
HEAD_FIRST = 3  # in thirds of a step of depth, how much sooner a cell of the head is sent for each step there


@dataclass(frozen=True)
class TokenGrids:
    """The cells of all grids for one person: parts [P, h, w] int64 of each, coarse first."""

    parts: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, depths: np.ndarray, count: int) -> TokenGrids:
        """depths [P, H, W] of `Capsules`, on `count` grids of which each is half as fine as the next."""
        grids = [depths]
        for _ in range(count - 1):
            parts, height, width = grids[0].shape
            grids.insert(0, grids[0].reshape(parts, height // 2, 2, width // 2, 2).max((2, 4)))
        return cls(tuple(grids))

    @cached_property
    def order(self) -> list[np.ndarray]:
        """Numbers [n] of the cells of each grid that may have tokens, as they are sent."""
        out = []
        for parts in self.parts:
            deepest = parts.max(0).ravel()
            cells = np.flatnonzero(deepest >= MIN_DEPTH)
            rank = 3 * deepest[cells] + HEAD_FIRST * parts[0].ravel()[cells]
            out.append(cells[np.argsort(-rank, kind="stable")])
        return out

    def sent(self, extent: int) -> list[np.ndarray]:
        """Cells of each grid, [h w] bool, that a stream of an extent holds: SHARES times the whole grids, and how many
        SHARES-ths of the next one."""
        out = []
        for number, (parts, order) in enumerate(zip(self.parts, self.order, strict=True)):
            share = min(max(extent - SHARES * number, 0), SHARES)
            kept = np.zeros(parts[0].size, bool)
            kept[order[: -(-len(order) * share // SHARES)]] = True
            out.append(kept)
        return out


@dataclass(frozen=True)
class TokenCoder:
    """priors of the grids; tables, see `priors.symbol_tables`."""

    priors: Sequence[IntegerPrior]
    tables: np.ndarray

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> TokenCoder:
        """Of a weights file: tables, and the priors' arrays named by the number of their grid."""
        count = 1 + max(int(name.partition(".")[0]) for name in arrays if name[0].isdigit())
        parts = [{n.partition(".")[2]: a for n, a in arrays.items() if n.startswith(f"{k}.")} for k in range(count)]
        return cls([IntegerPrior.from_arrays(part) for part in parts], arrays["tables"])

    @property
    def full(self) -> int:
        """The extent of a stream of everything."""
        return SHARES * len(self.priors)

    def encode(self, symbols: Sequence[np.ndarray], grids: TokenGrids, extent: int, pictured: bool) -> bytes:
        """Symbols [D, h, w] of each grid, -LEVELS .. LEVELS, as far as an extent goes; pictured: a picture layer comes
        with them."""
        wanted: list[int] = []
        rows: list[list[int]] = []

        def code(number: int, cells: np.ndarray, tables: np.ndarray) -> np.ndarray:
            values = symbols[number].reshape(len(symbols[number]), -1)[:, cells].T
            wanted.extend((values.ravel() + LEVELS).tolist())
            rows.extend(tables.tolist())
            return values

        self._walk(grids, extent, pictured, code)
        return bytes([extent]) + encode_symbols(wanted, rows)

    def decode(self, data: bytes, grids: TokenGrids, pictured: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Symbols [D, h, w] of each grid, 0 where none came, and where they did [h, w] bool; BitstreamError for a
        stream that no sender makes."""
        if not data or data[0] > self.full:
            raise BitstreamError(f"look tokens: expected an extent of 0 .. {self.full}, got {list(data[:1])}")
        decoder = RangeDecoder(data[1:])

        def code(number: int, cells: np.ndarray, tables: np.ndarray) -> np.ndarray:
            found = [decoder.decode(table) for table in tables.tolist()]
            return np.array(found, np.int64).reshape(len(cells), -1) - LEVELS

        symbols = self._walk(grids, data[0], pictured, code)
        decoder.finish()
        sent = [kept.reshape(p.shape[1:]) for kept, p in zip(grids.sent(data[0]), grids.parts, strict=True)]
        return symbols, sent

    def _walk(self, grids: TokenGrids, extent: int, pictured: bool, code: _Code) -> list[np.ndarray]:
        """All cells that are sent in their order, with the table of each symbol: code gives back the symbols."""
        out: list[np.ndarray] = []
        coarser = None
        for number, (prior, kept) in enumerate(zip(self.priors, grids.sent(extent), strict=True)):
            parts = grids.parts[number]
            height, width = parts.shape[1:]
            found = np.zeros((prior.dims, height * width), np.int64)
            first = ((np.arange(height)[:, None] + np.arange(width)) % 2 == 0).ravel()
            base = prior.base(parts, pictured, coarser) if kept.any() else None
            for later in (False, True):
                cells = np.flatnonzero(kept & (first != later))
                if base is None or not len(cells):
                    continue
                known = np.concatenate([found * first, first[None]]).reshape(-1, height, width) if later else None
                mean, scale = prior.tables_of(base, known)
                found[:, cells] = code(
                    number, cells, self.tables[mean[cells], scale[cells]].reshape(-1, 2 * LEVELS + 2)
                ).T
            out.append(found.reshape(-1, height, width))
            coarser = np.concatenate([found, kept[None]]).reshape(-1, height, width)
        return out
