"""Which cells have how many levels of tokens: eq. 14 and 17 in whole numbers, known to both ends from what came before.

omega = tau exp(-d / sigma)      eq. 14; tau: of the body part a cell shows and how deep it lies in that;
                                 d: of its coarse tokens' embedding from that of the part, its context
rho   = rho_max (1 - omega / W) f        eq. 17, at most 1; f: of the stream
levels = 1 + (1 - rho) * 2, rounded      of the three grids; a coarser cell has as many as the best of its own
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from somacast.coding.importance import EXP_STEPS, ONE_Q16, exp_table
from somacast.systems.aflsc.look_tokens.capsules import DEPTHS, MIN_DEPTH, PARTS
from somacast.systems.aflsc.look_tokens.priors import LEVELS

STATES = 255  # of f
STEEPNESS = 4  # rho_max: at f of a quarter the least important cells have their coarsest level alone, at 1 nearly all
GROWN = 2  # levels that a cell may have beyond the coarsest
_FACTOR = 128  # importance of cells alike differs by a quarter


@dataclass(frozen=True)
class TokenImportance:
    """tau [parts, 2 DEPTHS + 1] >= 1; embeddings [D, 2 LEVELS + 1, E] of each number of a coarse cell, of which that of
    the cell is the sum; context [parts, E]; sigma >= 1 in their unit; rho_max in 1/65536. All int64."""

    tau: np.ndarray
    embeddings: np.ndarray
    context: np.ndarray
    sigma: int
    rho_max: int

    @classmethod
    def plain(cls, dims: int) -> TokenImportance:
        """One that needs no fitting: faces first, then what lies deep in the body, whatever is seen there."""
        depth = np.arange(2 * DEPTHS + 1)
        tau = np.tile(64 + 24 * depth, (len(PARTS), 1))
        tau[PARTS.index("head")] += 40 * depth
        zeros = np.zeros((dims, 2 * LEVELS + 1, 1), np.int64)
        return cls(tau, zeros, np.zeros((len(PARTS), 1), np.int64), 1, STEEPNESS * ONE_Q16)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> TokenImportance:
        """Inverse of `to_arrays`; KeyError for arrays that are missing."""
        tau, embeddings, context = (arrays[name].astype(np.int64) for name in ("tau", "embeddings", "context"))
        return cls(tau, embeddings, context, *(int(n) for n in arrays["constants"]))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As whole numbers of 32 bits."""
        found = {"tau": self.tau, "embeddings": self.embeddings, "context": self.context}
        found["constants"] = np.array([self.sigma, self.rho_max])
        return {name: array.astype(np.int32) for name, array in found.items()}

    def omega(self, depths: np.ndarray, coarse: np.ndarray) -> np.ndarray:
        """Importance [H, W] of the cells of the finest grid, 0 where none may have tokens, from their depths
        [parts, H, W] in the parts and the numbers [D, h, w] of the coarsest grid."""
        deepest, part = depths.max(0), depths.argmax(0)
        cells = self.embeddings[np.arange(len(coarse))[:, None, None], coarse + LEVELS].sum(0)  # [h, w, E]
        times = depths.shape[1] // coarse.shape[1]
        gap = np.abs(cells.repeat(times, 0).repeat(times, 1) - self.context[part]).sum(-1)
        place = np.minimum((EXP_STEPS * gap + self.sigma // 2) // self.sigma, len(exp_table()) - 1)
        # of equal ones some go before others, evenly spread, so that a little more room is a few cells more
        row, column = np.indices(deepest.shape)
        factor = _FACTOR + (17 * row + 29 * column) % 32
        return np.where(deepest >= MIN_DEPTH, self.tau[part, deepest] * exp_table()[place] * factor, 0)

    def levels(self, omega: np.ndarray, state: int) -> np.ndarray:
        """How many levels, 1 .. 3, cells of an importance [H, W] have at a state 0 .. STATES; 0 where that is 0."""
        most = max(int(omega.max()), 1)
        rho = np.minimum(self.rho_max * (most - omega) // most * state // STATES, ONE_Q16)
        kept = 1 + ((ONE_Q16 - rho) * GROWN + ONE_Q16 // 2) // ONE_Q16
        return np.where(omega > 0, kept, 0)
