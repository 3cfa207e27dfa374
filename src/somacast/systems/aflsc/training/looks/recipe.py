"""Settings of the training of the look tokens."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LooksRecipe:
    """bits: wanted of each grid, coarse first; pictured: share of those with a picture that are shown it; perceptual:
    weight of the perceptual loss, from the share `late` of the minutes on; noise: of the mixture's components; free:
    share of the minutes in which bits cost nothing, or all symbols would become 0 before priors have learnt."""

    minutes: float = 360.0
    batch: int = 8
    threads: int = 1
    seed: int = 0
    rate: float = 1e-3
    matrix_rate: float = 0.006
    bits: tuple[float, ...] = (130.0, 500.0, 2000.0)
    perceptual: float = 1.0
    late: float = 0.1
    pictured: float = 0.9
    free: float = 0.03
    noise: float = 1.0
