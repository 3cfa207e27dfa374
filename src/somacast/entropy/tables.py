"""Counts -> integer cumulative tables for the range coder. Integers only, so that every machine builds the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from somacast.entropy.range_coder import TOTAL


def frequencies_from_counts(counts: Sequence[int] | np.ndarray) -> list[int]:
    """Counts [A] >= 0 to frequencies [A] >= 1 that sum to 4096, each as near to its share as integers allow.

    Symbols with less than 1/4096 are set to 1; the others share the rest by largest remainder, ties to the lower
    index. No counts at all give equal shares. Raises ValueError for negative counts and A outside 1 .. 4096.
    """
    weights = [int(count) for count in counts]
    if not 1 <= len(weights) <= TOTAL:
        raise ValueError(f"expected 1 to {TOTAL} symbols, got {len(weights)}")
    if min(weights) < 0:
        raise ValueError(f"expected counts >= 0, got {min(weights)}")
    if not any(weights):
        weights = [1] * len(weights)
    result = [1] * len(weights)
    free = list(range(len(weights)))  # symbols whose share is still open
    while True:
        rest = TOTAL - (len(weights) - len(free))
        total = sum(weights[i] for i in free)
        rare = {i for i in free if weights[i] * rest < total}
        if not rare:
            break
        free = [i for i in free if i not in rare]
    for i in free:
        result[i] = weights[i] * rest // total
    by_remainder = sorted(free, key=lambda i: (-(weights[i] * rest % total), i))
    for i in by_remainder[: TOTAL - sum(result)]:
        result[i] += 1
    return result


def cumulative_table(counts: Sequence[int] | np.ndarray) -> np.ndarray:
    """Counts [A] >= 0 to a cumulative table [A + 1] uint16, 0 first and 4096 last; see `frequencies_from_counts`."""
    return np.concatenate([[0], np.cumsum(frequencies_from_counts(counts))]).astype(np.uint16)


def context_tables(counts: np.ndarray, prior_strength: int = 16) -> np.ndarray:
    """Counts [contexts, A] of symbols seen in each context to tables [contexts, A + 1] uint16.

    Each context is filled up with `prior_strength` symbols drawn like all contexts together (which themselves get
    one symbol of each kind), because a rare context has seen too little to be trusted alone.
    """
    overall = [int(c) + 1 for c in counts.sum(0)]
    total = sum(overall)
    rows = [[int(c) * total + prior_strength * o for c, o in zip(row, overall, strict=True)] for row in counts]
    return np.stack([cumulative_table(row) for row in rows])


def check_tables(tables: np.ndarray) -> None:
    """Raise ValueError unless every row of [..., A + 1] starts at 0, ends at 4096 and rises at every symbol."""
    wide = tables.astype(np.int64)
    if wide.shape[-1] < 2 or np.any(wide[..., 0] != 0) or np.any(wide[..., -1] != TOTAL):
        raise ValueError(f"bad coding table: expected cumulative counts from 0 to {TOTAL}")
    if np.any(np.diff(wide, axis=-1) < 1):
        raise ValueError("bad coding table: a symbol has no probability")
