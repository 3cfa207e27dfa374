"""How sure a mean over people is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

DRAWS = 2000
LEVEL = 0.95


def bootstrap_interval(groups: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, float]:
    """Where the mean over groups of the means of their values lies, with 95 % confidence: percentiles of 2000 draws of
    the people of each group with replacement (Efron 1979). Groups are kept as large as they are. A single value gives
    itself twice; ValueError if there is none.
    """
    arrays = [np.asarray(group, np.float64) for group in groups if len(group)]
    if not arrays:
        raise ValueError("expected at least one value, got none")
    rng = np.random.default_rng(seed)
    means = np.mean([a[rng.integers(0, len(a), (DRAWS, len(a)))].mean(1) for a in arrays], 0)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
