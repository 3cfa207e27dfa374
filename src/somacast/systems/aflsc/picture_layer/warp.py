"""A small smooth warp across the view that brings the decoded body onto the picture where labels cannot.

grid of steps [ROWS, COLUMNS, 2] --predicted from neighbours, range coder--> bytes, the same steps on every machine
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.entropy.range_coder import RangeDecoder, encode_symbols
from somacast.entropy.tables import cumulative_table
from somacast.errors import BitstreamError

ROWS, COLUMNS = 12, 8
STEP = 1 / 80  # of the canvas' height: what one step moves
REACH = 15  # differences to the prediction of -15 .. 15 steps; nothing moves farther from its neighbours
# How often a difference has each size, of either sign: counted on training people, the rare ones held at one.
_COUNTS = (2784, 558, 44, 6, *[1] * (REACH - 3))
_TABLE = cumulative_table([*_COUNTS[:0:-1], *_COUNTS]).tolist()


@dataclass(frozen=True)
class Warp:
    """steps [ROWS, COLUMNS, 2] int64: how far each corner of a grid over the canvas moves to the right and down."""

    steps: np.ndarray

    @classmethod
    def nearest(cls, field: np.ndarray) -> Warp:
        """To a field [ROWS, COLUMNS, 2] in heights of the canvas; differences beyond REACH are cut."""
        steps = np.rint(field / STEP).astype(np.int64)
        flat = steps.reshape(-1, 2)
        for number in range(len(flat)):
            guess = _guess(flat, number)
            flat[number] = guess + np.clip(flat[number] - guess, -REACH, REACH)
        return cls(steps)

    def moves(self, places: np.ndarray, aspect: float) -> np.ndarray:
        """How far places [..., 2] of a canvas move [..., 2], in places; aspect: the canvas' width over its height."""
        return interpolated(self.steps * STEP, places) / [aspect, 1]

    def encode(self) -> bytes:
        """The bytes of the warp; few if it is smooth."""
        flat = self.steps.reshape(-1, 2)
        symbols = [int(s) for n in range(len(flat)) for s in flat[n] - _guess(flat, n) + REACH]
        return encode_symbols(symbols, [_TABLE] * len(symbols))

    @classmethod
    def decode(cls, data: bytes) -> Warp:
        """Inverse of `encode`; BitstreamError for bytes that belong to no symbol."""
        reader, flat = RangeDecoder(data), np.zeros((ROWS * COLUMNS, 2), np.int64)
        for number in range(len(flat)):
            guess = _guess(flat, number)
            flat[number] = guess + [reader.decode(_TABLE) - REACH for _ in range(2)]
        reader.finish()
        if np.abs(flat).max() * STEP > 1:
            raise BitstreamError("damaged warp: it moves farther than the canvas is high")
        return cls(flat.reshape(ROWS, COLUMNS, 2))


def _guess(flat: np.ndarray, number: int) -> np.ndarray:
    """What the neighbours above and to the left let one expect of a corner, [2] whole steps."""
    row, column = divmod(number, COLUMNS)
    if row and column:
        return (flat[number - 1] + flat[number - COLUMNS]) >> 1
    return flat[number - COLUMNS] if row else flat[number - 1] if column else np.zeros(2, np.int64)


def corner_weights(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The four corners of the grid around each of places [N, 2], numbers [N, 4], and their weights [N, 4]."""
    x = np.clip(places[:, 0], 0, 1) * (COLUMNS - 1)
    y = np.clip(places[:, 1], 0, 1) * (ROWS - 1)
    left, top = np.minimum(x.astype(int), COLUMNS - 2), np.minimum(y.astype(int), ROWS - 2)
    right, down = x - left, y - top
    first = top * COLUMNS + left
    corners = np.stack([first, first + 1, first + COLUMNS, first + COLUMNS + 1], 1)
    weights = [(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down]
    return corners, np.stack(weights, 1)


def interpolated(field: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A field [ROWS, COLUMNS, 2] at places [..., 2]."""
    corners, weights = corner_weights(places.reshape(-1, 2))
    found = (field.reshape(-1, 2)[corners] * weights[..., None]).sum(1)
    return found.reshape(*places.shape[:-1], 2)
