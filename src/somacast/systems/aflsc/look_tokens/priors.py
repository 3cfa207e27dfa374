"""What both ends expect of the look tokens, in whole numbers: which of the integer tables each symbol is coded by.

    parts of the body, coarser grid, cells read before --three layers--> mean and scale of each symbol --> table

The networks' `Prior` with weights, sums and features as whole numbers of fixed points. Products are of float64 that
hold integers far below 2^53, whose sums are exact in any order, so that every machine finds the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from somacast.entropy.tables import cumulative_table
from somacast.systems.aflsc.look_tokens.capsules import DEPTHS

LEVELS = 4  # symbols are -LEVELS .. LEVELS
MEAN_STEPS, MEAN_BITS = 8, 3  # of a symbol
MEAN_LIMIT = MEAN_STEPS * (LEVELS + 2)
SCALES = 32
SCALE_LOW, SCALE_HIGH = 0.06, 4.0
_FIRST, _LATER, _KEPT = 12, 10, 6  # binary places of the first layer's sums, of later weights, of features


@dataclass(frozen=True)
class IntegerPrior:
    """Of one grid. coarse [H, 9 (C + 1)] or None, part [H, P + 1], near [H, 9 (D + 1)], bias [H] and near_bias [H] at
    2^-12; middle [H, H], out [2 D, H] at 2^-10, their biases at 2^-16; thresholds [SCALES - 1] at 2^-6 of what tells
    the scale. All float64 that hold integers."""

    coarse: np.ndarray | None
    part: np.ndarray
    near: np.ndarray
    bias: np.ndarray
    near_bias: np.ndarray
    middle: np.ndarray
    middle_bias: np.ndarray
    out: np.ndarray
    out_bias: np.ndarray
    thresholds: np.ndarray

    @property
    def dims(self) -> int:
        return len(self.out) // 2

    @classmethod
    def of(cls, weights: Mapping[str, np.ndarray]) -> IntegerPrior:
        """From the arrays of a network's `Prior`."""

        def rounded(values: np.ndarray, places: int) -> np.ndarray:
            return np.rint(np.asarray(values, np.float64) * 2**places)

        def patches(name: str) -> np.ndarray:  # [H, C, 3, 3] to [H, 9 C], as `_patches` orders them
            kernel = weights[f"{name}.weight"]
            return rounded(kernel.transpose(0, 2, 3, 1).reshape(len(kernel), -1), _FIRST)

        part = weights["part.weight"][:, :, 0, 0].astype(np.float64).copy()
        bias = weights["part.bias"] - part[:, :-1].sum(1)  # the network reads depths as parts / DEPTHS - 1
        part[:, :-1] /= DEPTHS
        coarse = None
        if "coarse.weight" in weights:
            coarse, bias = patches("coarse"), bias + weights["coarse.bias"]
        scales = np.geomspace(SCALE_LOW, SCALE_HIGH, SCALES)
        middles = np.sqrt(scales[1:] * scales[:-1])
        # where softplus(x + 0.5) + 0.06 passes from one scale to the next
        thresholds = np.log(np.expm1(np.maximum(middles - 0.06, 1e-6))) - 0.5
        return cls(
            coarse, rounded(part, _FIRST), patches("near"), rounded(bias, _FIRST),
            rounded(weights["near.bias"], _FIRST),
            rounded(weights["middle.weight"][:, :, 0, 0], _LATER), rounded(weights["middle.bias"], _LATER + _KEPT),
            rounded(weights["out.weight"][:, :, 0, 0], _LATER), rounded(weights["out.bias"], _LATER + _KEPT),
            rounded(thresholds, _KEPT),
        )  # fmt: skip

    def to_arrays(self) -> dict[str, np.ndarray]:
        """As whole numbers of 32 bits."""
        return {k: v.astype(np.int32) for k, v in vars(self).items() if v is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> IntegerPrior:
        """Inverse of `to_arrays`; KeyError for arrays that are missing."""
        names = [f.name for f in fields(cls) if f.name != "coarse"]
        held = {name: arrays[name].astype(np.float64) for name in names}
        coarse = arrays.get("coarse")
        return cls(coarse=None if coarse is None else coarse.astype(np.float64), **held)

    def base(self, parts: np.ndarray, pictured: bool, coarser: np.ndarray | None) -> np.ndarray:
        """Sums [h w, H] of what is known before the grid: parts [P, h, w] integers, coarser [C + 1, h/2, w/2] symbols
        and which cells were sent."""
        count, height, width = parts.shape
        rows = np.concatenate([parts.reshape(count, -1).T, np.full((height * width, 1), float(pictured))], 1)
        total = rows @ self.part.T + self.bias
        if self.coarse is not None:
            assert coarser is not None
            found = (_patches(coarser) @ self.coarse.T).reshape(height // 2, width // 2, -1)
            total = total + found.repeat(2, 0).repeat(2, 1).reshape(height * width, -1)
        return total

    def tables_of(
        self, base: np.ndarray, cells: np.ndarray, known: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Numbers [n, D] of means and of scales for `symbol_tables`, of some cells [n] in their order on the grid;
        known [D + 1, h, w]: symbols of the cells that were read before, and which those are."""
        total = base[cells]
        if known is not None:
            total = total + _patches(known)[cells] @ self.near.T + self.near_bias
        hidden = _shifted(np.maximum(total, 0), _FIRST - _KEPT)
        hidden = _shifted(np.maximum(hidden @ self.middle.T + self.middle_bias, 0), _LATER)
        found = hidden @ self.out.T + self.out_bias
        half = 2.0 ** (_LATER + _KEPT - MEAN_BITS - 1)
        mean = np.floor((found[:, : self.dims] + half) / (2 * half))
        mean = np.clip(mean, -MEAN_LIMIT, MEAN_LIMIT).astype(np.int64) + MEAN_LIMIT
        scale = np.searchsorted(self.thresholds, _shifted(found[:, self.dims :], _LATER))
        return mean, scale


def _shifted(values: np.ndarray, places: int) -> np.ndarray:
    """Floor of values / 2^places, within limits that keep all sums exact."""
    return np.clip(np.floor(values / 2.0**places), -(2.0**30), 2.0**30)


def _patches(planes: np.ndarray) -> np.ndarray:
    """Planes [C, h, w] to what lies around each cell, [h w, 9 C] float64, 0 beyond the border."""
    count, height, width = planes.shape
    padded = np.zeros((height + 2, width + 2, count))
    padded[1:-1, 1:-1] = planes.transpose(1, 2, 0)
    parts = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.concatenate(parts, 2).reshape(height * width, -1)


def symbol_tables() -> np.ndarray:
    """Cumulative tables [means, SCALES, 2 LEVELS + 2] uint16 of discretised logistics; they ship with the weights, so
    that no machine computes them again."""
    means = np.arange(-MEAN_LIMIT, MEAN_LIMIT + 1) / MEAN_STEPS
    scales = np.geomspace(SCALE_LOW, SCALE_HIGH, SCALES)
    edges = np.arange(-LEVELS, LEVELS) + 0.5
    below = 1 / (1 + np.exp(-np.clip((edges - means[:, None, None]) / scales[:, None], -60, 60)))
    share = np.diff(np.concatenate([np.zeros((*below.shape[:2], 1)), below, np.ones((*below.shape[:2], 1))], 2), axis=2)
    counts = np.rint(share * 2**24).astype(np.int64)
    return np.array([[cumulative_table(row) for row in rows] for rows in counts], np.uint16)
