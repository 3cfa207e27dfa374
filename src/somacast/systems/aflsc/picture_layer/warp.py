"""How the body is moved across the view onto the picture where labels cannot bring it, as bytes.

    numbers of 21 joints [21, 5], whole steps --range coder--> bytes, the same steps on every machine

What the numbers move: limbs.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from somacast.body.skeleton import CANONICAL_JOINTS, JOINT_COUNT
from somacast.entropy.range_coder import RangeDecoder, encode_symbols
from somacast.entropy.tables import cumulative_table
from somacast.errors import BitstreamError

NUMBERS = 5  # of a joint
UNIT = 1 / 20000  # of the canvas' height
STEPS = (160, 120, 80, 60, 40)  # units that one step moves, from coarse to fine
REACH = 31  # numbers of -31 .. 31 steps
FARTHEST = 120_000  # units: no numbers of one person come to more together
# How large each number usually is, in units, of limbs of either side: counted on training people.
USUAL = {
    "pelvis": (110, 68, 50, 86, 92),
    "spine": (19, 50, 56, 74, 92),
    "chest": (19, 50, 56, 74, 92),
    "neck": (56, 56, 38, 38, 92),
    "head": (56, 56, 38, 38, 92),
    "clavicle": (1, 1, 32, 38, 56),
    "upper_arm": (32, 50, 62, 56, 62),
    "lower_arm": (32, 50, 62, 56, 62),
    "hand": (26, 44, 62, 86, 38),
    "upper_leg": (50, 92, 134, 110, 98),
    "lower_leg": (74, 122, 98, 116, 92),
    "foot": (128, 104, 104, 110, 68),
    "toe": (15, 19, 38, 68, 50),
}
_SIZES = np.array([USUAL[name.removeprefix("l_").removeprefix("r_")] for name in CANONICAL_JOINTS]).reshape(-1)
_MAX_COUNT, _MIN_COUNT = 1 << 20, 64  # counts of 0, and of what hardly ever comes


@cache
def tables(fineness: int) -> tuple[list[int], ...]:
    """Table of each of the 105 numbers: the count of |d| + 1 is that of |d| times r / 256, as far as it is above the
    least, with r = 256 * 4 u // (4 u + 5 s) of the usual size u and the step s."""
    found = {}
    for usual in set(_SIZES.tolist()):
        ratio, counts = 1024 * usual // (4 * usual + 5 * STEPS[fineness]), [_MAX_COUNT]
        for _ in range(REACH):
            counts.append(max(counts[-1] * ratio >> 8, _MIN_COUNT))
        found[usual] = cumulative_table([*counts[:0:-1], *counts]).tolist()
    return tuple(found[usual] for usual in _SIZES.tolist())


_FINENESS_TABLE = cumulative_table([1] * len(STEPS)).tolist()


@dataclass(frozen=True)
class Warp:
    """fineness: number of one of STEPS; steps [105] int64: so many of them, NUMBERS of each joint."""

    fineness: int
    steps: np.ndarray

    @property
    def heights(self) -> np.ndarray:
        """The numbers [105] in heights of the canvas."""
        return self.steps * (STEPS[self.fineness] * UNIT)

    def encode(self) -> bytes:
        """The bytes of the warp; few if it is small."""
        symbols = [self.fineness, *(int(s) + REACH for s in self.steps)]
        return encode_symbols(symbols, [_FINENESS_TABLE, *tables(self.fineness)])

    @classmethod
    def decode(cls, data: bytes) -> Warp:
        """Inverse of `encode`; BitstreamError for bytes that no sender makes."""
        reader = RangeDecoder(data)
        fineness = reader.decode(_FINENESS_TABLE)
        steps = np.array([reader.decode(table) - REACH for table in tables(fineness)], np.int64)
        reader.finish()
        if np.abs(steps).sum() * STEPS[fineness] > FARTHEST:
            raise BitstreamError("damaged warp: it moves the body farther than the picture is high")
        return cls(fineness, steps)


NO_WARP = Warp(0, np.zeros(JOINT_COUNT * NUMBERS, np.int64))
