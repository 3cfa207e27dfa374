"""How far a rebuilt person looks from the picture of it: what candidates are ranked by if nothing better is at hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Criterion = Callable[[np.ndarray, np.ndarray], float]  # truth and result [S, S, 3] float32 in [0, 1]; 0 for equal ones
